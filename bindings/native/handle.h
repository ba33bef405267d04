#ifndef SAMPLED_SOFTMAX_NATIVE_HANDLE_H
#define SAMPLED_SOFTMAX_NATIVE_HANDLE_H

// Handles of the library, shared by all kernels of one configuration: a handle owns a
// pool of threads, and a graph may hold many kernels. A library must be bound.

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "library.h"

namespace sampled_softmax_native __attribute__((visibility("hidden"))) {

// ssl_config by value: what a handle is.
struct Config {
  uint32_t backend = SSL_BACKEND_CPU;
  int32_t device = 0;
  uint32_t num_threads = 0;
  int64_t num_classes = 0;
  int64_t num_sampled = 0;
  int64_t num_true = 1;
  uint32_t sampler = SSL_SAMPLER_CALLER;
  uint32_t sampling = SSL_SAMPLING_REPLACEMENT;
  uint32_t counts = SSL_COUNTS_TF;
  uint32_t hits = SSL_HITS_MASK;
  uint32_t reduction = SSL_REDUCTION_NONE;
  uint64_t seed = 0;
  uint64_t rank = 0;
  double probability_floor = 0;
  std::string unigrams;  // the bytes of float64 weights
  std::string vocab_file;
  double distortion = 1;
  int64_t num_reserved_ids = 0;
  uint32_t num_shards = 1;
  uint32_t shard = 0;

  auto Key() const {
    return std::tie(backend, device, num_threads, num_classes, num_sampled, num_true, sampler, sampling, counts, hits,
                    reduction, seed, rank, probability_floor, distortion, num_reserved_ids, num_shards, shard,
                    vocab_file, unigrams);
  }
  bool operator<(const Config& other) const { return Key() < other.Key(); }
};

class Handle {
 public:
  explicit Handle(ssl_handle* handle) : handle_(handle) {}
  ~Handle() { Functions().destroy(handle_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  ssl_handle* get() const { return handle_; }

 private:
  ssl_handle* handle_;
};

inline ssl_status MakeHandle(const Config& config, std::shared_ptr<Handle>* handle) {
  ssl_config fields;
  SSL_INIT(fields);
  fields.backend = config.backend;
  fields.device = config.device;
  fields.num_threads = config.num_threads;
  fields.num_classes = config.num_classes;
  fields.num_sampled = config.num_sampled;
  fields.num_true = config.num_true;
  fields.sampler = config.sampler;
  fields.sampling = config.sampling;
  fields.counts = config.counts;
  fields.hits = config.hits;
  fields.reduction = config.reduction;
  fields.seed = config.seed;
  fields.rank = config.rank;
  fields.probability_floor = config.probability_floor;
  std::vector<double> unigrams(config.unigrams.size() / sizeof(double));
  if (config.sampler == SSL_SAMPLER_FIXED_UNIGRAM) {
    // Copied, since the bytes of a string need not be aligned.
    if (!unigrams.empty()) memcpy(unigrams.data(), config.unigrams.data(), unigrams.size() * sizeof(double));
    fields.unigrams = unigrams.empty() ? nullptr : unigrams.data();
    fields.num_unigrams = static_cast<int64_t>(unigrams.size());
    fields.vocab_file = config.vocab_file.empty() ? nullptr : config.vocab_file.c_str();
    fields.distortion = config.distortion;
    fields.has_distortion = 1;
    fields.num_reserved_ids = config.num_reserved_ids;
    fields.num_shards = config.num_shards;
    fields.shard = config.shard;
  }
  ssl_handle* made = nullptr;
  ssl_status status = Functions().create(&fields, &made);
  if (status == SSL_STATUS_OK) *handle = std::make_shared<Handle>(made);
  return status;
}

// Handles that are kept although no kernel refers to them.
constexpr size_t kRecentHandles = 16;

// The handle of a configuration, made at its first use and kept while it is in use or one
// of the last used; that of a learning sampler for ever, because its counts are not to be
// had again.
inline ssl_status FindHandle(const Config& config, std::shared_ptr<Handle>* handle) {
  // Never destroyed: kernels may outlive the static objects of this library.
  static auto* mutex = new std::mutex;
  static auto* handles = new std::map<Config, std::weak_ptr<Handle>>;
  static auto* recent = new std::list<std::shared_ptr<Handle>>;
  static auto* learned = new std::vector<std::shared_ptr<Handle>>;
  std::lock_guard<std::mutex> lock(*mutex);
  auto found = handles->find(config);
  if (found != handles->end()) *handle = found->second.lock();
  if (*handle == nullptr) {
    ssl_status status = MakeHandle(config, handle);
    if (status != SSL_STATUS_OK) return status;
    for (auto entry = handles->begin(); entry != handles->end();) {
      entry = entry->second.expired() ? handles->erase(entry) : std::next(entry);
    }
    (*handles)[config] = *handle;
    if (config.sampler == SSL_SAMPLER_LEARNED_UNIGRAM) learned->push_back(*handle);
  }
  recent->remove(*handle);
  recent->push_front(*handle);
  if (recent->size() > kRecentHandles) recent->pop_back();
  return SSL_STATUS_OK;
}

// A kernel's handle: that of its last call, as long as the shapes stay.
class HandleSlot {
 public:
  ssl_status Get(const Config& config, std::shared_ptr<Handle>* handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (handle_ == nullptr || config.num_classes != num_classes_ || config.num_sampled != num_sampled_ ||
        config.num_true != num_true_ || config.device != device_) {
      handle_.reset();
      ssl_status status = FindHandle(config, &handle_);
      if (status != SSL_STATUS_OK) return status;
      num_classes_ = config.num_classes;
      num_sampled_ = config.num_sampled;
      num_true_ = config.num_true;
      device_ = config.device;
    }
    *handle = handle_;
    return SSL_STATUS_OK;
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<Handle> handle_;
  int64_t num_classes_ = 0;
  int64_t num_sampled_ = 0;
  int64_t num_true_ = 0;
  int32_t device_ = 0;
};

}  // namespace sampled_softmax_native

#endif
