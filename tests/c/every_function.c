/* A life of handles in C, for tools that watch a whole process: every function of the
 * header, with every sampler and layout of gradients, from four threads at once, on the CPU
 * engine and, where libcuda is found and reaches host memory, on the CUDA engine. Nothing
 * is allocated that is not freed. Prints the number of steps made on each engine; returns
 * whether something failed. What is computed is checked elsewhere. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "sampled_softmax.h"

enum { ROWS = 24, DIM = 17, CLASSES = 300, SAMPLED = 40, TRUE = 2, STEPS = 3, THREADS = 4 };
enum { LIST = SAMPLED + ROWS * TRUE };

static float inputs[ROWS][DIM], weights[CLASSES][DIM], biases[CLASSES];
static double unigrams[CLASSES];
static int64_t labels[ROWS][TRUE];
static int failures = 0;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Counts and tells a call that did not answer with success. */
static int failed(ssl_status status, const char *call) {
    char *message;
    if (status == SSL_STATUS_OK) return 0;
    const size_t size = ssl_last_error(NULL, 0) + 1;
    message = malloc(size);
    ssl_last_error(message, size);
    pthread_mutex_lock(&lock);
    if (failures++ < 5) fprintf(stderr, "%s: %s: %s\n", call, ssl_status_string(status), message);
    pthread_mutex_unlock(&lock);
    free(message);
    return 1;
}
#define FAILED(call) failed(call, #call)

/* What one thread has to itself. */
struct work {
    ssl_handle *handle;
    uint32_t layout;
    int64_t ids[CLASSES], row_ids[LIST], num_rows, num_tries;
    float sampled_count[CLASSES], true_count[ROWS][TRUE], loss[ROWS];
    double log_sum_exp[ROWS];
    uint32_t device_status;
    float d_inputs[ROWS][DIM], d_weights[CLASSES][DIM], d_biases[CLASSES];
};

static void *steps(void *argument) {
    struct work *work = argument;
    ssl_batch batch;
    ssl_candidates candidates;
    ssl_loss loss;
    ssl_gradients gradients;
    size_t forward, backward;
    void *workspace;

    SSL_INIT(batch);
    batch.num_rows = ROWS, batch.dim = DIM;
    batch.inputs = inputs, batch.weights = weights, batch.biases = biases, batch.labels = labels;
    SSL_INIT(candidates);
    candidates.ids = work->ids;
    candidates.sampled_expected_count = work->sampled_count;
    candidates.true_expected_count = work->true_count;
    candidates.num_tries = &work->num_tries;
    SSL_INIT(loss);
    loss.loss = work->loss, loss.log_sum_exp = work->log_sum_exp;
    loss.device_status = &work->device_status;
    SSL_INIT(gradients);
    gradients.layout = work->layout;
    gradients.d_inputs = work->d_inputs, gradients.d_weights = work->d_weights;
    gradients.d_biases = work->d_biases;
    if (work->layout == SSL_GRADIENTS_SPARSE) {
        gradients.row_ids = work->row_ids, gradients.num_rows = &work->num_rows;
        gradients.row_capacity = LIST;
    }
    if (FAILED(ssl_workspace_size(work->handle, &batch, &forward, &backward))) return NULL;
    if (forward > backward) backward = forward;
    workspace = malloc(backward);
    for (uint64_t step = 0; step < STEPS; step++) {
        candidates.step = step;
        candidates.source = SSL_CANDIDATES_DRAW;
        FAILED(ssl_sample(work->handle, &batch, &candidates, NULL));
        FAILED(ssl_forward(work->handle, &batch, &candidates, &loss, workspace, backward, NULL));
        FAILED(ssl_forward_backward(work->handle, &batch, &candidates, &loss, &gradients, workspace,
                                    backward, NULL));
        candidates.source = SSL_CANDIDATES_GIVEN;
        FAILED(ssl_forward(work->handle, &batch, &candidates, &loss, workspace, backward, NULL));
        FAILED(ssl_backward(work->handle, &batch, &candidates, &loss, &gradients, workspace, backward,
                            NULL));
    }
    free(workspace);
    return NULL;
}

/* Threads that share a handle, which is created and destroyed here; the steps made. */
static int share(const ssl_config *config, uint32_t layout) {
    static struct work works[THREADS];
    pthread_t threads[THREADS];
    ssl_handle *handle = NULL;

    if (FAILED(ssl_create(config, &handle))) return 0;
    for (int t = 0; t < THREADS; t++) {
        works[t].handle = handle, works[t].layout = layout;
        pthread_create(&threads[t], NULL, steps, &works[t]);
    }
    for (int t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
    FAILED(ssl_destroy(handle));
    return THREADS * STEPS;
}

static int on_engine(uint32_t backend) {
    int made = 0;
    for (uint32_t sampler = SSL_SAMPLER_UNIFORM; sampler <= SSL_SAMPLER_ALL; sampler++)
        for (uint32_t hits = SSL_HITS_MASK; hits <= SSL_HITS_EXCLUDE; hits++)
            for (uint32_t sampling = SSL_SAMPLING_UNIQUE; sampling <= SSL_SAMPLING_REPLACEMENT; sampling++) {
                ssl_config config;
                /* All of the classes cannot be without some of them. */
                if (sampler == SSL_SAMPLER_ALL && (hits == SSL_HITS_EXCLUDE || sampling)) continue;
                SSL_INIT(config);
                config.backend = backend;
                config.num_threads = 3;
                config.num_classes = CLASSES;
                config.num_sampled = sampler == SSL_SAMPLER_ALL ? CLASSES : SAMPLED;
                config.num_true = TRUE;
                config.sampler = sampler, config.hits = hits, config.sampling = sampling;
                config.reduction = (sampler + hits) % 3;
                if (sampler == SSL_SAMPLER_FIXED_UNIGRAM)
                    config.unigrams = unigrams, config.num_unigrams = CLASSES;
                made += share(&config, sampler == SSL_SAMPLER_ALL || hits % 2 ? SSL_GRADIENTS_DENSE
                                                                                : SSL_GRADIENTS_SPARSE);
            }
    return made;
}

/* Failures beside one another: each thread has its own last message. */
static void *wrong_calls(void *unused) {
    ssl_config config;
    ssl_handle *handle = NULL;
    SSL_INIT(config);
    for (int i = 0; i < 20; i++)
        if (ssl_create(&config, &handle) == SSL_STATUS_OK || ssl_last_error(NULL, 0) == 0) return unused;
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    void *wrong;

    for (int i = 0; i < ROWS * DIM; i++) inputs[i / DIM][i % DIM] = (float)(i * 37 % 101) / 50.0f - 1.0f;
    for (int i = 0; i < CLASSES * DIM; i++) weights[i / DIM][i % DIM] = (float)(i * 53 % 97) / 97.0f - 0.5f;
    for (int c = 0; c < CLASSES; c++) biases[c] = (float)(c % 7) / 7.0f, unigrams[c] = 1.0 / (c + 1.0);
    for (int i = 0; i < ROWS * TRUE; i++) labels[i / TRUE][i % TRUE] = i * 29 % CLASSES;

    for (int t = 0; t < THREADS; t++) pthread_create(&threads[t], NULL, wrong_calls, &failures);
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], &wrong);
        if (wrong) failures++;
    }
    printf("version %#x\n", (unsigned)ssl_version());
    printf("CPU: %d steps\n", on_engine(SSL_BACKEND_CPU));
    if (ssl_backend_available(SSL_BACKEND_CUDA)) printf("CUDA: %d steps\n", on_engine(SSL_BACKEND_CUDA));
    return failures != 0;
}
