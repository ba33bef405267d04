/* What this machine can do at most: multiply-adds a second in float32 and in bfloat16 with
 * float32 sums (vdpbf16ps), and bytes a second from and to memory. One thread a core.
 *
 *     probe THREADS        then requests on stdin: `measure what=f32|bf16|read|copy seconds=0.3`
 *
 * Compiled on the machine it is for, with -march=native: the widest vectors are used. The
 * answer is the sum over the threads of what each did in its own time, between barriers, so
 * that starting and stopping costs nothing. */

#define _GNU_SOURCE
#include <pthread.h>

#include "channel.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { WIDTH = 16 };
#define REGISTER "+v"
#elif defined(__AVX__)
enum { WIDTH = 8 };
#define REGISTER "+x"
#else
enum { WIDTH = 4 };
#if defined(__aarch64__)
#define REGISTER "+w"
#else
#define REGISTER "+x"
#endif
#endif
typedef float vector __attribute__((vector_size(4 * WIDTH)));

/* Each thread's array for the memory's speed: beyond any cache. */
enum { BYTES = 256 << 20, MOST_THREADS = 256 };

typedef struct {
    pthread_t thread;
    double rate;
    char *source, *target;
} worker;

static worker workers[MOST_THREADS];
static int num_threads;
static pthread_barrier_t barrier;
static const char *what;
static double duration;
static volatile float sink;

/* Twelve chains, each waiting for itself alone: at least latency times units of the cores
 * there are (4 x 2; 6 x 2 for vdpbf16ps). Named, because an array would live in memory. */
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
enum { CHAINS = 12, ROUNDS = 1 << 16 };
/* Keeps each sum in its register and the loop as it is written. */
#define KEEP(i) __asm__ volatile("" : REGISTER(sum##i));
#define ADD_UP(i) total += sum##i;

static double multiply_adds_f32(void) {
    vector factor, term, total = {0};
    for (int i = 0; i < WIDTH; i++) factor[i] = 0.999f, term[i] = 0.001f;
#define START(i) vector sum##i = term * (float)i;
#define STEP(i) sum##i = sum##i * factor + term;
    EACH(START)
    for (int round = 0; round < ROUNDS; round++) {
        EACH(STEP)
        EACH(KEEP)
    }
    EACH(ADD_UP)
    sink = total[0];
    return 2.0 * ROUNDS * CHAINS * WIDTH;
}

#if defined(__AVX512BF16__)
static double multiply_adds_bf16(void) {
    const __m512bh factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.01f), _mm512_set1_ps(0.01f));
    __m512 total = _mm512_setzero_ps();
#define START_BF16(i) __m512 sum##i = _mm512_set1_ps((float)i);
#define STEP_BF16(i) sum##i = _mm512_dpbf16_ps(sum##i, factor, factor);
    EACH(START_BF16)
    for (int round = 0; round < ROUNDS; round++) {
        EACH(STEP_BF16)
        EACH(KEEP)
    }
    EACH(ADD_UP)
    sink = _mm512_reduce_add_ps(total);
    return 2.0 * ROUNDS * CHAINS * 32;
}
#endif

static double read_memory(const worker *self) {
    const vector *source = (const vector *)self->source;
    vector sums[8] = {{0}};
    for (size_t i = 0; i < BYTES / sizeof(vector); i += 8)
        for (int k = 0; k < 8; k++) sums[k] += source[i + k];
    for (int k = 1; k < 8; k++) sums[0] += sums[k];
    sink = sums[0][0];
    return BYTES;
}

/* Bytes read and bytes written both count. */
static double copy_memory(const worker *self) {
    memcpy(self->target, self->source, BYTES);
    __asm__ volatile("" ::: "memory");
    return 2.0 * BYTES;
}

static double one_piece(const worker *self) {
    if (strcmp(what, "f32") == 0) return multiply_adds_f32();
#if defined(__AVX512BF16__)
    if (strcmp(what, "bf16") == 0) return multiply_adds_bf16();
#endif
    return strcmp(what, "read") == 0 ? read_memory(self) : copy_memory(self);
}

static void *measure(void *argument) {
    worker *self = argument;
    pthread_barrier_wait(&barrier);
    const double start = now();
    double work = 0, elapsed;
    do {
        work += one_piece(self);
        elapsed = now() - start;
    } while (elapsed < duration);
    self->rate = work / elapsed;
    pthread_barrier_wait(&barrier);
    return NULL;
}

/* Arrays with every page written, or none. */
static void hold_arrays(int wanted) {
    for (int i = 0; i < num_threads; i++) {
        for (int side = 0; side < 2; side++) {
            char **array = side ? &workers[i].target : &workers[i].source;
            if (wanted && !*array) {
                if (posix_memalign((void **)array, 4096, BYTES)) fail("no memory for the probe");
                memset(*array, 0, BYTES);
            } else if (!wanted) {
                free(*array);
                *array = NULL;
            }
        }
    }
}

static void answer_measure(void) {
    what = text("what");
    duration = real("seconds");
#if !defined(__AVX512BF16__)
    if (strcmp(what, "bf16") == 0) {
        printf("ok\trate=0\n");
        return;
    }
#endif
    hold_arrays(strcmp(what, "read") == 0 || strcmp(what, "copy") == 0);
    for (int i = 1; i < num_threads; i++)
        if (pthread_create(&workers[i].thread, NULL, measure, &workers[i])) fail("no thread for the probe");
    measure(&workers[0]);
    double rate = workers[0].rate;
    for (int i = 1; i < num_threads; i++) {
        pthread_join(workers[i].thread, NULL);
        rate += workers[i].rate;
    }
    hold_arrays(0);
    printf("ok\trate=%.6e\n", rate);
}

int main(int count, char **arguments) {
    num_threads = count > 1 ? atoi(arguments[1]) : 1;
    if (num_threads < 1 || num_threads > MOST_THREADS) fail("%d threads", num_threads);
    pthread_barrier_init(&barrier, NULL, (unsigned)num_threads);
    printf("ok\twidth=%d\n", WIDTH);
    fflush(stdout);
    while (next_request()) {
        if (is_verb("quit")) return 0;
        if (is_verb("measure")) answer_measure();
        else fail("unknown request %s", request);
        fflush(stdout);
    }
    return 0;
}
