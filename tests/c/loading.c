/* The library loaded by name: again and again, under several names, by threads that outlive
 * it. Built with the program linked to it or not.
 *
 *     loading cycles N library     loads and unloads it N times; what stays is counted
 *     loading threads library      threads whose messages it keeps end after dlclose
 *     loading abandoned library    a handle with threads is never destroyed
 *     loading copies FLAGS first second
 *                                  two copies, RTLD_LOCAL (0) or RTLD_GLOBAL (1)
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sampled_softmax.h"

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            printf("line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

typedef struct library {
    void *object;
    ssl_status (*create)(const ssl_config *, ssl_handle **);
    ssl_status (*sample)(ssl_handle *, const ssl_batch *, const ssl_candidates *, void *);
    ssl_status (*destroy)(ssl_handle *);
    size_t (*last_error)(char *, size_t);
} library;

/* ISO C has no conversion from an object's address to a function's. */
static void get(void *object, const char *name, void *function) {
    void *symbol = dlsym(object, name);
    CHECK(symbol != NULL);
    memcpy(function, &symbol, sizeof symbol);
}

static library load(const char *path, int scope) {
    library l;
    l.object = dlopen(path, RTLD_NOW | scope);
    if (!l.object) {
        printf("%s\n", dlerror());
        exit(1);
    }
    get(l.object, "ssl_create", &l.create);
    get(l.object, "ssl_sample", &l.sample);
    get(l.object, "ssl_destroy", &l.destroy);
    get(l.object, "ssl_last_error", &l.last_error);
    return l;
}

static ssl_handle *create(const library *l, uint32_t num_threads) {
    ssl_config config;
    ssl_handle *handle = NULL;
    SSL_INIT(config);
    config.num_threads = num_threads;
    config.num_classes = 1000;
    config.num_sampled = 20;
    config.sampler = SSL_SAMPLER_LOG_UNIFORM;
    CHECK(l->create(&config, &handle) == SSL_STATUS_OK);
    return handle;
}

static void draw(const library *l, ssl_handle *handle, int64_t *ids) {
    float counts[20];
    ssl_candidates candidates;
    SSL_INIT(candidates);
    candidates.ids = ids;
    candidates.sampled_expected_count = counts;
    CHECK(l->sample(handle, NULL, &candidates, NULL) == SSL_STATUS_OK);
}

/* Leaves a message that names `num_sampled` on the calling thread. */
static void fail(const library *l, int64_t num_sampled) {
    ssl_config config;
    ssl_handle *handle = NULL;
    SSL_INIT(config);
    config.num_classes = 10;
    config.num_sampled = num_sampled;
    CHECK(l->create(&config, &handle) != SSL_STATUS_OK);
}

static int last_error_names(const library *l, const char *text) {
    char message[256];
    l->last_error(message, sizeof message);
    return strstr(message, text) != NULL;
}

static long entries(const char *folder) {
    long count = 0;
    DIR *directory = opendir(folder);
    CHECK(directory != NULL);
    while (readdir(directory)) count++;
    closedir(directory);
    return count;
}

typedef struct books {
    size_t heap;
    long pages, files, threads;
} books;

static books count(void) {
    books b;
    long size;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL && fscanf(statm, "%ld %ld", &size, &b.pages) == 2);
    fclose(statm);
    b.files = entries("/proc/self/fd");
    b.threads = entries("/proc/self/task");
    b.heap = mallinfo2().uordblks;
    return b;
}

static const char *cycled;
static int cycles_done;

static void *cycle(void *unused) {
    int64_t ids[20];
    library l = load(cycled, RTLD_LOCAL);
    ssl_handle *handle = create(&l, cycles_done % 10 == 0 ? 3 : 1);
    draw(&l, handle, ids);
    fail(&l, -1);
    CHECK(l.destroy(handle) == SSL_STATUS_OK);
    CHECK(dlclose(l.object) == 0);
    return unused;
}

/* Each on a thread of its own, with one dlclose after its end: what a thread keeps for the
 * library until then would keep the library itself. */
static void cycle_times(int rounds) {
    for (cycles_done = 0; cycles_done < rounds; cycles_done++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, cycle, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(dlclose(load(cycled, RTLD_LOCAL).object) == 0);
    }
}

static void cycles(int rounds, const char *path) {
    books before, after;
    int attempt;
    cycled = path;
    cycle_times(100);
    before = count();
    cycle_times(rounds);
    after = count();
    /* A thread that was joined is listed for a moment. */
    for (attempt = 0; after.threads != before.threads && attempt < 1000; attempt++) {
        usleep(1000);
        after = count();
    }
    printf("%d rounds: heap %ld, pages %ld, files %ld, threads %ld more\n", rounds,
           (long)after.heap - (long)before.heap, after.pages - before.pages, after.files - before.files,
           after.threads - before.threads);
    CHECK(after.files == before.files && after.threads == before.threads);
    /* Less than one byte a round. */
    CHECK((long)after.heap - (long)before.heap < rounds);
    CHECK((after.pages - before.pages) * sysconf(_SC_PAGESIZE) < 256 * 1024 + rounds);
}

static library shared;
static pthread_barrier_t barrier;

static void *outlive(void *unused) {
    (void)unused;
    fail(&shared, -5);
    CHECK(last_error_names(&shared, "-5"));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* dlclose is between */
    return NULL;
}

static void threads(const char *path) {
    enum { THREADS = 8 };
    pthread_t outliving[THREADS];
    int i, round;
    for (round = 0; round < 20; round++) {
        pthread_barrier_init(&barrier, NULL, THREADS + 1);
        shared = load(path, RTLD_LOCAL);
        for (i = 0; i < THREADS; i++) CHECK(pthread_create(&outliving[i], NULL, outlive, NULL) == 0);
        pthread_barrier_wait(&barrier);
        CHECK(dlclose(shared.object) == 0);
        pthread_barrier_wait(&barrier);
        for (i = 0; i < THREADS; i++) CHECK(pthread_join(outliving[i], NULL) == 0);
        pthread_barrier_destroy(&barrier);
    }
}

static void abandoned(const char *path) {
    int64_t first[20], again[20];
    int round;
    for (round = 0; round < 10; round++) {
        library l = load(path, RTLD_LOCAL);
        ssl_handle *handle = create(&l, 4);
        draw(&l, handle, first);
        CHECK(dlclose(l.object) == 0);
        usleep(10000);
        l = load(path, RTLD_LOCAL);
        draw(&l, handle, again);
        CHECK(memcmp(first, again, sizeof first) == 0);
        CHECK(dlclose(l.object) == 0);
    }
}

static void copies(int scope, const char *one, const char *other) {
    int64_t first[20], second[20];
    library a = load(one, scope), b = load(other, scope);
    ssl_handle *in_a, *in_b;
    CHECK(a.object != b.object && a.create != b.create && a.last_error != b.last_error);

    fail(&a, -5);
    CHECK(b.last_error(NULL, 0) == 0);
    fail(&b, -6);
    CHECK(last_error_names(&a, "-5") && last_error_names(&b, "-6"));

    in_a = create(&a, 2);
    in_b = create(&b, 2);
    CHECK(in_a != in_b);
    CHECK(a.destroy(in_b) == SSL_STATUS_INVALID_VALUE);
    CHECK(b.destroy(in_a) == SSL_STATUS_INVALID_VALUE);
    draw(&a, in_a, first);
    draw(&b, in_b, second);
    CHECK(memcmp(first, second, sizeof first) == 0);

    CHECK(a.destroy(in_a) == SSL_STATUS_OK);
    CHECK(dlclose(a.object) == 0);
    draw(&b, in_b, first);
    CHECK(memcmp(first, second, sizeof first) == 0);
    CHECK(b.destroy(in_b) == SSL_STATUS_OK);
    CHECK(dlclose(b.object) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc > 2);
    CHECK(mallopt(M_ARENA_MAX, 1)); /* the one that mallinfo2 counts */
    if (!strcmp(argv[1], "cycles"))
        cycles(atoi(argv[2]), argv[3]);
    else if (!strcmp(argv[1], "threads"))
        threads(argv[2]);
    else if (!strcmp(argv[1], "abandoned"))
        abandoned(argv[2]);
    else
        copies(atoi(argv[2]) ? RTLD_GLOBAL : RTLD_LOCAL, argv[3], argv[4]);
#ifdef LINKED
    CHECK(ssl_version() != 0);
#endif
    printf("done\n");
    return 0;
}
