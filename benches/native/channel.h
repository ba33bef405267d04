/* The worker's end of the pipe to the harness, as benches/protocol.py has it for Python:
 * a request is one line of tab-separated fields, a verb and then key=value; the reply is
 * one line, `ok` or `error` and the rest behind a tab. */

#ifndef BENCH_CHANNEL_H
#define BENCH_CHANNEL_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char request[4096];

/* Stops the worker: the harness reports `message` and names the worker as failed. */
static inline void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("error\t");
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
    exit(1);
}

/* Reads a request and cuts it into strings. False at the end of the pipe. */
static inline int next_request(void) {
    if (!fgets(request, sizeof request - 1, stdin)) return 0;
    size_t length = strcspn(request, "\n");
    memset(request + length, 0, sizeof request - length);
    for (size_t i = 0; i < length; i++)
        if (request[i] == '\t') request[i] = 0;
    return 1;
}

static inline int is_verb(const char *verb) { return strcmp(request, verb) == 0; }

/* The value of `key`, which must be there. */
static inline const char *text(const char *key) {
    const size_t size = strlen(key);
    for (const char *field = request; *field; field += strlen(field) + 1)
        if (strncmp(field, key, size) == 0 && field[size] == '=') return field + size + 1;
    fail("the request %s has no %s", request, key);
    return NULL;
}

static inline int64_t whole(const char *key) { return strtoll(text(key), NULL, 10); }
static inline double real(const char *key) { return strtod(text(key), NULL); }

static inline double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Bytes of this process in memory: "VmRSS:" now, "VmHWM:" at most since reset_peak. */
static inline int64_t memory(const char *name) {
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    int64_t kibibytes = -1;
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, name, strlen(name)) == 0) kibibytes = strtoll(line + strlen(name), NULL, 10);
    if (status) fclose(status);
    if (kibibytes < 0) fail("/proc/self/status has no %s", name);
    return kibibytes * 1024;
}

static inline void reset_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file || fputs("5", file) < 0 || fclose(file)) fail("/proc/self/clear_refs cannot be written");
}

#endif
