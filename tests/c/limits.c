/* What the system may refuse a program: threads, address space, descriptors. A call answers
 * with a status that says so, and with the limit gone the next one succeeds. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sampled_softmax.h"

enum { CLASSES = 1000000, THREADS = 6 };

static int failures = 0, refused_from = -1, created = 0;

static void expect(int holds, const char *what, int number) {
    char message[512] = "";
    if (holds) return;
    ssl_last_error(message, sizeof message);
    fprintf(stderr, "does not hold: %s (%d); last error: %s\n", what, number, message);
    failures++;
}

/* Takes the place of the C library's, for the shared library too. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    if (refused_from >= 0 && created++ >= refused_from) return EAGAIN;
    return create(thread, attributes, body, argument);
}

static int said(const char *words) {
    char message[512];
    ssl_last_error(message, sizeof message);
    return strstr(message, words) != NULL;
}

static ssl_status life(uint32_t sampler, const char *vocab_file) {
    ssl_config config;
    ssl_handle *handle = NULL;
    SSL_INIT(config);
    config.num_classes = CLASSES;
    config.num_sampled = 1000;
    config.num_threads = THREADS;
    config.sampler = sampler;
    config.vocab_file = vocab_file;
    const ssl_status status = ssl_create(&config, &handle);
    if (status == SSL_STATUS_OK) expect(ssl_destroy(handle) == SSL_STATUS_OK, "ssl_destroy", 0);
    return status;
}

/* The n-th thread of a handle, and all behind it, are refused. */
static void threads(void) {
    for (refused_from = 0; refused_from < THREADS - 1; refused_from++) {
        created = 0;
        expect(life(SSL_SAMPLER_UNIFORM, NULL) == SSL_STATUS_HOST_MEMORY, "a refused thread", refused_from);
        expect(said("cannot be started: Resource temporarily unavailable"), "its reason", refused_from);
    }
    refused_from = -1;
    expect(life(SSL_SAMPLER_UNIFORM, NULL) == SSL_STATUS_OK, "threads again", 0);
}

/* In children, which begin with what this process has: with room for so many KiB more. */
static void address_space(void) {
    int enough = 0, too_little = 0;
    for (int room = 0; room < 65536; room += room < 4096 ? 256 : 4096) {
        int status;
        const pid_t child = fork();
        if (child == 0) {
            long pages = 0;
            FILE *statm = fopen("/proc/self/statm", "r");
            if (!statm || fscanf(statm, "%ld", &pages) != 1) _exit(9);
            fclose(statm);
            const rlim_t bytes = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)room * 1024;
            const struct rlimit limit = {bytes, bytes};
            setrlimit(RLIMIT_AS, &limit);
            failures = 0;
            const ssl_status answer = life(SSL_SAMPLER_LEARNED_UNIGRAM, NULL);
            _exit(failures ? 8 : answer == SSL_STATUS_OK ? 0 : answer == SSL_STATUS_HOST_MEMORY ? 1 : 2);
        }
        waitpid(child, &status, 0);
        expect(WIFEXITED(status) && WEXITSTATUS(status) <= 1, "an answer with KiB left", room);
        enough += WIFEXITED(status) && WEXITSTATUS(status) == 0;
        too_little += WIFEXITED(status) && WEXITSTATUS(status) == 1;
    }
    expect(enough > 0, "memory that is enough", enough);
    expect(too_little > 0, "memory that is too little", too_little);
}

static void descriptors(void) {
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    const struct rlimit none = {0, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    expect(life(SSL_SAMPLER_UNIFORM, NULL) == SSL_STATUS_OK, "a handle needs no descriptor", 0);
    expect(life(SSL_SAMPLER_FIXED_UNIGRAM, "/etc/passwd") == SSL_STATUS_FILE, "a file that cannot be opened", 0);
    expect(said("Too many open files"), "its reason", 0);
    expect(!ssl_backend_available(SSL_BACKEND_CUDA), "a driver that cannot be opened", 0);
    setrlimit(RLIMIT_NOFILE, &before);
}

int main(void) {
    threads();
    address_space();
    descriptors();
    return failures != 0;
}
