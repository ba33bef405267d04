#ifndef SAMPLED_SOFTMAX_NATIVE_LIBRARY_H
#define SAMPLED_SOFTMAX_NATIVE_LIBRARY_H

/* The shared library's functions, found at run time.
 *
 * The adapters of frameworks are compiled once and kept; opening the library by the path
 * that Python loaded it from, instead of linking with it, keeps that path out of them
 * and makes both use one copy.
 */

#include <dlfcn.h>
#include <stdio.h>

#include "sampled_softmax.h"

typedef struct ssl_functions {
    ssl_status (*create)(const ssl_config *, ssl_handle **);
    ssl_status (*forward)(ssl_handle *, const ssl_batch *, const ssl_candidates *, const ssl_loss *, void *, size_t,
                          void *);
    ssl_status (*backward)(ssl_handle *, const ssl_batch *, const ssl_candidates *, const ssl_loss *,
                           const ssl_gradients *, void *, size_t, void *);
    ssl_status (*sample)(ssl_handle *, const ssl_batch *, const ssl_candidates *, void *);
    ssl_status (*workspace_size)(const ssl_handle *, const ssl_batch *, size_t *, size_t *);
    ssl_status (*destroy)(ssl_handle *);
    size_t (*last_error)(char *, size_t);
    uint32_t (*version)(void);
} ssl_functions;

/* POSIX has dlsym return functions as void *; ISO C has no such cast, but copies bytes. */
static inline int ssl_functions_find(void *library, const char *name, void *function) {
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

/* Fills `functions` from the library at `path`. 1 on success; otherwise 0, with the
 * reason in `message`. The library stays open for the life of the process. */
static inline int ssl_functions_open(ssl_functions *functions, const char *path, char *message, size_t size) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(message, size, "%s", dlerror());
        return 0;
    }
    if (!ssl_functions_find(library, "ssl_create", &functions->create) ||
        !ssl_functions_find(library, "ssl_forward", &functions->forward) ||
        !ssl_functions_find(library, "ssl_backward", &functions->backward) ||
        !ssl_functions_find(library, "ssl_sample", &functions->sample) ||
        !ssl_functions_find(library, "ssl_workspace_size", &functions->workspace_size) ||
        !ssl_functions_find(library, "ssl_destroy", &functions->destroy) ||
        !ssl_functions_find(library, "ssl_last_error", &functions->last_error) ||
        !ssl_functions_find(library, "ssl_version", &functions->version)) {
        snprintf(message, size, "%s lacks a function of sampled_softmax.h", path);
        return 0;
    }
    uint32_t version = functions->version();
    if (version >> 16 != SSL_ABI_VERSION_MAJOR || (version >> 8 & 0xff) < SSL_ABI_VERSION_MINOR) {
        snprintf(message, size, "%s has version %u.%u, and %d.%d is needed", path, version >> 16, version >> 8 & 0xff,
                 SSL_ABI_VERSION_MAJOR, SSL_ABI_VERSION_MINOR);
        return 0;
    }
    return 1;
}

#endif
