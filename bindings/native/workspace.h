#ifndef SAMPLED_SOFTMAX_NATIVE_WORKSPACE_H
#define SAMPLED_SOFTMAX_NATIVE_WORKSPACE_H

// Workspaces on the host: they only grow, and there is one for each call in flight. The
// frameworks' allocators give the pages back after every step, and fetching them anew
// costs more than a small loss.

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace sampled_softmax_native __attribute__((visibility("hidden"))) {

class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    if (bytes_ == nullptr) return;
    std::lock_guard<std::mutex> lock(Mutex());
    Free().push_back(std::move(bytes_));
  }

  // Room for `size` bytes, of any content, until this object goes.
  void Take(size_t size) {
    {
      std::lock_guard<std::mutex> lock(Mutex());
      if (!Free().empty()) {
        bytes_ = std::move(Free().back());
        Free().pop_back();
      }
    }
    if (bytes_ != nullptr && bytes_->size() >= size) return;
    // Dropped first, so that old and new need not fit in memory together.
    bytes_.reset();
    bytes_ = std::make_unique<std::vector<char>>(size);
  }
  void* data() { return bytes_->data(); }
  size_t size() const { return bytes_->size(); }

 private:
  // Never destroyed: calls may be in flight when the process ends.
  static std::mutex& Mutex() {
    static auto* mutex = new std::mutex;
    return *mutex;
  }
  static std::vector<std::unique_ptr<std::vector<char>>>& Free() {
    static auto* free = new std::vector<std::unique_ptr<std::vector<char>>>;
    return *free;
  }

  std::unique_ptr<std::vector<char>> bytes_;
};

}  // namespace sampled_softmax_native

#endif
