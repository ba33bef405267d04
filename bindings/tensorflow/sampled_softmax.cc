// Sampled softmax as TensorFlow ops: one translation unit, since TensorFlow's headers take
// longer to compile than all of this.
//
//   ops.h     names, types, shapes          sample.h  drawing
//   engine.h  CPU and CUDA                  loss.h    forward, backward
//   status.h  errors                    gather.h  rows of variables
//   ../native  the library, its handles, workspaces

#include "gather.h"
#include "loss.h"
#include "ops.h"
#include "sample.h"

namespace sampled_softmax_tf {

REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxNextStep").Device(tensorflow::DEVICE_CPU), NextStepKernel);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxSample").Device(tensorflow::DEVICE_CPU), SampleKernel<CpuEngine>);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxGather").Device(tensorflow::DEVICE_CPU), GatherKernel);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxForward").Device(tensorflow::DEVICE_CPU), ForwardKernel<CpuEngine>);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxBackward").Device(tensorflow::DEVICE_CPU), BackwardKernel<CpuEngine>);

REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxNextStep").Device(tensorflow::DEVICE_GPU).HostMemory("step"),
                        NextStepKernel);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxSample").Device(tensorflow::DEVICE_GPU).HostMemory("step"),
                        SampleKernel<CudaEngine>);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxForward").Device(tensorflow::DEVICE_GPU), ForwardKernel<CudaEngine>);
REGISTER_KERNEL_BUILDER(Name("SampledSoftmaxBackward").Device(tensorflow::DEVICE_GPU), BackwardKernel<CudaEngine>);

}  // namespace sampled_softmax_tf
