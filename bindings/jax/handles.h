// What a compiled program says of its handle. It names it by value, never by address,
// because it may outlive this process: in JAX's compilation cache, or exported.

#ifndef SAMPLED_SOFTMAX_JAX_HANDLES_H
#define SAMPLED_SOFTMAX_JAX_HANDLES_H

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "../native/handle.h"
#include "status.h"

namespace sampled_softmax::jax {

using sampled_softmax_native::Config;
using sampled_softmax_native::Handle;
using sampled_softmax_native::Unigrams;

// The engine a call is for, and where.
struct Place {
  uint32_t backend = SSL_BACKEND_CPU;
  int32_t device = 0;
  void* stream = nullptr;
};

// The fixed unigram samplers of this process's programs, by a digest of their content: a
// vocabulary is too long to stand in every program.
class NamedUnigrams {
 public:
  void add(const std::string& name, Unigrams unigrams) {
    const std::lock_guard<std::mutex> lock(mutex_);
    named_.emplace(name, std::make_shared<const Unigrams>(std::move(unigrams)));
  }

  std::shared_ptr<const Unigrams> get(std::string_view name) const {
    if (name.empty()) return nullptr;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = named_.find(name);
    if (found != named_.end()) return found->second;
    throw Refused(xla::ffi::ErrorCode::kFailedPrecondition,
                  "the program draws from unigram weights that this process does not have (digest " +
                      std::string(name) + "): make the same fixed_unigram sampler before running it");
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Unigrams>, std::less<>> named_;
};

// Never destroyed: at exit, a thread of XLA may still be inside a call.
inline NamedUnigrams& named_unigrams() {
  static auto* all = new NamedUnigrams();
  return *all;
}

// The configuration whose fields Python lists in this order; see `fields_of`. Another
// number of them is refused before any is read.
inline Config config_of(xla::ffi::Span<const int64_t> fields, std::string_view unigrams, const Place& place) {
  constexpr size_t kFields = 13;
  if (fields.size() != kFields) {
    throw invalid("config has " + std::to_string(fields.size()) + " fields; " + std::to_string(kFields) +
                  " are needed: the program is of another version of sampled_softmax.jax");
  }
  Config config;
  const int64_t* next = fields.begin();
  config.num_classes = *next++;
  config.num_sampled = *next++;
  config.num_true = *next++;
  config.sampler = static_cast<uint32_t>(*next++);
  config.sampling = static_cast<uint32_t>(*next++);
  config.counts = static_cast<uint32_t>(*next++);
  config.hits = static_cast<uint32_t>(*next++);
  config.reduction = static_cast<uint32_t>(*next++);
  config.num_threads = static_cast<uint32_t>(*next++);
  config.seed = static_cast<uint64_t>(*next++);
  config.rank = static_cast<uint64_t>(*next++);
  std::memcpy(&config.probability_floor, next++, sizeof config.probability_floor);
  config.generator = static_cast<uint32_t>(*next++);
  config.backend = place.backend;
  config.device = place.device;
  if (place.backend != SSL_BACKEND_CPU) config.num_threads = 0;
  config.unigrams = named_unigrams().get(unigrams);
  return config;
}

inline std::shared_ptr<Handle> handle_of(const Config& config) {
  std::shared_ptr<Handle> handle;
  check(sampled_softmax_native::FindHandle(config, &handle));
  return handle;
}

}  // namespace sampled_softmax::jax

#endif
