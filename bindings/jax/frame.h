// One call of a handler: where it runs, its attributes, its buffers by position.

#ifndef SAMPLED_SOFTMAX_JAX_FRAME_H
#define SAMPLED_SOFTMAX_JAX_FRAME_H

#include <string>
#include <string_view>

#include "handles.h"

namespace sampled_softmax::jax {

struct Frame {
  Place place;
  // `ssl_config` by value; see `config_of`.
  xla::ffi::Span<const int64_t> config;
  // The name of a fixed unigram sampler's weights, or nothing.
  std::string_view unigrams;
  int64_t has_ignore_index;
  int64_t ignore_index;
  xla::ffi::RemainingArgs args;
  xla::ffi::RemainingRets rets;

  int64_t num_classes() const { return config[0]; }
  int64_t num_sampled() const { return config[1]; }
  int64_t num_true() const { return config[2]; }
  int64_t generator() const { return config[12]; }
  bool reduced() const { return config[7] != SSL_REDUCTION_NONE; }

  std::shared_ptr<Handle> handle() const { return handle_of(config_of(config, unigrams, place)); }

  xla::ffi::AnyBuffer arg(size_t index) const {
    const auto buffer = args.get<xla::ffi::AnyBuffer>(index);
    if (buffer.has_error()) throw invalid("argument " + std::to_string(index) + ": " + buffer.error().message());
    return *buffer;
  }

  xla::ffi::AnyBuffer ret(size_t index) const {
    auto buffer = rets.get<xla::ffi::AnyBuffer>(index);
    if (buffer.has_error()) throw invalid("result " + std::to_string(index) + ": " + buffer.error().message());
    return **buffer;
  }
};

template <void (*body)(const Frame&)>
xla::ffi::Error run_on_cpu(xla::ffi::Span<const int64_t> config, std::string_view unigrams, int64_t has_ignore_index,
                           int64_t ignore_index, xla::ffi::RemainingArgs args, xla::ffi::RemainingRets rets) {
  return guarded([&] { body(Frame{Place{}, config, unigrams, has_ignore_index, ignore_index, args, rets}); });
}

template <void (*body)(const Frame&)>
xla::ffi::Error run_on_cuda(void* stream, int32_t device, xla::ffi::Span<const int64_t> config,
                            std::string_view unigrams, int64_t has_ignore_index, int64_t ignore_index,
                            xla::ffi::RemainingArgs args, xla::ffi::RemainingRets rets) {
  const Place place{SSL_BACKEND_CUDA, device, stream};
  return guarded([&] { body(Frame{place, config, unigrams, has_ignore_index, ignore_index, args, rets}); });
}

template <typename Binding>
auto with_attributes_and_buffers(Binding binding) {
  return std::move(binding)
      .template Attr<xla::ffi::Span<const int64_t>>("config")
      .template Attr<std::string_view>("unigrams")
      .template Attr<int64_t>("has_ignore_index")
      .template Attr<int64_t>("ignore_index")
      .RemainingArgs()
      .RemainingRets();
}

inline auto cpu_frame() { return with_attributes_and_buffers(xla::ffi::Ffi::Bind()); }

inline auto cuda_frame() {
  return with_attributes_and_buffers(
      xla::ffi::Ffi::Bind().Ctx<xla::ffi::PlatformStream<void*>>().Ctx<xla::ffi::DeviceOrdinal>());
}

}  // namespace sampled_softmax::jax

#endif
