// Handles of the library by what they are: made at first use, kept for the next call.
//
// A compiled program names its handle by value, never by address, because it may
// outlive this process: in JAX's compilation cache, or exported.

#ifndef SAMPLED_SOFTMAX_JAX_HANDLES_H
#define SAMPLED_SOFTMAX_JAX_HANDLES_H

#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "library.h"

namespace sampled_softmax::jax {

// The engine a call is for, and where.
struct Place {
  uint32_t backend = SSL_BACKEND_CPU;
  int32_t device = 0;
  void* stream = nullptr;
};

// A fixed unigram sampler's weights, copied. Programs carry their name, a digest of
// the content: a vocabulary is too long to stand in every program.
struct Unigrams {
  std::vector<double> weights;
  std::string vocab_file;
  double distortion = 1.0;
  int64_t num_reserved_ids = 0;
  uint32_t num_shards = 1;
  uint32_t shard = 0;
};

// The fields of `ssl_config` in the order in which Python lists them; see `fields_of`.
constexpr size_t kConfigFields = 13;

inline ssl_config config_of(const std::vector<int64_t>& fields, const Place& place, const Unigrams* unigrams) {
  ssl_config config;
  SSL_INIT(config);
  const int64_t* next = fields.data();
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
  if (unigrams != nullptr) {
    config.unigrams = unigrams->weights.empty() ? nullptr : unigrams->weights.data();
    config.num_unigrams = static_cast<int64_t>(unigrams->weights.size());
    config.vocab_file = unigrams->vocab_file.empty() ? nullptr : unigrams->vocab_file.c_str();
    config.distortion = unigrams->distortion;
    config.has_distortion = 1;
    config.num_reserved_ids = unigrams->num_reserved_ids;
    config.num_shards = unigrams->num_shards;
    config.shard = unigrams->shard;
  }
  return config;
}

using Handle = std::shared_ptr<ssl_handle>;

class Handles {
 public:
  static void expect_fields(xla::ffi::Span<const int64_t> fields) {
    if (fields.size() == kConfigFields) return;
    throw invalid("config has " + std::to_string(fields.size()) + " fields; " + std::to_string(kConfigFields) +
                  " are needed: the program is of another version of sampled_softmax.jax");
  }

  void name_unigrams(const std::string& name, Unigrams unigrams) {
    const std::lock_guard<std::mutex> lock(mutex_);
    unigrams_.emplace(name, std::make_shared<const Unigrams>(std::move(unigrams)));
  }

  // The handle, made if there is none. A call holds what it gets, so that another
  // thread's eviction of it does no harm.
  Handle get(xla::ffi::Span<const int64_t> fields, std::string_view unigrams, const Place& place) {
    expect_fields(fields);
    const Key key{{fields.begin(), fields.end()}, std::string(unigrams), place.backend, place.device};
    std::shared_ptr<const Unigrams> weights;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (Handle found = find(key)) return found;
      weights = named(key.unigrams);
    }
    // Made outside the lock: tables of a large vocabulary take a while. Two threads
    // may both make one; the second then finds the first's.
    const ssl_config config = config_of(key.fields, place, weights.get());
    ssl_handle* made = nullptr;
    check(library.create(&config, &made));
    const Handle handle(made, [](ssl_handle* handle) { library.destroy(handle); });
    const std::lock_guard<std::mutex> lock(mutex_);
    if (Handle found = find(key)) return found;
    recent_.emplace_front(key, handle);
    if (recent_.size() > kCapacity) recent_.pop_back();
    return handle;
  }

 private:
  struct Key {
    std::vector<int64_t> fields;
    std::string unigrams;
    uint32_t backend;
    int32_t device;

    bool operator==(const Key& other) const {
      return std::tie(fields, unigrams, backend, device) ==
             std::tie(other.fields, other.unigrams, other.backend, other.device);
    }
  };

  // A CPU handle owns threads, so not very many are kept; several for each of the
  // devices of a large machine.
  static constexpr size_t kCapacity = 64;

  Handle find(const Key& key) {
    for (auto entry = recent_.begin(); entry != recent_.end(); ++entry) {
      if (entry->first == key) {
        recent_.splice(recent_.begin(), recent_, entry);
        return entry->second;
      }
    }
    return nullptr;
  }

  std::shared_ptr<const Unigrams> named(const std::string& name) const {
    if (name.empty()) return nullptr;
    const auto found = unigrams_.find(name);
    if (found == unigrams_.end()) {
      throw Refused(xla::ffi::ErrorCode::kFailedPrecondition,
                    "the program draws from unigram weights that this process does not have (digest " + name +
                        "): make the same fixed_unigram sampler before running it");
    }
    return found->second;
  }

  std::mutex mutex_;
  std::list<std::pair<Key, Handle>> recent_;
  std::map<std::string, std::shared_ptr<const Unigrams>> unigrams_;
};

// Never destroyed: at exit, a thread of XLA may still be inside a call.
inline Handles& handles() {
  static auto* all = new Handles();
  return *all;
}

}  // namespace sampled_softmax::jax

#endif
