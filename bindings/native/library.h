#ifndef SAMPLED_SOFTMAX_NATIVE_LIBRARY_H
#define SAMPLED_SOFTMAX_NATIVE_LIBRARY_H

// The shared library's functions, found at run time.
//
// The adapters of frameworks are compiled once and kept; opening the library by the path
// that Python loaded it from, instead of linking with it, keeps that path out of them
// and makes both use one copy.

#include <dlfcn.h>
#include <stdio.h>

#include <mutex>
#include <string>

#include "sampled_softmax.h"

// Hidden: two adapters in one process must not share what follows.
namespace sampled_softmax_native __attribute__((visibility("hidden"))) {

struct Library {
  decltype(&ssl_create) create;
  decltype(&ssl_forward) forward;
  decltype(&ssl_backward) backward;
  decltype(&ssl_forward_backward) forward_backward;
  decltype(&ssl_sample) sample;
  decltype(&ssl_workspace_size) workspace_size;
  decltype(&ssl_destroy) destroy;
  decltype(&ssl_last_error) last_error;
  decltype(&ssl_version) version;
};

// All NULL until `Bind` has succeeded.
inline Library& Functions() {
  static Library library = {};
  return library;
}

template <typename Function>
bool Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

inline bool Open(const char* path, Library* found, char* message, size_t size) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    snprintf(message, size, "%s", dlerror());
    return false;
  }
  if (!Find(library, "ssl_create", &found->create) || !Find(library, "ssl_forward", &found->forward) ||
      !Find(library, "ssl_backward", &found->backward) ||
      !Find(library, "ssl_forward_backward", &found->forward_backward) ||
      !Find(library, "ssl_sample", &found->sample) ||
      !Find(library, "ssl_workspace_size", &found->workspace_size) ||
      !Find(library, "ssl_destroy", &found->destroy) || !Find(library, "ssl_last_error", &found->last_error) ||
      !Find(library, "ssl_version", &found->version)) {
    snprintf(message, size, "%s lacks a function of sampled_softmax.h", path);
    return false;
  }
  uint32_t version = found->version();
  if (version >> 16 == SSL_ABI_VERSION_MAJOR && (version >> 8 & 0xff) >= SSL_ABI_VERSION_MINOR) return true;
  snprintf(message, size, "%s has version %u.%u, and %d.%d is needed", path, version >> 16, version >> 8 & 0xff,
           SSL_ABI_VERSION_MAJOR, SSL_ABI_VERSION_MINOR);
  return false;
}

// Opens the library at `path` for the life of the process. A second path is an error,
// since handles of the first are alive. Returns false with the reason in `message`.
inline bool Bind(const char* path, char* message, size_t size) {
  static std::mutex* mutex = new std::mutex;
  static std::string* bound = nullptr;
  std::lock_guard<std::mutex> lock(*mutex);
  if (bound != nullptr) {
    if (*bound == path) return true;
    snprintf(message, size, "it is bound to %s already", bound->c_str());
    return false;
  }
  Library found = {};
  if (!Open(path, &found, message, size)) return false;
  Functions() = found;
  bound = new std::string(path);
  return true;
}

// What was wrong with the last call of this thread that failed.
inline std::string LastMessage() {
  std::string message(Functions().last_error(nullptr, 0) + 1, '\0');
  message.resize(Functions().last_error(&message[0], message.size()));
  return message;
}

}  // namespace sampled_softmax_native

// Every adapter exports it; Python calls it once the adapter is loaded. 1, or 0 with the
// reason in `message`.
extern "C" __attribute__((visibility("default"))) int sampled_softmax_bind(const char* path, char* message,
                                                                           size_t size) {
  return sampled_softmax_native::Bind(path, message, size);
}

#endif
