#ifndef SAMPLED_SOFTMAX_TENSORFLOW_LIBRARY_H
#define SAMPLED_SOFTMAX_TENSORFLOW_LIBRARY_H

// The shared library as these kernels see it: its functions, and its answers as absl::Status.

#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "../native/library.h"

namespace sampled_softmax_tf {

inline ssl_functions& Functions() {
  static ssl_functions functions = {};
  return functions;
}

// Opens the library at `path`, once; a second path is an error, since handles of the
// first are alive. Returns false with the reason in `message`.
inline bool Bind(const char* path, char* message, size_t size) {
  static std::mutex mutex;
  static std::string* bound = nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  if (bound != nullptr) {
    if (*bound == path) return true;
    snprintf(message, size, "already bound to %s", bound->c_str());
    return false;
  }
  ssl_functions found = {};
  if (!ssl_functions_open(&found, path, message, size)) return false;
  Functions() = found;
  bound = new std::string(path);
  return true;
}

inline absl::Status CheckBound() {
  if (Functions().create != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "sampled_softmax: the kernels are loaded, but no library is bound to them; import sampled_softmax.tensorflow");
}

inline absl::StatusCode CodeOf(ssl_status status) {
  switch (status) {
    case SSL_STATUS_HOST_MEMORY:
    case SSL_STATUS_DEVICE_MEMORY:
      return absl::StatusCode::kResourceExhausted;
    case SSL_STATUS_FILE:
      return absl::StatusCode::kNotFound;
    default:
      break;
  }
  if (status / 1000 == 1) return absl::StatusCode::kInvalidArgument;
  if (status / 1000 == 2) return absl::StatusCode::kUnimplemented;
  return absl::StatusCode::kInternal;
}

// `labels` is what the caller's labels are called in a message.
inline absl::Status ToStatus(ssl_status status, const std::string& labels = "labels") {
  if (status == SSL_STATUS_OK) return absl::OkStatus();
  std::string message(Functions().last_error(nullptr, 0) + 1, '\0');
  message.resize(Functions().last_error(&message[0], message.size()));
  if (labels != "labels" && message.compare(0, 7, "labels[") == 0) message.replace(0, 6, labels);
  return absl::Status(CodeOf(status), message + " [status " + std::to_string(status) + "]");
}

}  // namespace sampled_softmax_tf

#endif
