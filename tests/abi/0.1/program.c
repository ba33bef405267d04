/* A program of the first release: it knows the header beside it and no later one, and must
 * go on giving the same results with every library of the same major version.
 *
 * Each struct has the size it had then, with bytes behind it that belong to someone else.
 */

#include "sampled_softmax.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#if SSL_ABI_VERSION_MAJOR != 0 || SSL_ABI_VERSION_MINOR != 1
#error "this is not the header of 0.1"
#endif

enum { ROWS = 3, DIM = 2, CLASSES = 5, SAMPLED = 3, CAPACITY = 5 };

static int failures = 0;

static void expect(int holds, const char *what, int line) {
    if (!holds) {
        char message[256];
        ssl_last_error(message, sizeof message);
        printf("line %d does not hold: %s (last error: %s)\n", line, what, message);
        failures++;
    }
}
#define EXPECT(condition) expect((condition), #condition, __LINE__)
#define SUCCEEDS(call) EXPECT((call) == SSL_STATUS_OK)

/* A struct as this program has it, behind which there is nothing for the library. */
#define DECLARE(type, name)                                                               \
    struct {                                                                              \
        type value;                                                                       \
        unsigned char foreign[256];                                                       \
    } name##_memory;                                                                      \
    type *const name = &name##_memory.value;                                              \
    memset(&name##_memory, 0xA7, sizeof name##_memory);                                   \
    SSL_INIT(*name)

static const float inputs[ROWS][DIM] = {{0.5f, -1.0f}, {2.0f, 0.25f}, {-0.75f, 1.5f}};
static const float weights[CLASSES][DIM] = {
    {1.0f, 0.5f}, {-0.5f, 0.25f}, {0.75f, -1.25f}, {0.125f, 1.0f}, {-1.0f, -0.5f}};
static const float biases[CLASSES] = {0.1f, -0.2f, 0.3f, 0.0f, 0.25f};
static const int64_t labels[ROWS] = {2, 0, 4};
/* The first is a hit of row 1, the last of row 0. */
static const int64_t given_ids[SAMPLED] = {0, 3, 2};
static const float given_counts[SAMPLED] = {0.5f, 0.75f, 0.25f};
static const float label_counts[ROWS] = {0.4f, 0.6f, 0.9f};

/* The mean loss and its gradients, from the formulas at the head of the header. */
static double mean_loss, d_inputs[ROWS][DIM], d_weights[CLASSES][DIM], d_biases[CLASSES];

static double logit(int row, int64_t class, float count) {
    double sum = biases[class] - log(count);
    for (int k = 0; k < DIM; k++) sum += (double)inputs[row][k] * weights[class][k];
    return sum;
}

static void add_gradient(int row, int64_t class, double slope) {
    d_biases[class] += slope;
    for (int k = 0; k < DIM; k++) {
        d_inputs[row][k] += slope * weights[class][k];
        d_weights[class][k] += slope * inputs[row][k];
    }
}

static void compute_expected(void) {
    for (int n = 0; n < ROWS; n++) {
        const double z_true = logit(n, labels[n], label_counts[n]);
        double sum = exp(z_true);
        for (int j = 0; j < SAMPLED; j++)
            if (given_ids[j] != labels[n]) sum += exp(logit(n, given_ids[j], given_counts[j]));
        mean_loss += (log(sum) - z_true) / ROWS;
        add_gradient(n, labels[n], (exp(z_true) / sum - 1.0) / ROWS);
        for (int j = 0; j < SAMPLED; j++)
            if (given_ids[j] != labels[n])
                add_gradient(n, given_ids[j],
                             exp(logit(n, given_ids[j], given_counts[j])) / sum / ROWS);
    }
}

static int is_close(double got, double want) { return fabs(got - want) < 2e-6; }

static void describe(ssl_batch *batch) {
    batch->num_rows = ROWS;
    batch->dim = DIM;
    batch->inputs = inputs;
    batch->weights = weights;
    batch->biases = biases;
    batch->labels = labels;
}

/* ssl_forward and ssl_backward, or ssl_forward_backward. */
static void check_given(ssl_handle *handle, int at_once) {
    int64_t ids[SAMPLED], row_ids[CAPACITY], num_rows = -1;
    float sampled_count[SAMPLED], true_count[ROWS], loss_value = NAN;
    float got_inputs[ROWS][DIM], got_weights[CAPACITY][DIM], got_biases[CAPACITY];
    double log_sum_exp[ROWS];
    uint32_t device_status = 77;
    size_t forward = 0, backward = 0;
    void *workspace;
    DECLARE(ssl_batch, batch);
    DECLARE(ssl_candidates, candidates);
    DECLARE(ssl_loss, loss);
    DECLARE(ssl_gradients, gradients);

    memcpy(ids, given_ids, sizeof ids);
    memcpy(sampled_count, given_counts, sizeof sampled_count);
    memcpy(true_count, label_counts, sizeof true_count);
    describe(batch);
    candidates->source = SSL_CANDIDATES_GIVEN;
    candidates->ids = ids;
    candidates->sampled_expected_count = sampled_count;
    candidates->true_expected_count = true_count;
    loss->loss = &loss_value;
    loss->log_sum_exp = log_sum_exp;
    loss->device_status = &device_status;
    gradients->layout = SSL_GRADIENTS_SPARSE;
    gradients->d_inputs = got_inputs;
    gradients->d_weights = got_weights;
    gradients->d_biases = got_biases;
    gradients->row_ids = row_ids;
    gradients->num_rows = &num_rows;
    gradients->row_capacity = CAPACITY;

    SUCCEEDS(ssl_workspace_size(handle, batch, &forward, &backward));
    workspace = malloc(forward > backward ? forward : backward);
    if (at_once) {
        SUCCEEDS(ssl_forward_backward(handle, batch, candidates, loss, gradients, workspace,
                                      backward, NULL));
    } else {
        SUCCEEDS(ssl_forward(handle, batch, candidates, loss, workspace, forward, NULL));
        SUCCEEDS(ssl_backward(handle, batch, candidates, loss, gradients, workspace, backward,
                              NULL));
    }
    free(workspace);

    EXPECT(is_close(loss_value, mean_loss));
    EXPECT(device_status == 0);
    for (int n = 0; n < ROWS; n++)
        for (int k = 0; k < DIM; k++) EXPECT(is_close(got_inputs[n][k], d_inputs[n][k]));
    EXPECT(num_rows == 4);
    for (int r = 0; r < 4; r++) {
        static const int64_t expected[4] = {0, 2, 3, 4};
        EXPECT(row_ids[r] == expected[r]);
        EXPECT(is_close(got_biases[r], d_biases[expected[r]]));
        for (int k = 0; k < DIM; k++)
            EXPECT(is_close(got_weights[r][k], d_weights[expected[r]][k]));
    }
    EXPECT(row_ids[4] == -1);
}

static void check_loss_and_gradients(void) {
    ssl_handle *handle = NULL;
    DECLARE(ssl_config, config);

    config->num_classes = CLASSES;
    config->num_sampled = SAMPLED;
    config->sampler = SSL_SAMPLER_CALLER;
    config->reduction = SSL_REDUCTION_MEAN;
    config->num_threads = 1;
    SUCCEEDS(ssl_create(config, &handle));
    check_given(handle, 0);
    check_given(handle, 1);
    SUCCEEDS(ssl_destroy(handle));
}

/* A run that was recorded with 0.1 draws the same candidates today. */
static void check_draw(uint32_t sampler, const int64_t expected[8]) {
    ssl_handle *handle = NULL;
    int64_t ids[8], num_tries = 0;
    double sampled_count[8];
    DECLARE(ssl_config, config);
    DECLARE(ssl_candidates, candidates);

    config->num_classes = 1000000;
    config->num_sampled = 8;
    config->sampler = sampler;
    config->sampling = SSL_SAMPLING_UNIQUE;
    config->counts = SSL_COUNTS_TF;
    config->seed = 7;
    config->rank = 3;
    SUCCEEDS(ssl_create(config, &handle));
    candidates->counts_dtype = SSL_DTYPE_FLOAT64;
    candidates->step = 5;
    candidates->ids = ids;
    candidates->sampled_expected_count = sampled_count;
    candidates->num_tries = &num_tries;
    SUCCEEDS(ssl_sample(handle, NULL, candidates, NULL));
    EXPECT(num_tries == 8);
    for (int j = 0; j < 8; j++) {
        const double p = sampler == SSL_SAMPLER_UNIFORM
                             ? 1e-6
                             : log1p(1.0 / ((double)ids[j] + 1.0)) / log(1000001.0);
        EXPECT(ids[j] == expected[j]);
        EXPECT(fabs(sampled_count[j] - 8.0 * p) < 1e-13 * p);
    }
    SUCCEEDS(ssl_destroy(handle));
}

static void check_learned_counts(void) {
    static const int64_t start[CLASSES] = {1, 2, 3, 4, 5}, after[CLASSES] = {2, 2, 4, 4, 6};
    int64_t counts[CLASSES] = {0}, ids[SAMPLED], num_tries;
    float sampled_count[SAMPLED], true_count[ROWS];
    ssl_handle *handle = NULL;
    DECLARE(ssl_config, config);
    DECLARE(ssl_batch, batch);
    DECLARE(ssl_candidates, candidates);

    config->num_classes = CLASSES;
    config->num_sampled = SAMPLED;
    config->sampler = SSL_SAMPLER_LEARNED_UNIGRAM;
    config->sampling = SSL_SAMPLING_REPLACEMENT;
    config->learned_counts = start;
    SUCCEEDS(ssl_create(config, &handle));
    describe(batch);
    candidates->ids = ids;
    candidates->sampled_expected_count = sampled_count;
    candidates->true_expected_count = true_count;
    candidates->num_tries = &num_tries;
    candidates->learned_counts = counts;
    SUCCEEDS(ssl_sample(handle, batch, candidates, NULL));
    EXPECT(memcmp(counts, after, sizeof after) == 0);
    /* S p, p as the counts were before this batch. */
    for (int n = 0; n < ROWS; n++)
        EXPECT(is_close(true_count[n], SAMPLED * (double)start[labels[n]] / 15.0));
    SUCCEEDS(ssl_destroy(handle));
}

static void check_fixed_unigrams(void) {
    static const double unigrams[4] = {1.0, 4.0, 9.0, 16.0};
    int64_t ids[CLASSES - 1];
    double counts[CLASSES - 1];
    ssl_handle *handle = NULL;
    DECLARE(ssl_config, config);
    DECLARE(ssl_candidates, candidates);

    config->num_classes = CLASSES;
    config->num_sampled = CLASSES - 1;
    config->sampler = SSL_SAMPLER_FIXED_UNIGRAM;
    config->unigrams = unigrams;
    config->num_unigrams = 4;
    config->num_reserved_ids = 1;
    config->has_distortion = 1;
    config->distortion = 0.5;
    SUCCEEDS(ssl_create(config, &handle));
    candidates->counts_dtype = SSL_DTYPE_FLOAT64;
    candidates->ids = ids;
    candidates->sampled_expected_count = counts;
    SUCCEEDS(ssl_sample(handle, NULL, candidates, NULL));
    /* Every class but the reserved one: each was certain. */
    for (int j = 0; j < CLASSES - 1; j++) EXPECT(ids[j] == j + 1 && counts[j] == 1.0);
    SUCCEEDS(ssl_destroy(handle));
}

static void check_the_rest(void) {
    ssl_handle *handle = NULL;
    char message[256];
    DECLARE(ssl_config, config);

    EXPECT(ssl_version() >> 16 == SSL_ABI_VERSION_MAJOR);
    EXPECT((ssl_version() >> 8 & 0xFF) >= SSL_ABI_VERSION_MINOR);
    EXPECT(ssl_backend_available(SSL_BACKEND_CPU) == 1);
    EXPECT(ssl_backend_available(SSL_BACKEND_CUDA) >= 0);
    config->num_classes = CLASSES;
    config->num_sampled = CLASSES + 1;
    EXPECT(ssl_create(config, &handle) == SSL_STATUS_INVALID_VALUE);
    EXPECT(handle == NULL);
    EXPECT(ssl_last_error(NULL, 0) == ssl_last_error(message, sizeof message));
    EXPECT(strstr(message, "num_sampled") != NULL);
    EXPECT(strlen(ssl_status_string(SSL_STATUS_INVALID_VALUE)) > 0);
    SUCCEEDS(ssl_destroy(NULL));
}

int main(void) {
    static const int64_t uniform[8] = {235313, 290399, 368764, 504568,
                                       547943, 637035, 752652, 804378};
    static const int64_t log_uniform[8] = {0, 4, 20, 24, 161, 3037, 42282, 201644};

    compute_expected();
    check_loss_and_gradients();
    check_draw(SSL_SAMPLER_UNIFORM, uniform);
    check_draw(SSL_SAMPLER_LOG_UNIFORM, log_uniform);
    check_learned_counts();
    check_fixed_unigrams();
    check_the_rest();
    return failures != 0;
}
