/* What a C caller pays: this library through its C ABI, a worker of the benchmark.
 *
 *     ssl_worker            then requests on stdin, as channel.h describes them
 *
 * `open` maps a problem's files and makes the handle and every buffer; `run` then makes
 * calls as a training loop would: the same buffers, a new draw with every step. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "channel.h"
#include "sampled_softmax.h"

typedef struct {
    ssl_handle *handle;
    ssl_batch batch;
    ssl_candidates drawn, given;
    ssl_loss loss;
    ssl_gradients gradients;
    float mean_loss;
    int64_t num_gradient_rows;
    void *workspace;
    size_t workspace_size, element;
    uint64_t step;
} problem;

static problem p;

static void check(ssl_status status) {
    if (status == SSL_STATUS_OK) return;
    char message[512] = "";
    ssl_last_error(message, sizeof message);
    fail("%s: %s", ssl_status_string(status), message);
}

static void *buffer(size_t bytes) {
    void *made = malloc(bytes ? bytes : 1);
    if (!made) fail("no memory for %zu bytes", bytes);
    return made;
}

/* A file of the problem. Its pages are in this process's memory from the beginning, so
 * that they do not count as memory of the first call. */
static void *map(const char *directory, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    const int file = open(path, O_RDONLY);
    struct stat facts;
    if (file < 0 || fstat(file, &facts)) fail("%s cannot be opened", path);
    void *mapped = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    if (mapped == MAP_FAILED) fail("%s cannot be mapped", path);
    close(file);
    return mapped;
}

static ssl_handle *make_handle(int64_t c, int64_t s, const char *sampler, uint32_t threads) {
    ssl_config config;
    SSL_INIT(config);
    config.num_classes = c;
    config.num_sampled = s;
    config.num_threads = threads;
    config.sampler = strcmp(sampler, "uniform") == 0 ? SSL_SAMPLER_UNIFORM : SSL_SAMPLER_LOG_UNIFORM;
    config.reduction = SSL_REDUCTION_MEAN;
    ssl_handle *handle = NULL;
    check(ssl_create(&config, &handle));
    return handle;
}

static void answer_open(void) {
    const char *directory = text("path"), *dtype = text("dtype");
    const int64_t n = whole("n"), d = whole("d"), c = whole("c"), s = whole("s");
    memset(&p, 0, sizeof p);
    p.handle = make_handle(c, s, "log_uniform", (uint32_t)whole("threads"));

    SSL_INIT(p.batch);
    const uint32_t type = strcmp(dtype, "bf16") == 0  ? SSL_DTYPE_BFLOAT16
                          : strcmp(dtype, "f16") == 0 ? SSL_DTYPE_FLOAT16
                                                      : SSL_DTYPE_FLOAT32;
    p.element = type == SSL_DTYPE_FLOAT32 ? 4 : 2;
    p.batch.inputs_dtype = p.batch.weights_dtype = type;
    p.batch.num_rows = n;
    p.batch.dim = d;
    char name[64];
    snprintf(name, sizeof name, "inputs.%s", dtype);
    p.batch.inputs = map(directory, name);
    snprintf(name, sizeof name, "weights.%s", dtype);
    p.batch.weights = map(directory, name);
    p.batch.biases = map(directory, "biases.f32");
    p.batch.labels = map(directory, "labels.i64");

    SSL_INIT(p.given);
    p.given.source = SSL_CANDIDATES_GIVEN;
    p.given.ids = map(directory, "ids.i64");
    p.given.sampled_expected_count = map(directory, "sampled_count.f32");
    p.given.true_expected_count = map(directory, "true_count.f32");
    SSL_INIT(p.drawn);
    p.drawn.ids = buffer(8 * (size_t)s);
    p.drawn.sampled_expected_count = buffer(4 * (size_t)s);
    p.drawn.true_expected_count = buffer(4 * (size_t)n);

    SSL_INIT(p.loss);
    p.loss.loss = &p.mean_loss;
    p.loss.log_sum_exp = buffer(8 * (size_t)n);

    SSL_INIT(p.gradients);
    const size_t rows = (size_t)(s + n < c ? s + n : c);
    p.gradients.d_inputs_dtype = p.gradients.d_weights_dtype = type;
    p.gradients.d_inputs = buffer(p.element * (size_t)(n * d));
    p.gradients.d_weights = buffer(p.element * rows * (size_t)d);
    p.gradients.d_biases = buffer(4 * rows);
    p.gradients.row_ids = buffer(8 * rows);
    p.gradients.num_rows = &p.num_gradient_rows;
    p.gradients.row_capacity = (int64_t)rows;

    check(ssl_workspace_size(p.handle, &p.batch, NULL, &p.workspace_size));
    p.workspace = buffer(p.workspace_size);
    printf("ok\n");
}

static void forward(void) {
    p.drawn.step = p.step++;
    check(ssl_forward(p.handle, &p.batch, &p.drawn, &p.loss, p.workspace, p.workspace_size, NULL));
}

static void forward_backward(const ssl_candidates *candidates) {
    check(ssl_forward_backward(p.handle, &p.batch, candidates, &p.loss, &p.gradients, p.workspace, p.workspace_size,
                               NULL));
}

static void answer_run(void) {
    const int64_t calls = whole("calls");
    const int backward = strcmp(text("mode"), "backward") == 0;
    const double start = now();
    for (int64_t i = 0; i < calls; i++) {
        if (!backward) {
            forward();
            continue;
        }
        p.drawn.step = p.step++;
        forward_backward(&p.drawn);
    }
    printf("ok\tseconds=%.9e\tloss=%.9g\n", (now() - start) / (double)calls, p.mean_loss);
}

static void save(const char *directory, const char *name, const void *bytes, size_t size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) fail("%s cannot be written", path);
}

/* Loss and gradients of the candidates in the files, for the harness to compare. */
static void answer_check(void) {
    forward_backward(&p.given);
    const char *out = text("out");
    const size_t rows = (size_t)p.num_gradient_rows, d = (size_t)p.batch.dim;
    save(out, "loss", &p.mean_loss, 4);
    save(out, "d_inputs", p.gradients.d_inputs, p.element * (size_t)p.batch.num_rows * d);
    save(out, "rows", p.gradients.row_ids, 8 * rows);
    save(out, "d_weights", p.gradients.d_weights, p.element * rows * d);
    save(out, "d_biases", p.gradients.d_biases, 4 * rows);
    printf("ok\n");
}

/* The sampler alone: seconds of a draw of s of c classes with their expected counts. */
static void answer_sample(void) {
    const int64_t s = whole("s"), calls = whole("calls");
    ssl_handle *handle = make_handle(whole("c"), s, text("sampler"), 1);
    ssl_candidates drawn;
    SSL_INIT(drawn);
    drawn.ids = buffer(8 * (size_t)s);
    drawn.sampled_expected_count = buffer(4 * (size_t)s);
    check(ssl_sample(handle, NULL, &drawn, NULL));
    const double start = now();
    for (int64_t i = 0; i < calls; i++) {
        drawn.step++;
        check(ssl_sample(handle, NULL, &drawn, NULL));
    }
    const double seconds = (now() - start) / (double)calls;
    free(drawn.ids);
    free(drawn.sampled_expected_count);
    check(ssl_destroy(handle));
    printf("ok\tseconds=%.9e\n", seconds);
}

/* Gives everything of a problem back. Its maps, shared files, stay until the end. */
static void answer_close(void) {
    check(ssl_destroy(p.handle));
    void *buffers[] = {p.drawn.ids, p.drawn.sampled_expected_count, p.drawn.true_expected_count, p.loss.log_sum_exp,
                       p.gradients.d_inputs, p.gradients.d_weights, p.gradients.d_biases, p.gradients.row_ids,
                       p.workspace};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]);
    malloc_trim(0);
    printf("ok\n");
}

int main(void) {
    const uint32_t version = ssl_version();
    printf("ok\tversion=%u.%u.%u\n", version >> 16, version >> 8 & 255, version & 255);
    fflush(stdout);
    while (next_request()) {
        if (is_verb("quit")) return 0;
        if (is_verb("open")) answer_open();
        else if (is_verb("run")) answer_run();
        else if (is_verb("check")) answer_check();
        else if (is_verb("sample")) answer_sample();
        else if (is_verb("close")) answer_close();
        else if (is_verb("rss")) printf("ok\tbytes=%" PRId64 "\n", memory("VmRSS:"));
        else if (is_verb("reset_peak")) reset_peak(), printf("ok\n");
        else if (is_verb("peak")) printf("ok\tbytes=%" PRId64 "\n", memory("VmHWM:"));
        else fail("unknown request %s", request);
        fflush(stdout);
    }
    return 0;
}
