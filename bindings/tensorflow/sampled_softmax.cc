// Sampled softmax as TensorFlow ops: one translation unit, since TensorFlow's headers take
// longer to compile than all of this.
//
//   ops.h     names, types, shapes          sample.h  drawing
//   engine.h  CPU and CUDA                  loss.h    forward, backward
//   handle.h  handles of the library, shared by kernels

#include "loss.h"
#include "ops.h"
#include "sample.h"

namespace sampled_softmax_tf {

REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxNextStep").Device(tensorflow::DEVICE_CPU), NextStepKernel);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxSample").Device(tensorflow::DEVICE_CPU), SampleKernel<CpuEngine>);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxForward").Device(tensorflow::DEVICE_CPU), ForwardKernel<CpuEngine>);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxBackward").Device(tensorflow::DEVICE_CPU), BackwardKernel<CpuEngine>);

REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxNextStep").Device(tensorflow::DEVICE_GPU).HostMemory("step"),
                        NextStepKernel);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxSample").Device(tensorflow::DEVICE_GPU).HostMemory("step"),
                        SampleKernel<CudaEngine>);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxForward").Device(tensorflow::DEVICE_GPU), ForwardKernel<CudaEngine>);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxBackward").Device(tensorflow::DEVICE_GPU), BackwardKernel<CudaEngine>);

}  // namespace sampled_softmax_tf

// Called by Python once the ops are loaded: 1, or 0 with the reason in `message`.
extern "C" int sampled_softmax_bind(const char* path, char* message, size_t size) {
  return sampled_softmax_tf::Bind(path, message, size);
}
