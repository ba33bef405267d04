#ifndef SAMPLED_SOFTMAX_TENSORFLOW_STATUS_H
#define SAMPLED_SOFTMAX_TENSORFLOW_STATUS_H

// The library's answers as absl::Status, which Python sees as tf.errors.

#include <string>

#include "../native/library.h"
#include "absl/status/status.h"

namespace sampled_softmax_tf {

using sampled_softmax_native::Functions;

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
  std::string message = sampled_softmax_native::LastMessage();
  if (message.compare(0, 7, "labels[") == 0) message.replace(0, 6, labels);
  return absl::Status(CodeOf(status), message + " [status " + std::to_string(status) + "]");
}

}  // namespace sampled_softmax_tf

#endif
