/* A process that ends while handles live, their threads run and calls are under way.
 *
 *     exits WAY BACKEND MICROSECONDS     exits 7 by all ways but abort
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sampled_softmax.h"

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            char message[256] = "";                                                       \
            ssl_last_error(message, sizeof message);                                      \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, message);          \
            _exit(1);                                                                     \
        }                                                                                 \
    } while (0)

enum { N = 256, D = 64, C = 1000, S = 200, ROWS = N + S };

static uint32_t backend;
static ssl_handle *handles[3];
static pthread_barrier_t in_calls;

/* One thread's buffers. */
typedef struct work {
    double log_sum_exp[N];
    float inputs[N][D], loss[N], d_inputs[N][D], d_weights[ROWS][D];
    float counts[S], true_counts[N];
    int64_t labels[N], ids[S], rows[ROWS], num_rows;
    void *workspace;
    size_t size;
} work;

static float weights[C][D];
static work works[3];

static ssl_handle *create(void) {
    ssl_config config;
    ssl_handle *handle = NULL;
    SSL_INIT(config);
    config.backend = backend;
    config.num_threads = 4;
    config.num_classes = C;
    config.num_sampled = S;
    config.sampler = SSL_SAMPLER_LOG_UNIFORM;
    CHECK(ssl_create(&config, &handle) == SSL_STATUS_OK);
    return handle;
}

static ssl_status step(ssl_handle *handle, work *w, uint64_t number) {
    ssl_batch batch;
    ssl_candidates candidates;
    ssl_loss loss;
    ssl_gradients gradients;
    SSL_INIT(batch);
    SSL_INIT(candidates);
    SSL_INIT(loss);
    SSL_INIT(gradients);
    /* Kernels are slow where the device is emulated. */
    batch.num_rows = backend == SSL_BACKEND_CPU ? N : 4;
    batch.dim = D;
    batch.inputs = w->inputs;
    batch.weights = weights;
    batch.labels = w->labels;
    candidates.step = number;
    candidates.ids = w->ids;
    candidates.sampled_expected_count = w->counts;
    candidates.true_expected_count = w->true_counts;
    loss.loss = w->loss;
    loss.log_sum_exp = w->log_sum_exp;
    gradients.d_inputs = w->d_inputs;
    gradients.d_weights = w->d_weights;
    gradients.row_ids = w->rows;
    gradients.num_rows = &w->num_rows;
    gradients.row_capacity = ROWS;
    if (!w->workspace) {
        CHECK(ssl_workspace_size(handle, &batch, NULL, &w->size) == SSL_STATUS_OK);
        CHECK((w->workspace = malloc(w->size)) != NULL);
    }
    return ssl_forward_backward(handle, &batch, &candidates, &loss, &gradients, w->workspace, w->size,
                                NULL);
}

/* Calls without end: after exit() has begun they may fail on the device, and that is all. */
static void *call(void *place) {
    size_t index = (size_t)place;
    uint64_t number;
    CHECK(step(handles[index], &works[index], 0) == SSL_STATUS_OK);
    pthread_barrier_wait(&in_calls);
    for (number = 1;; number++) step(handles[index], &works[index], number);
    return NULL;
}

static void *exit_7(void *delay) {
    usleep(*(useconds_t *)delay);
    exit(7);
    return NULL;
}

static void fail(void) {
    ssl_config config;
    ssl_handle *handle = NULL;
    SSL_INIT(config);
    CHECK(ssl_create(&config, &handle) == SSL_STATUS_INVALID_VALUE);
}

/* What a program's own clean-up may do, threads still calling: the message that this thread
 * had is gone by now. */
static void clean_up(void) {
    char message[256] = "none";
    ssl_handle *handle = NULL;
    static work late;
    fail();
    CHECK(ssl_last_error(message, sizeof message) == strlen(message));
    CHECK(ssl_destroy(handles[0]) == SSL_STATUS_OK);
    CHECK(ssl_destroy(handles[0]) == SSL_STATUS_INVALID_VALUE);
    backend = SSL_BACKEND_CPU;
    handle = create();
    CHECK(step(handle, &late, 0) == SSL_STATUS_OK);
    CHECK(ssl_destroy(handle) == SSL_STATUS_OK);
    CHECK(ssl_destroy(handles[1]) == SSL_STATUS_OK);
}

int main(int argc, char **argv) {
    const char *way = argc > 3 ? argv[1] : "";
    useconds_t delay = argc > 3 ? (useconds_t)atoi(argv[3]) : 0;
    pthread_t threads[3];
    size_t i;
    CHECK(argc > 3);
    backend = (uint32_t)atoi(argv[2]);
    if (!strcmp(way, "early clean-up")) CHECK(atexit(clean_up) == 0);
    for (i = 0; i < N; i++) {
        works[0].labels[i] = works[1].labels[i] = works[2].labels[i] = (int64_t)(i % C);
        works[0].inputs[i][i % D] = works[1].inputs[i][i % D] = works[2].inputs[i][i % D] = 1;
    }
    fail();
    pthread_barrier_init(&in_calls, NULL, 3);
    handles[2] = create();
    CHECK(step(handles[2], &works[2], 0) == SSL_STATUS_OK);
    for (i = 0; i < 2; i++) {
        handles[i] = create();
        CHECK(pthread_create(&threads[i], NULL, call, (void *)i) == 0);
    }
    pthread_barrier_wait(&in_calls);
    if (!strcmp(way, "late clean-up")) CHECK(atexit(clean_up) == 0);
    if (!strcmp(way, "thread")) {
        uint64_t number = 0;
        CHECK(pthread_create(&threads[2], NULL, exit_7, &delay) == 0);
        for (;;) step(handles[2], &works[2], number++);
    }
    usleep(delay);
    if (!strcmp(way, "_exit")) _exit(7);
    if (!strcmp(way, "quick_exit")) quick_exit(7);
    if (!strcmp(way, "abort")) abort();
    if (!strcmp(way, "exit")) exit(7);
    return 7;
}
