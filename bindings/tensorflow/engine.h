#ifndef SAMPLED_SOFTMAX_TENSORFLOW_ENGINE_H
#define SAMPLED_SOFTMAX_TENSORFLOW_ENGINE_H

// The two engines as kernels use them: which backend, device and stream a call goes to,
// where its workspace comes from, and how a number it wrote is read.
//
// The CUDA half touches TensorFlow's stream interface only through virtual functions, so
// that it compiles against the headers of the CPU package, without CUDA's.

#include "../native/workspace.h"
#include "status.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "xla/stream_executor/stream.h"
#include "xla/stream_executor/stream_executor.h"

namespace sampled_softmax_tf {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

inline void* Data(const Tensor& tensor) {
  return tensor.NumElements() == 0 ? nullptr : const_cast<char*>(tensor.tensor_data().data());
}

struct CpuEngine {
  static constexpr uint32_t kBackend = SSL_BACKEND_CPU;

  static int32_t Device(OpKernelContext*) { return 0; }
  static void* Stream(OpKernelContext*) { return nullptr; }

  class Workspace : public sampled_softmax_native::Workspace {
   public:
    absl::Status Allocate(OpKernelContext*, size_t size) {
      Take(size);
      return absl::OkStatus();
    }
  };

  static absl::Status Read(OpKernelContext*, const Tensor& number, int64_t* value) {
    *value = number.scalar<int64_t>()();
    return absl::OkStatus();
  }
};

struct CudaEngine {
  static constexpr uint32_t kBackend = SSL_BACKEND_CUDA;

  static stream_executor::Stream* Executing(OpKernelContext* context) {
    return context->op_device_context()->stream();
  }
  static int32_t Device(OpKernelContext* context) { return Executing(context)->parent()->device_ordinal(); }
  static void* Stream(OpKernelContext* context) { return Executing(context)->platform_specific_handle().stream; }

  class Workspace {
   public:
    absl::Status Allocate(OpKernelContext* context, size_t size) {
      return context->allocate_temp(tensorflow::DT_UINT8, TensorShape({static_cast<int64_t>(size)}), &buffer_);
    }
    void* data() { return Data(buffer_); }
    size_t size() const { return static_cast<size_t>(buffer_.NumElements()); }

   private:
    Tensor buffer_;
  };

  // The one place that waits for the device: the number of gradient rows is the shape of
  // an output, which TensorFlow needs to know.
  static absl::Status Read(OpKernelContext* context, const Tensor& number, int64_t* value) {
    stream_executor::DeviceAddressBase source(Data(number), sizeof *value);
    absl::Status status = Executing(context)->Memcpy(value, source, sizeof *value);
    return status.ok() ? Executing(context)->BlockHostUntilDone() : status;
  }
};

}  // namespace sampled_softmax_tf

#endif
