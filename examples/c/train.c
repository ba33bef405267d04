/* Trains a classifier of 20,000 classes with the sampled softmax: where to start from C.
 *
 *     cc -O2 -Iinclude examples/c/train.c -Ltarget/release -lsampled_softmax -lm -o train
 *     LD_LIBRARY_PATH=target/release ./train
 *
 * The model is one linear layer: weights [CLASSES, DIM] and biases [CLASSES]. In place
 * of a network, a generator makes the hidden vectors: every class has a vector of its
 * own, and an example of the class is that vector with noise. Frequent classes have
 * small numbers, as the log-uniform sampler expects of a vocabulary.
 *
 * A step computes the loss over SAMPLED classes and gets gradients for the few rows of
 * `weights` that took part; no other row is written. The last line shows that this trains
 * the real thing: the full softmax over all classes, on examples not trained on.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sampled_softmax.h"

enum { CLASSES = 20000, DIM = 64, ROWS = 256, SAMPLED = 512, STEPS = 600, REPORT = 100 };
/* Room for every class that can take part in a step: the sampled ones and the labels. */
enum { GRADIENT_ROWS = SAMPLED + ROWS };
/* Of a mean over ROWS examples: a class that is the label of one gets 1/ROWS of it. */
static const float LEARNING_RATE = 16.0f;

/* The model. */
static float weights[CLASSES][DIM], biases[CLASSES];
/* A batch: its examples, and the classes sampled for it with their expected counts. There
 * is room for all classes, because the last line takes all. */
static float inputs[ROWS][DIM], sampled_count[CLASSES], true_count[ROWS];
static int64_t labels[ROWS], ids[CLASSES];
/* Row-sparse gradients: row r belongs to class row_ids[r]. */
static float d_weights[GRADIENT_ROWS][DIM], d_biases[GRADIENT_ROWS];
static int64_t row_ids[GRADIENT_ROWS];

/* ---- The data: a pure function of a counter, so that every run is the same. ---------- */

/* A number in [0, 1) for each key, by the finaliser of SplitMix64. */
static double random_at(uint64_t key) {
    uint64_t bits = key * UINT64_C(0x9E3779B97F4A7C15);
    bits = (bits ^ (bits >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    bits = (bits ^ (bits >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((bits ^ (bits >> 31)) >> 11) / 9007199254740992.0; /* 2^53 */
}

/* Fills `inputs` and `labels` with the examples of one step. */
static void make_examples(uint64_t step) {
    for (int n = 0; n < ROWS; n++) {
        const uint64_t example = (UINT64_C(1) << 32) + step * ROWS + (uint64_t)n;
        /* P(k) = ln((k + 2) / (k + 1)) / ln(CLASSES + 1) */
        const int64_t label = (int64_t)exp(random_at(example) * log(CLASSES + 1.0)) - 1;
        labels[n] = label < CLASSES ? label : CLASSES - 1;
        for (int i = 0; i < DIM; i++) {
            const double own = random_at((uint64_t)labels[n] * DIM + (uint64_t)i) - 0.5;
            const double noise = random_at(example * DIM + (uint64_t)i) - 0.5;
            inputs[n][i] = (float)(2.0 * own + noise);
        }
    }
}

/* ---- The loss: a handle, its workspace, and the structs that describe a call. -------- */

struct engine {
    ssl_handle *handle;
    void *workspace;
    size_t workspace_size;
};

/* Returns whether a call succeeded; prints why if it did not. */
static int succeeded(const char *call, ssl_status status) {
    char message[256];
    if (status == SSL_STATUS_OK) return 1;
    ssl_last_error(message, sizeof message);
    fprintf(stderr, "%s: %s: %s\n", call, ssl_status_string(status), message);
    return 0;
}

/* What a loss is computed of. Structs are cheap: fill them where they are used. */
static void describe(ssl_batch *batch, ssl_candidates *candidates) {
    SSL_INIT(*batch); /* float32 arrays, int64 labels and dense rows are the default */
    batch->num_rows = ROWS;
    batch->dim = DIM;
    batch->inputs = inputs;
    batch->weights = weights;
    batch->biases = biases;
    batch->labels = labels;

    SSL_INIT(*candidates);
    candidates->ids = ids;
    candidates->sampled_expected_count = sampled_count;
    candidates->true_expected_count = true_count;
}

/* Makes the handle and its scratch memory. `engine` is to be closed even on failure. */
static int open_engine(struct engine *engine, uint32_t sampler, int64_t num_sampled) {
    ssl_config config;
    ssl_batch batch;
    ssl_candidates candidates;

    SSL_INIT(config);
    config.num_classes = CLASSES;
    config.num_sampled = num_sampled;
    config.sampler = sampler;
    config.reduction = SSL_REDUCTION_MEAN;
    config.seed = 1;
    if (!succeeded("ssl_create", ssl_create(&config, &engine->handle))) return 0;

    /* One workspace serves every batch that is no larger than this one. */
    describe(&batch, &candidates);
    if (!succeeded("ssl_workspace_size", ssl_workspace_size(engine->handle, &batch, NULL,
                                                            &engine->workspace_size)))
        return 0;
    engine->workspace = malloc(engine->workspace_size);
    if (!engine->workspace) fprintf(stderr, "no memory for the workspace\n");
    return engine->workspace != NULL;
}

static void close_engine(struct engine *engine) {
    ssl_destroy(engine->handle); /* NULL is fine */
    free(engine->workspace);
}

/* One step: loss and gradients in one call, then SGD on the rows that have a gradient. */
static int train_step(struct engine *engine, uint64_t step, float *mean_loss) {
    ssl_batch batch;
    ssl_candidates candidates;
    ssl_loss loss;
    ssl_gradients gradients;
    int64_t num_rows = 0;

    make_examples(step);
    describe(&batch, &candidates);
    candidates.step = step; /* with config.seed, this decides which classes are drawn */
    SSL_INIT(loss);
    loss.loss = mean_loss;
    SSL_INIT(gradients); /* d_inputs stays NULL: there is no network below to train */
    gradients.d_weights = d_weights;
    gradients.d_biases = d_biases;
    gradients.row_ids = row_ids;
    gradients.num_rows = &num_rows;
    gradients.row_capacity = GRADIENT_ROWS;
    if (!succeeded("ssl_forward_backward",
                   ssl_forward_backward(engine->handle, &batch, &candidates, &loss, &gradients,
                                        engine->workspace, engine->workspace_size, NULL)))
        return 0;

    for (int64_t r = 0; r < num_rows; r++) {
        for (int i = 0; i < DIM; i++) weights[row_ids[r]][i] -= LEARNING_RATE * d_weights[r][i];
        biases[row_ids[r]] -= LEARNING_RATE * d_biases[r];
    }
    return 1;
}

/* The loss over all classes, with the sampler that takes every class once. */
static int full_softmax_loss(float *mean_loss) {
    struct engine engine = {NULL, NULL, 0};
    int ok = open_engine(&engine, SSL_SAMPLER_ALL, CLASSES);
    if (ok) {
        ssl_batch batch;
        ssl_candidates candidates;
        ssl_loss loss;
        make_examples(STEPS); /* behind the last step of the training */
        describe(&batch, &candidates);
        SSL_INIT(loss);
        loss.loss = mean_loss;
        ok = succeeded("ssl_forward",
                       ssl_forward(engine.handle, &batch, &candidates, &loss, engine.workspace,
                                   engine.workspace_size, NULL));
    }
    close_engine(&engine);
    return ok;
}

int main(void) {
    struct engine engine = {NULL, NULL, 0};
    float loss = 0.0f, sum = 0.0f, before = 0.0f, after = 0.0f;

    int ok = full_softmax_loss(&before) && open_engine(&engine, SSL_SAMPLER_LOG_UNIFORM, SAMPLED);
    for (int step = 0; ok && step < STEPS; step++) {
        ok = train_step(&engine, (uint64_t)step, &loss);
        sum += loss;
        if (ok && (step + 1) % REPORT == 0) {
            printf("step %4d  sampled loss %.4f\n", step + 1, (double)sum / REPORT);
            sum = 0.0f;
        }
    }
    ok = ok && full_softmax_loss(&after);
    if (ok) printf("full softmax, held out: %.4f -> %.4f\n", (double)before, (double)after);
    close_engine(&engine);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
