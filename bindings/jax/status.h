// The library's statuses as XLA errors.

#ifndef SAMPLED_SOFTMAX_JAX_STATUS_H
#define SAMPLED_SOFTMAX_JAX_STATUS_H

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#include "../native/library.h"
#include "xla/ffi/api/ffi.h"

namespace sampled_softmax::jax {

using sampled_softmax_native::Functions;

// Thrown inside a handler only; `guarded` turns it into an XLA error.
class Refused : public std::runtime_error {
 public:
  Refused(xla::ffi::ErrorCode code, const std::string& message, ssl_status status = SSL_STATUS_INVALID_VALUE)
      : std::runtime_error(message), code(code), status(status) {}

  const xla::ffi::ErrorCode code;
  // The library's own answer, where it was the library that refused.
  const ssl_status status;
};

inline Refused invalid(const std::string& message) {
  return Refused(xla::ffi::ErrorCode::kInvalidArgument, message);
}

inline xla::ffi::ErrorCode code_of(ssl_status status) {
  using xla::ffi::ErrorCode;
  switch (status) {
    case SSL_STATUS_LABEL_RANGE: return ErrorCode::kOutOfRange;
    case SSL_STATUS_HOST_MEMORY:
    case SSL_STATUS_DEVICE_MEMORY: return ErrorCode::kResourceExhausted;
    case SSL_STATUS_FILE: return ErrorCode::kNotFound;
    default: break;
  }
  switch (status / 1000) {
    case 1: return ErrorCode::kInvalidArgument;
    case 2: return ErrorCode::kUnimplemented;
    default: return ErrorCode::kInternal;
  }
}

// Throws `Refused` with the library's own words unless `status` is success.
inline void check(ssl_status status) {
  if (status == SSL_STATUS_OK) return;
  const std::string message = sampled_softmax_native::LastMessage();
  throw Refused(code_of(status), message + " [status " + std::to_string(status) + "]", status);
}

// Runs the body of a handler: no exception leaves it, since XLA has no place for one.
template <typename Body>
xla::ffi::Error guarded(const Body& body) {
  using xla::ffi::ErrorCode;
  try {
    body();
    return xla::ffi::Error::Success();
  } catch (const Refused& refused) {
    return xla::ffi::Error(refused.code, refused.what());
  } catch (const std::bad_alloc&) {
    return xla::ffi::Error(ErrorCode::kResourceExhausted, "host memory ran out");
  } catch (const std::exception& error) {
    return xla::ffi::Error(ErrorCode::kInternal, error.what());
  }
}

}  // namespace sampled_softmax::jax

#endif
