#ifndef SAMPLED_SOFTMAX_HPP
#define SAMPLED_SOFTMAX_HPP

/* The C interface for C++17: a handle that frees itself, structs that begin right, and
 * statuses as exceptions. The same nouns as in sampled_softmax.h, which stays the manual:
 * shapes, dtypes, ownership and threads are told there.
 *
 *     namespace ss = sampled_softmax;
 *
 *     ss::Config config;                     // every field at its default
 *     config.num_classes = 793471;
 *     config.num_sampled = 8192;
 *     config.sampler = SSL_SAMPLER_LOG_UNIFORM;
 *     ss::Handle handle(config);             // throws ss::Error
 *     ss::Workspace workspace;               // grows to what a batch needs
 *
 *     handle.forward(batch, candidates, loss, workspace);
 *     handle.backward(batch, candidates, loss, gradients, workspace);
 *
 * Header only, no dependency beyond the C header and the standard library.
 */

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "sampled_softmax.h"

namespace sampled_softmax {

/* A CUstream (or cudaStream_t) for CUDA handles; nullptr for CPU handles. */
using Stream = void *;

/* The message of the last call that failed on this thread; empty if none has. */
inline std::string last_error() {
    std::string text(ssl_last_error(nullptr, 0), '\0');
    // One byte more than the length: std::string keeps room for the NUL there.
    ssl_last_error(text.data(), text.size() + 1);
    return text;
}

/* What every failing call of this binding throws. what() is "<call>: <message>", the
 * message being the library's own, which names the argument and the numbers. */
class Error : public std::runtime_error {
  public:
    Error(ssl_status status, const char *call, const std::string &message)
        : std::runtime_error(std::string(call) + ": " + message), status_(status) {}

    /* SSL_STATUS_*; status() / 1000 is its category. */
    ssl_status status() const noexcept { return status_; }

  private:
    ssl_status status_;
};

/* Throws Error unless `status` is SSL_STATUS_OK. To be called on the thread, and right
 * after the call, that returned it: the message is kept for each thread. */
inline void check(ssl_status status, const char *call) {
    if (status == SSL_STATUS_OK) return;
    std::string message = last_error();
    if (message.empty()) message = ssl_status_string(status);
    throw Error(status, call, message);
}

/* C's structs with every field at its default and struct_size set. They are the C
 * structs, and go wherever those do. */
struct Config : ssl_config {
    Config() noexcept : ssl_config() { struct_size = sizeof(ssl_config); }
};

struct Batch : ssl_batch {
    Batch() noexcept : ssl_batch() { struct_size = sizeof(ssl_batch); }
};

struct Candidates : ssl_candidates {
    Candidates() noexcept : ssl_candidates() { struct_size = sizeof(ssl_candidates); }
};

struct Loss : ssl_loss {
    Loss() noexcept : ssl_loss() { struct_size = sizeof(ssl_loss); }
};

struct Gradients : ssl_gradients {
    Gradients() noexcept : ssl_gradients() { struct_size = sizeof(ssl_gradients); }
};

struct Update : ssl_update {
    Update() noexcept : ssl_update() { struct_size = sizeof(ssl_update); }
};

// A member added here would lie behind struct_size and never reach the library.
static_assert(sizeof(Config) == sizeof(ssl_config) && sizeof(Batch) == sizeof(ssl_batch) &&
                  sizeof(Candidates) == sizeof(ssl_candidates) &&
                  sizeof(Loss) == sizeof(ssl_loss) &&
                  sizeof(Gradients) == sizeof(ssl_gradients) &&
                  sizeof(Update) == sizeof(ssl_update),
              "the C++ structs add nothing to the C structs");

/* Bytes of workspace that a batch needs. */
struct WorkspaceSize {
    std::size_t forward = 0;  /* of Handle::forward */
    std::size_t backward = 0; /* of Handle::backward and Handle::forward_backward */
};

/* Scratch in host memory that grows to the largest size asked for and keeps it. For one
 * call at a time: threads that share a handle bring a workspace each. */
class Workspace {
  public:
    Workspace() = default;
    /* Room for `size` bytes from the start. Throws std::bad_alloc. */
    explicit Workspace(std::size_t size) { reserve(size); }

    Workspace(Workspace &&other) noexcept
        : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}
    Workspace &operator=(Workspace &&other) noexcept {
        bytes_ = std::move(other.bytes_);
        size_ = std::exchange(other.size_, 0);
        return *this;
    }

    /* Makes room for at least `size` bytes; what was in it is lost if it grows. On
     * std::bad_alloc it is empty. */
    void reserve(std::size_t size) {
        if (size <= size_) return;
        // Freed first, so that old and new never exist together.
        bytes_.reset();
        size_ = 0;
        // Not make_unique: that would clear memory which the library overwrites.
        bytes_.reset(new unsigned char[size]);
        size_ = size;
    }

    void *data() noexcept { return bytes_.get(); }
    std::size_t size() const noexcept { return size_; }

  private:
    std::unique_ptr<unsigned char[]> bytes_;
    std::size_t size_ = 0;
};

/* A loss with its sampler, its engine and its threads; owns an ssl_handle.
 *
 * Movable, not copyable. A handle that was moved from may be assigned to or destroyed;
 * any other use throws Error with SSL_STATUS_NULL_POINTER. Several threads may call one
 * handle at once, except for destroying, moving or assigning it. Every function throws
 * Error and then has written nothing if its arguments were at fault.
 *
 * Two forms of each call: with a Workspace, which is grown where needed and suits the
 * CPU engine, and with any memory of the caller's and a stream, which both engines take.
 */
class Handle {
  public:
    explicit Handle(const ssl_config &config) {
        ssl_handle *handle = nullptr;
        check(ssl_create(&config, &handle), "ssl_create");
        handle_.reset(handle);
    }

    /* Draws candidates, or takes the given ones, and computes the loss. */
    void forward(const ssl_batch &batch, const ssl_candidates &candidates, const ssl_loss &loss,
                 void *workspace, std::size_t workspace_size, Stream stream = nullptr) {
        check(ssl_forward(get(), &batch, &candidates, &loss, workspace, workspace_size, stream),
              "ssl_forward");
    }

    void forward(const ssl_batch &batch, const ssl_candidates &candidates, const ssl_loss &loss,
                 Workspace &workspace) {
        workspace.reserve(this->workspace_size(batch).forward);
        forward(batch, candidates, loss, workspace.data(), workspace.size());
    }

    /* Computes the gradients of an earlier forward of the same batch and candidates. */
    void backward(const ssl_batch &batch, const ssl_candidates &candidates, const ssl_loss &loss,
                  const ssl_gradients &gradients, void *workspace, std::size_t workspace_size,
                  Stream stream = nullptr) {
        check(ssl_backward(get(), &batch, &candidates, &loss, &gradients, workspace,
                           workspace_size, stream),
              "ssl_backward");
    }

    void backward(const ssl_batch &batch, const ssl_candidates &candidates, const ssl_loss &loss,
                  const ssl_gradients &gradients, Workspace &workspace) {
        workspace.reserve(this->workspace_size(batch).backward);
        backward(batch, candidates, loss, gradients, workspace.data(), workspace.size());
    }

    /* forward and backward at once, for an upstream gradient known beforehand. */
    void forward_backward(const ssl_batch &batch, const ssl_candidates &candidates,
                          const ssl_loss &loss, const ssl_gradients &gradients, void *workspace,
                          std::size_t workspace_size, Stream stream = nullptr) {
        check(ssl_forward_backward(get(), &batch, &candidates, &loss, &gradients, workspace,
                                   workspace_size, stream),
              "ssl_forward_backward");
    }

    void forward_backward(const ssl_batch &batch, const ssl_candidates &candidates,
                          const ssl_loss &loss, const ssl_gradients &gradients,
                          Workspace &workspace) {
        workspace.reserve(this->workspace_size(batch).backward);
        forward_backward(batch, candidates, loss, gradients, workspace.data(), workspace.size());
    }

    /* Draws candidates for the labels of `batch`. */
    void sample(const ssl_batch &batch, const ssl_candidates &candidates,
                Stream stream = nullptr) {
        check(ssl_sample(get(), &batch, &candidates, stream), "ssl_sample");
    }

    /* Draws candidates without labels. */
    void sample(const ssl_candidates &candidates, Stream stream = nullptr) {
        check(ssl_sample(get(), nullptr, &candidates, stream), "ssl_sample");
    }

    WorkspaceSize workspace_size(const ssl_batch &batch) const {
        WorkspaceSize size;
        check(ssl_workspace_size(get(), &batch, &size.forward, &size.backward),
              "ssl_workspace_size");
        return size;
    }

    /* For calls to the C interface; nullptr after a move. This object stays the owner. */
    ssl_handle *get() const noexcept { return handle_.get(); }

  private:
    struct Destroy {
        // Cannot fail on a handle that ssl_create made; a destructor could not throw it.
        void operator()(ssl_handle *handle) const noexcept { ssl_destroy(handle); }
    };

    std::unique_ptr<ssl_handle, Destroy> handle_;
};

/* Whether a Handle can be made on this SSL_BACKEND_* here; if not, last_error() says why. */
inline bool backend_available(std::uint32_t backend) {
    return ssl_backend_available(backend) != 0;
}

/* The library's version: major << 16 | minor << 8 | patch. */
inline std::uint32_t version() noexcept { return ssl_version(); }

} // namespace sampled_softmax

#endif
