// Scratch memory of calls on the CPU, kept for the next.

#ifndef SAMPLED_SOFTMAX_JAX_SCRATCH_H
#define SAMPLED_SOFTMAX_JAX_SCRATCH_H

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace sampled_softmax::jax {

// Not a buffer of XLA's, which would be mapped and unmapped with every call; on a GPU,
// where XLA keeps its memory, it is one.
class Scratch {
 public:
  explicit Scratch(size_t size) {
    const std::lock_guard<std::mutex> lock(mutex());
    if (!free().empty()) {
      bytes_ = std::move(free().back());
      free().pop_back();
    }
    if (bytes_.size < size) {
      // Dropped first, so that old and new need not fit in memory together.
      bytes_ = Bytes{};
      bytes_ = Bytes{std::unique_ptr<std::byte[]>(new std::byte[size]), size};
    }
  }

  ~Scratch() {
    const std::lock_guard<std::mutex> lock(mutex());
    free().push_back(std::move(bytes_));
  }

  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* data() const { return bytes_.data.get(); }
  size_t size() const { return bytes_.size; }

 private:
  struct Bytes {
    std::unique_ptr<std::byte[]> data;
    size_t size = 0;
  };

  static std::mutex& mutex() {
    static auto* only = new std::mutex();
    return *only;
  }

  static std::vector<Bytes>& free() {
    static auto* all = new std::vector<Bytes>();
    return *all;
  }

  Bytes bytes_;
};

}  // namespace sampled_softmax::jax

#endif
