#ifndef SAMPLED_SOFTMAX_NATIVE_HANDLE_H
#define SAMPLED_SOFTMAX_NATIVE_HANDLE_H

// Handles of the library, shared by all kernels of one configuration: a handle owns a
// pool of threads, and a graph may hold many kernels. A library must be bound.

#include <string.h>

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "library.h"

namespace sampled_softmax_native __attribute__((visibility("hidden"))) {

// A float64 as it stands in keys: by its bits, since a NaN would equal every number.
inline uint64_t Bits(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

// What a fixed unigram sampler draws from.
struct Unigrams {
  std::vector<double> weights;
  std::string vocab_file;
  double distortion = 1;
  int64_t num_reserved_ids = 0;
  uint32_t num_shards = 1;
  uint32_t shard = 0;

  auto Key() const {
    const std::string_view bytes(reinterpret_cast<const char*>(weights.data()), weights.size() * sizeof(double));
    return std::make_tuple(Bits(distortion), num_reserved_ids, num_shards, shard, std::string_view(vocab_file), bytes);
  }
};

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
  uint32_t generator = SSL_GENERATOR_XOSHIRO;
  uint64_t seed = 0;
  uint64_t rank = 0;
  double probability_floor = 0;
  std::shared_ptr<const Unigrams> unigrams;  // of a fixed unigram sampler

  auto Key() const {
    return std::make_tuple(backend, device, num_threads, num_classes, num_sampled, num_true, sampler, sampling, counts,
                           hits, reduction, generator, seed, rank, Bits(probability_floor));
  }
  bool operator<(const Config& other) const {
    if (Key() != other.Key()) return Key() < other.Key();
    // Weights may be megabytes; where they are the same object, they are not read.
    if (unigrams == other.unigrams || other.unigrams == nullptr) return false;
    return unigrams == nullptr || unigrams->Key() < other.unigrams->Key();
  }

  // Borrows from this object.
  ssl_config Fields() const {
    ssl_config fields;
    SSL_INIT(fields);
    fields.backend = backend;
    fields.device = device;
    fields.num_threads = num_threads;
    fields.num_classes = num_classes;
    fields.num_sampled = num_sampled;
    fields.num_true = num_true;
    fields.sampler = sampler;
    fields.sampling = sampling;
    fields.counts = counts;
    fields.hits = hits;
    fields.reduction = reduction;
    fields.generator = generator;
    fields.seed = seed;
    fields.rank = rank;
    fields.probability_floor = probability_floor;
    if (unigrams != nullptr) {
      fields.unigrams = unigrams->weights.empty() ? nullptr : unigrams->weights.data();
      fields.num_unigrams = static_cast<int64_t>(unigrams->weights.size());
      fields.vocab_file = unigrams->vocab_file.empty() ? nullptr : unigrams->vocab_file.c_str();
      fields.distortion = unigrams->distortion;
      fields.has_distortion = 1;
      fields.num_reserved_ids = unigrams->num_reserved_ids;
      fields.num_shards = unigrams->num_shards;
      fields.shard = unigrams->shard;
    }
    return fields;
  }
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

// Handles that are kept although no kernel refers to them. A CPU handle owns threads, so
// not very many; several for each of the devices of a large machine.
constexpr size_t kRecentHandles = 64;

// The handle of a configuration, made at its first use and kept while it is in use or one
// of the last used; that of a learning sampler for ever, because its counts are not to be
// had again.
class Handles {
 public:
  ssl_status Get(const Config& config, std::shared_ptr<Handle>* handle) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      *handle = Find(config);
    }
    if (*handle != nullptr) return SSL_STATUS_OK;
    // Made outside the lock: tables of a large vocabulary take a while. Two threads may
    // both make one; the second then finds the first's.
    const ssl_config fields = config.Fields();
    ssl_handle* made = nullptr;
    const ssl_status status = Functions().create(&fields, &made);
    if (status != SSL_STATUS_OK) return status;
    auto fresh = std::make_shared<Handle>(made);
    std::lock_guard<std::mutex> lock(mutex_);
    *handle = Find(config);
    if (*handle == nullptr) *handle = Keep(config, std::move(fresh));
    return SSL_STATUS_OK;
  }

 private:
  std::shared_ptr<Handle> Find(const Config& config) {
    auto found = handles_.find(config);
    std::shared_ptr<Handle> handle = found == handles_.end() ? nullptr : found->second.lock();
    if (handle != nullptr) Touch(handle);
    return handle;
  }

  std::shared_ptr<Handle> Keep(const Config& config, std::shared_ptr<Handle> handle) {
    for (auto entry = handles_.begin(); entry != handles_.end();) {
      entry = entry->second.expired() ? handles_.erase(entry) : std::next(entry);
    }
    handles_[config] = handle;
    if (config.sampler == SSL_SAMPLER_LEARNED_UNIGRAM) learned_.push_back(handle);
    Touch(handle);
    return handle;
  }

  void Touch(const std::shared_ptr<Handle>& handle) {
    recent_.remove(handle);
    recent_.push_front(handle);
    if (recent_.size() > kRecentHandles) recent_.pop_back();
  }

  std::mutex mutex_;
  std::map<Config, std::weak_ptr<Handle>> handles_;
  std::list<std::shared_ptr<Handle>> recent_;
  std::vector<std::shared_ptr<Handle>> learned_;
};

inline ssl_status FindHandle(const Config& config, std::shared_ptr<Handle>* handle) {
  // Never destroyed: kernels may outlive the static objects of this library.
  static auto* handles = new Handles;
  return handles->Get(config, handle);
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
