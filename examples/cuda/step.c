/* A training step on a GPU as an engine makes it: device memory, a stream, a CUDA graph.
 *
 *     cc -O2 -Iinclude -I$CUDA_HOME/include examples/cuda/step.c \
 *         -Ltarget/release -lsampled_softmax -lcuda -o step
 *     LD_LIBRARY_PATH=target/release ./step
 *
 * Without a GPU: `make emu`, -L$(make -s emu-path) before -lcuda, and that folder in
 * LD_LIBRARY_PATH too. cuda.h comes with the toolkit or with the wheel nvidia-cuda-runtime.
 *
 * The first line compares the step with the same one on the CPU engine. Then the step is
 * captured into a graph, whose every replay draws other classes and computes anew.
 */

#include <cuda.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sampled_softmax.h"

enum { CLASSES = 5000, DIM = 64, ROWS = 96, SAMPLED = 256, GRADIENT_ROWS = SAMPLED + ROWS, REPLAYS = 3 };

/* All arrays of a step, in host or in device memory, in the order of `sizes`. */
enum { INPUTS, WEIGHTS, LABELS, IDS, SAMPLED_COUNT, TRUE_COUNT, LOSS, LOG_SUM_EXP, STATUS,
       D_INPUTS, D_WEIGHTS, ROW_IDS, NUM_ROWS, ARRAYS };
static const size_t sizes[ARRAYS] = {
    [INPUTS] = sizeof(float) * ROWS * DIM,
    [WEIGHTS] = sizeof(float) * CLASSES * DIM,
    [LABELS] = sizeof(int64_t) * ROWS,
    [IDS] = sizeof(int64_t) * SAMPLED,
    [SAMPLED_COUNT] = sizeof(float) * SAMPLED,
    [TRUE_COUNT] = sizeof(float) * ROWS,
    [LOSS] = sizeof(float),
    [LOG_SUM_EXP] = sizeof(double) * ROWS,
    [STATUS] = sizeof(uint32_t),
    [D_INPUTS] = sizeof(float) * ROWS * DIM,
    [D_WEIGHTS] = sizeof(float) * GRADIENT_ROWS * DIM,
    [ROW_IDS] = sizeof(int64_t) * GRADIENT_ROWS,
    [NUM_ROWS] = sizeof(int64_t),
};

static void driver(CUresult result, const char *call) {
    const char *name = "an unknown error";
    if (result == CUDA_SUCCESS) return;
    cuGetErrorName(result, &name);
    fprintf(stderr, "%s: %s\n", call, name);
    exit(1);
}

static void library(ssl_status status, const char *call) {
    char message[512] = "";
    if (status == SSL_STATUS_OK) return;
    ssl_last_error(message, sizeof message);
    fprintf(stderr, "%s: %s\n", call, message);
    exit(1);
}
#define DRIVER(call) driver(call, #call)
#define LIBRARY(call) library(call, #call)

/* Everything a step needs beside its arrays. */
typedef struct {
    ssl_handle *handle;
    ssl_batch batch;
    ssl_candidates candidates;
    ssl_loss loss;
    ssl_gradients gradients;
    size_t workspace_size;
} Step;

static Step make_step(uint32_t backend, void *const *array) {
    Step step;
    ssl_config config;
    SSL_INIT(config);
    config.backend = backend;
    config.num_classes = CLASSES;
    config.num_sampled = SAMPLED;
    config.sampler = SSL_SAMPLER_LOG_UNIFORM;
    config.reduction = SSL_REDUCTION_MEAN;
    config.seed = 7;
    LIBRARY(ssl_create(&config, &step.handle));

    SSL_INIT(step.batch);
    step.batch.num_rows = ROWS;
    step.batch.dim = DIM;
    step.batch.inputs = array[INPUTS];
    step.batch.weights = array[WEIGHTS];
    step.batch.labels = array[LABELS];
    SSL_INIT(step.candidates);
    step.candidates.ids = array[IDS];
    step.candidates.sampled_expected_count = array[SAMPLED_COUNT];
    step.candidates.true_expected_count = array[TRUE_COUNT];
    SSL_INIT(step.loss);
    step.loss.loss = array[LOSS];
    step.loss.log_sum_exp = array[LOG_SUM_EXP];
    step.loss.device_status = array[STATUS];
    SSL_INIT(step.gradients);
    step.gradients.d_inputs = array[D_INPUTS];
    step.gradients.d_weights = array[D_WEIGHTS];
    step.gradients.row_ids = array[ROW_IDS];
    step.gradients.num_rows = array[NUM_ROWS];
    step.gradients.row_capacity = GRADIENT_ROWS;
    LIBRARY(ssl_workspace_size(step.handle, &step.batch, NULL, &step.workspace_size));
    return step;
}

static void queue(const Step *step, void *workspace, CUstream stream) {
    LIBRARY(ssl_forward_backward(step->handle, &step->batch, &step->candidates, &step->loss, &step->gradients,
                                 workspace, step->workspace_size, stream));
}

/* What the step left on the device. */
static float loss_of(void *const *array, CUstream stream, int64_t *last_id, int64_t *rows) {
    float loss;
    uint32_t status;
    int64_t ids[SAMPLED];
    DRIVER(cuStreamSynchronize(stream));
    DRIVER(cuMemcpyDtoH(&loss, (CUdeviceptr)array[LOSS], sizeof loss));
    DRIVER(cuMemcpyDtoH(&status, (CUdeviceptr)array[STATUS], sizeof status));
    DRIVER(cuMemcpyDtoH(ids, (CUdeviceptr)array[IDS], sizeof ids));
    DRIVER(cuMemcpyDtoH(rows, (CUdeviceptr)array[NUM_ROWS], sizeof *rows));
    if (status) fprintf(stderr, "the device found: %s\n", ssl_status_string((ssl_status)status)), exit(1);
    *last_id = ids[SAMPLED - 1];
    return loss;
}

int main(void) {
    void *host[ARRAYS], *device[ARRAYS];
    CUdevice gpu;
    CUcontext context;
    CUstream stream;
    CUgraph graph;
    CUgraphExec replayed;
    CUdeviceptr workspace;
    int64_t last_id, rows;

    DRIVER(cuInit(0));
    DRIVER(cuDeviceGet(&gpu, 0));
    DRIVER(cuDevicePrimaryCtxRetain(&context, gpu)); /* as the CUDA runtime and the frameworks do */
    DRIVER(cuCtxSetCurrent(context));
    DRIVER(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));

    for (int i = 0; i < ARRAYS; i++) {
        CUdeviceptr memory;
        host[i] = calloc(1, sizes[i]);
        DRIVER(cuMemAlloc(&memory, sizes[i]));
        device[i] = (void *)memory;
    }
    for (int i = 0; i < ROWS * DIM; i++) ((float *)host[INPUTS])[i] = sinf(0.37f * (float)i);
    for (int i = 0; i < CLASSES * DIM; i++) ((float *)host[WEIGHTS])[i] = 0.3f * cosf(0.11f * (float)i);
    for (int n = 0; n < ROWS; n++) ((int64_t *)host[LABELS])[n] = (n * 37) % CLASSES;
    for (int i = INPUTS; i <= LABELS; i++) DRIVER(cuMemcpyHtoD((CUdeviceptr)device[i], host[i], sizes[i]));

    Step on_cpu = make_step(SSL_BACKEND_CPU, host), on_gpu = make_step(SSL_BACKEND_CUDA, device);
    void *scratch = malloc(on_cpu.workspace_size);
    DRIVER(cuMemAlloc(&workspace, on_gpu.workspace_size));

    queue(&on_cpu, scratch, NULL);
    queue(&on_gpu, (void *)workspace, stream); /* the first call compiles the kernels it needs */
    const float loss = loss_of(device, stream, &last_id, &rows), expected = *(float *)host[LOSS];
    printf("GPU loss %.5f, CPU loss %.5f, gradients of %lld classes\n", loss, expected, (long long)rows);

    DRIVER(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    queue(&on_gpu, (void *)workspace, stream);
    DRIVER(cuStreamEndCapture(stream, &graph));
    DRIVER(cuGraphInstantiateWithFlags(&replayed, graph, 0));
    for (int replay = 0; replay < REPLAYS; replay++) {
        DRIVER(cuGraphLaunch(replayed, stream));
        const float again = loss_of(device, stream, &last_id, &rows);
        printf("replay %d: loss %.5f, last sampled class %lld\n", replay, again, (long long)last_id);
    }

    DRIVER(cuGraphExecDestroy(replayed));
    DRIVER(cuGraphDestroy(graph));
    LIBRARY(ssl_destroy(on_gpu.handle)); /* after the graphs that draw with it */
    LIBRARY(ssl_destroy(on_cpu.handle));
    for (int i = 0; i < ARRAYS; i++) {
        DRIVER(cuMemFree((CUdeviceptr)device[i]));
        free(host[i]);
    }
    DRIVER(cuMemFree(workspace));
    free(scratch);
    DRIVER(cuStreamDestroy(stream));
    DRIVER(cuDevicePrimaryCtxRelease(gpu));
    return fabsf(loss - expected) <= 1e-4f * expected ? 0 : 1;
}
