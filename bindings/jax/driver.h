// One small read from the device: the step of a draw, when a traced value says it.
//
// The draw's step is a number on the host, and what is traced lies on the device. The
// driver is opened at run time, so that this library loads where there is none.

#ifndef SAMPLED_SOFTMAX_JAX_DRIVER_H
#define SAMPLED_SOFTMAX_JAX_DRIVER_H

#include <dlfcn.h>

#include <string>

#include "status.h"

namespace sampled_softmax::jax {

class Driver {
 public:
  // Copies `size` bytes behind all that is queued on the stream, and waits for them.
  void read(void* to, const void* from, size_t size, void* stream) const {
    void* context = nullptr;
    check(stream_get_context_(stream, &context), "cuStreamGetCtx");
    check(push_(context), "cuCtxPushCurrent");
    const int copied = copy_(to, reinterpret_cast<uintptr_t>(from), size, stream);
    const int waited = copied == 0 ? synchronize_(stream) : 0;
    check(pop_(&context), "cuCtxPopCurrent");
    check(copied, "cuMemcpyDtoHAsync");
    check(waited, "cuStreamSynchronize");
  }

  static const Driver& get() {
    static const Driver driver;
    return driver;
  }

 private:
  Driver() {
    void* opened = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) throw Refused(xla::ffi::ErrorCode::kUnavailable, dlerror());
    find(opened, "cuStreamGetCtx", stream_get_context_);
    find(opened, "cuCtxPushCurrent_v2", push_);
    find(opened, "cuCtxPopCurrent_v2", pop_);
    find(opened, "cuMemcpyDtoHAsync_v2", copy_);
    find(opened, "cuStreamSynchronize", synchronize_);
  }

  template <typename Function>
  static void find(void* opened, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(opened, name));
    if (function == nullptr) {
      throw Refused(xla::ffi::ErrorCode::kUnavailable, std::string("libcuda.so.1 has no ") + name);
    }
  }

  static void check(int result, const char* call) {
    if (result == 0) return;
    throw Refused(xla::ffi::ErrorCode::kInternal, std::string(call) + " gave CUDA error " + std::to_string(result));
  }

  int (*stream_get_context_)(void*, void**) = nullptr;
  int (*push_)(void*) = nullptr;
  int (*pop_)(void**) = nullptr;
  int (*copy_)(void*, uintptr_t, size_t, void*) = nullptr;
  int (*synchronize_)(void*) = nullptr;
};

}  // namespace sampled_softmax::jax

#endif
