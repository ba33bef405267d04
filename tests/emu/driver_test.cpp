// The fake driver does what a driver does, and says what a driver would not: each test in a process of its own, with
// the environment it names.
#include <dlfcn.h>
#include <sys/wait.h>

#include "check.h"
#include "fake_image.h"

using Address = unsigned long long;
extern "C" {
int cuInit(unsigned);
int cuDeviceGetCount(int*);
int cuDeviceGetAttribute(int*, int, int);
int cuDevicePrimaryCtxRetain(void**, int);
int cuDevicePrimaryCtxRelease_v2(int);
int cuCtxPushCurrent_v2(void*);
int cuCtxPopCurrent_v2(void**);
int cuCtxGetCurrent(void**);
int cuCtxCreate_v2(void**, unsigned, int);
int cuMemAlloc_v2(Address*, size_t);
int cuMemFree_v2(Address);
int cuMemHostAlloc(void**, size_t, unsigned);
int cuMemFreeHost(void*);
int cuMemcpyHtoD_v2(Address, const void*, size_t);
int cuMemcpyDtoH_v2(void*, Address, size_t);
int cuMemcpyHtoDAsync_v2(Address, const void*, size_t, void*);
int cuMemcpyDtoHAsync_v2(void*, Address, size_t, void*);
int cuMemsetD8Async(Address, unsigned char, size_t, void*);
int cuMemsetD32Async(Address, unsigned, size_t, void*);
int cuPointerGetAttribute(void*, int, Address);
int cuStreamCreate(void**, unsigned);
int cuStreamDestroy_v2(void*);
int cuStreamSynchronize(void*);
int cuStreamGetCtx(void*, void**);
int cuStreamWaitEvent(void*, void*, unsigned);
int cuStreamBeginCapture_v2(void*, int);
int cuStreamEndCapture(void*, void**);
int cuStreamIsCapturing(void*, int*);
int cuStreamGetCaptureInfo_v2(void*, int*, uint64_t*, void**, const void**, size_t*);
int cuThreadExchangeStreamCaptureMode(int*);
int cuLaunchHostFunc(void*, void (*)(void*), void*);
int cuEventCreate(void**, unsigned);
int cuEventRecord(void*, void*);
int cuEventQuery(void*);
int cuEventDestroy_v2(void*);
int cuGraphInstantiateWithFlags(void**, void*, unsigned long long);
int cuGraphLaunch(void*, void*);
int cuGraphDestroy(void*);
int cuGraphExecDestroy(void*);
int cuUserObjectCreate(void**, void*, void (*)(void*), unsigned, unsigned);
int cuGraphRetainUserObject(void*, void*, unsigned, unsigned);
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuModuleUnload(void*);
int cuFuncGetParamInfo(void*, size_t, size_t*, size_t*);
int cuFuncSetAttribute(void*, int, int);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
int cuGetErrorName(int, const char**);
}

namespace {

// Runs `body` in a child with stderr kept; true if it ended as it should and said `words`.
bool in_child(const std::vector<std::pair<const char*, const char*>>& environment, const std::function<void()>& body,
              const char* words, bool aborts, std::string* said) {
    int ends[2];
    if (pipe(ends)) return false;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        for (auto& [name, value] : environment) setenv(name, value, 1);
        dup2(ends[1], 2);
        close(ends[0]);
        int before = emu::failures;
        body();
        _exit(emu::failures > before ? 1 : 0);
    }
    close(ends[1]);
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) said->append(buffer, n);
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    bool ended = aborts ? WIFSIGNALED(status) && (WTERMSIG(status) == SIGABRT || WTERMSIG(status) == SIGSEGV)
                        : WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return ended && said->find(words) != std::string::npos && (*words || said->empty());
}

using Environment = std::vector<std::pair<const char*, const char*>>;
void silent(const Environment& environment, const std::function<void()>& body) {
    std::string said;
    CHECK(in_child(environment, body, "", false, &said), "%s", said.c_str());
}
// The driver complains in these words; the program goes on.
void loud(const char* words, const Environment& environment, const std::function<void()>& body) {
    std::string said;
    CHECK(in_child(environment, body, words, false, &said), "wanted \"%s\", got: %s", words, said.c_str());
}
void fatal(const char* words, const Environment& environment, const std::function<void()>& body) {
    std::string said;
    CHECK(in_child(environment, body, words, true, &said), "wanted \"%s\" and an abort, got: %s", words, said.c_str());
}

void check_code(int got, int wanted, const char* call, int line) {
    CHECK(got == wanted, "line %d: %s gives %d, not %d", line, call, got, wanted);
}
#define GIVES(code, ...) check_code((__VA_ARGS__), code, #__VA_ARGS__, __LINE__)
#define DONE(...) GIVES(0, __VA_ARGS__)

void* start() {
    void* context;
    DONE(cuInit(0));
    DONE(cuDevicePrimaryCtxRetain(&context, 0));
    DONE(cuCtxPushCurrent_v2(context));
    return context;
}
void stop() {
    void* context;
    DONE(cuCtxPopCurrent_v2(&context));
    DONE(cuDevicePrimaryCtxRelease_v2(0));
}
Address allocate(size_t bytes) {
    Address at = 0;
    DONE(cuMemAlloc_v2(&at, bytes));
    return at;
}
void* make_stream() {
    void* stream = nullptr;
    DONE(cuStreamCreate(&stream, 1));
    return stream;
}

// The arguments of add_sums (kernels/arguments.cuh): total = sum of `count` rows of `cols`.
struct AddSums {
    Address parts, total;
    int count, cols, accumulate, pad;
};
void* add_sums() {
    static std::string image = fake::make_image(90, false, "#include \"gradients.cuh\"\nINSTANTIATE_add_sums()\n");
    void *module = nullptr, *function = nullptr;
    DONE(cuModuleLoadData(&module, image.c_str()));
    DONE(cuModuleGetFunction(&function, module, "add_sums"));
    return function;
}
int launch(void* function, AddSums arguments, void* stream, unsigned threads = 256, unsigned shared = 0) {
    void* parameters[] = {&arguments};
    return cuLaunchKernel(function, (arguments.cols + 255) / 256, 1, 1, threads, 1, 1, shared, stream, parameters, nullptr);
}

}  // namespace

TEST(a_kernel_reads_and_writes_device_memory) {
    silent({}, [] {
        start();
        Address in = allocate(600 * 4), out = allocate(300 * 4);
        std::vector<float> host(600, 2.f), result(300);
        DONE(cuMemcpyHtoD_v2(in, host.data(), 2400));
        void *function = add_sums(), *stream = make_stream();
        size_t offset, bytes;
        DONE(cuFuncGetParamInfo(function, 0, &offset, &bytes));
        CHECK(bytes == sizeof(AddSums), "%zu", bytes);
        DONE(launch(function, {in, out, 2, 300, 0, 0}, stream));
        DONE(cuStreamSynchronize(stream));
        DONE(cuMemcpyDtoH_v2(result.data(), out, 1200));
        CHECK(result[0] == 4 && result[299] == 4, "%g %g", result[0], result[299]);
    });
}
TEST(fresh_device_memory_is_nan) {
    silent({}, [] {
        start();
        float x = 0;
        DONE(cuMemcpyDtoH_v2(&x, allocate(4), 4));
        CHECK(is_nan(x), "%g", x);
    });
}
TEST(contexts_must_balance) {
    loud("no context was pushed", {}, [] {
        DONE(cuInit(0));
        void* context;
        GIVES(201, cuCtxPopCurrent_v2(&context));
    });
    loud("1 contexts pushed and not popped", {}, [] { std::thread([] { start(); }).join(); });
    loud("no context is current", {}, [] {
        DONE(cuInit(0));
        Address at;
        GIVES(201, cuMemAlloc_v2(&at, 4));
    });
    loud("before cuInit", {}, [] { GIVES(3, cuDeviceGetCount(nullptr)); });
    fatal("not retained", {{"FAKE_CUDA_STRICT", "1"}}, [] {
        DONE(cuInit(0));
        cuDevicePrimaryCtxRelease_v2(0);
    });
}
TEST(leaks_are_told_when_the_context_goes) {
    loud("100 bytes of device memory", {}, [] { start(), allocate(100), stop(); });
    loud("streams not destroyed", {}, [] { start(), make_stream(), stop(); });
    loud("modules not unloaded", {}, [] { start(), add_sums(), stop(); });
    silent({}, [] { start(), cuMemFree_v2(allocate(100)), stop(); });
}
TEST(misused_memory_is_told) {
    loud("double free", {}, [] {
        start();
        Address at = allocate(16);
        DONE(cuMemFree_v2(at));
        GIVES(1, cuMemFree_v2(at));
    });
    loud("1 bytes past the end", {}, [] {
        start();
        char host[17];
        GIVES(1, cuMemcpyHtoD_v2(allocate(16), host, 17));
    });
    loud("freed memory", {}, [] {
        start();
        Address at = allocate(16);
        DONE(cuMemFree_v2(at));
        GIVES(1, cuMemsetD8Async(at, 0, 16, nullptr));
    });
    loud("not device memory", {}, [] {
        start();
        char host[16];
        GIVES(1, cuMemsetD8Async((Address)host, 0, 16, nullptr));
    });
    silent({{"FAKE_CUDA_PAGEABLE", "1"}}, [] {
        start();
        char host[16];
        DONE(cuMemsetD8Async((Address)host, 0, 16, nullptr));
    });
    fatal("the host accesses device memory", {{"FAKE_CUDA_HIDE", "1"}}, [] {
        start();
        *(volatile float*)allocate(16) = 1;
    });
}
TEST(a_kernel_that_leaves_its_memory_loses_the_device) {
    loud("memory fault", {}, [] {
        start();
        void* stream = make_stream();
        Address in = allocate(16), out = allocate(16);
        DONE(cuMemFree_v2(in));
        void* function = add_sums();
        GIVES(700, launch(function, {in, out, 1, 4, 0, 0}, stream));
        GIVES(700, cuStreamSynchronize(stream));
        Address more;
        GIVES(700, cuMemAlloc_v2(&more, 4));
    });
}
TEST(launches_beyond_the_limits_are_refused) {
    loud("compiled for 256", {}, [] { start(), GIVES(701, launch(add_sums(), {0, 0, 1, 4, 0, 0}, nullptr, 512)); });
    loud("allowed 49152", {}, [] { start(), GIVES(1, launch(add_sums(), {0, 0, 1, 4, 0, 0}, nullptr, 256, 49153)); });
    loud("the device has 232448", {}, [] { start(), GIVES(1, cuFuncSetAttribute(add_sums(), 8, 232449)); });
    loud("the device has 166912", {{"FAKE_CUDA_ARCH", "80"}}, [] {
        start();
        std::string image = fake::make_image(80, false, "\nINSTANTIATE_add_sums()\n");
        void *module, *function;
        DONE(cuModuleLoadData(&module, image.c_str()));
        DONE(cuModuleGetFunction(&function, module, "add_sums"));
        GIVES(1, cuFuncSetAttribute(function, 8, 232448));
    });
    loud("empty grid", {}, [] { start(), GIVES(1, launch(add_sums(), {0, 0, 1, 0, 0, 0}, nullptr)); });
}
TEST(images_of_another_device_or_of_nothing_are_refused) {
    silent({{"FAKE_CUDA_ARCH", "80"}}, [] {
        start();
        void* module;
        std::string newer = fake::make_image(90, false, "\nINSTANTIATE_add_sums()\n");
        GIVES(209, cuModuleLoadData(&module, newer.c_str()));
        GIVES(200, cuModuleLoadData(&module, newer.substr(0, newer.size() - 3).c_str()));
        GIVES(200, cuModuleLoadData(&module, "\x7f" "ELF"));
        DONE(cuModuleLoadData(&module, fake::make_image(75, true, "\nINSTANTIATE_add_sums()\n").c_str()));
    });
    loud("no kernel absent", {}, [] {
        void* module;
        start(), GIVES(200, cuModuleLoadData(&module, fake::make_image(90, false, "\nINSTANTIATE_absent()\n").c_str()));
    });
}
TEST(capture_forbids_what_a_driver_forbids) {
    struct Case {
        const char* words;
        std::function<int(void*)> call;
        int code;
    };
    static Address at;
    const Case cases[] = {
        {"cuMemAlloc_v2 while this thread", [](void*) { return cuMemAlloc_v2(&at, 4); }, 900},
        {"cuModuleLoadData while this thread", [](void*) { return cuModuleLoadData((void**)&at, ""); }, 900},
        {"waited for while it is captured", [](void* s) { return cuStreamSynchronize(s); }, 900},
        {"while this thread captures", [](void*) { return cuStreamSynchronize(make_stream()); }, 900},
        {"not pinned", [](void* s) { return cuMemcpyHtoDAsync_v2(at, "abc", 4, s); }, 900},
    };
    for (const Case& c : cases)
        loud(c.words, {}, [&] {
            start();
            at = allocate(4);
            void *stream = make_stream(), *graph;
            DONE(cuStreamBeginCapture_v2(stream, 0));
            GIVES(c.code, c.call(stream));
            int status;
            DONE(cuStreamIsCapturing(stream, &status));
            CHECK(status == 2, "status %d", status);
            GIVES(901, cuStreamEndCapture(stream, &graph));
        });
    loud("another thread captures", {}, [] {
        void* context = start();
        DONE(cuStreamBeginCapture_v2(make_stream(), 0));
        std::thread([&] {
            void* popped;
            cuCtxPushCurrent_v2(context);
            GIVES(900, cuMemAlloc_v2(&at, 4));
            cuCtxPopCurrent_v2(&popped);
        }).join();
    });
    silent({}, [] {
        start();
        DONE(cuStreamBeginCapture_v2(make_stream(), 0));
        int mode = 2;
        DONE(cuThreadExchangeStreamCaptureMode(&mode));
        CHECK(mode == 0, "mode %d", mode);
        allocate(4);
    });
    loud("recorded outside", {}, [] {
        start();
        void *stream = make_stream(), *event;
        DONE(cuEventCreate(&event, 2));
        DONE(cuEventRecord(event, make_stream()));
        DONE(cuStreamBeginCapture_v2(stream, 0));
        GIVES(905, cuStreamWaitEvent(stream, event, 0));
    });
    loud("not waited for", {}, [] {
        start();
        void *stream = make_stream(), *other = make_stream(), *event, *graph;
        at = allocate(4);
        DONE(cuEventCreate(&event, 2));
        DONE(cuStreamBeginCapture_v2(stream, 0));
        DONE(cuEventRecord(event, stream));
        DONE(cuStreamWaitEvent(other, event, 0));
        DONE(cuMemsetD8Async(at, 1, 4, other));
        GIVES(904, cuStreamEndCapture(stream, &graph));
    });
}
TEST(a_graph_replays_what_was_captured_and_keeps_its_objects) {
    silent({}, [] {
        static int drawn = 0, destroyed = 0;
        start();
        void *stream = make_stream(), *other = make_stream(), *fork, *join, *graph, *exec, *object, *pinned;
        uint64_t id;
        int status;
        Address out = allocate(4);
        DONE(cuMemHostAlloc(&pinned, 4, 1));
        static int* slot;
        slot = (int*)pinned;
        DONE(cuEventCreate(&fork, 2));
        DONE(cuEventCreate(&join, 2));
        DONE(cuStreamBeginCapture_v2(stream, 0));
        DONE(cuLaunchHostFunc(stream, [](void*) { *slot = ++drawn; }, nullptr));
        DONE(cuEventRecord(fork, stream));
        DONE(cuStreamWaitEvent(other, fork, 0));
        DONE(cuMemcpyHtoDAsync_v2(out, slot, 4, other));
        DONE(cuEventRecord(join, other));
        DONE(cuStreamWaitEvent(stream, join, 0));
        DONE(cuStreamGetCaptureInfo_v2(stream, &status, &id, &graph, nullptr, nullptr));
        CHECK(status == 1, "status %d", status);
        DONE(cuUserObjectCreate(&object, &destroyed, [](void* p) { ++*(int*)p; }, 1, 1));
        DONE(cuGraphRetainUserObject(graph, object, 1, 1));
        DONE(cuStreamEndCapture(stream, &graph));
        CHECK(drawn == 0, "a captured host function ran");
        DONE(cuGraphInstantiateWithFlags(&exec, graph, 0));
        DONE(cuGraphDestroy(graph));
        for (int i = 1; i <= 3; i++) {
            int got = 0;
            DONE(cuGraphLaunch(exec, stream));
            DONE(cuStreamSynchronize(stream));
            DONE(cuMemcpyDtoH_v2(&got, out, 4));
            CHECK(got == i, "replay %d gives %d", i, got);
        }
        CHECK(destroyed == 0, "destroyed before the graph");
        DONE(cuGraphExecDestroy(exec));
        CHECK(destroyed == 1, "destroyed %d times", destroyed);
    });
}
TEST(host_functions_may_not_call_the_driver) {
    loud("from a host function", {}, [] {
        start();
        DONE(cuLaunchHostFunc(make_stream(), [](void*) { GIVES(800, cuInit(0)); }, nullptr));
    });
}
TEST(deferred_work_runs_when_it_is_waited_for) {
    silent({{"FAKE_CUDA_DEFER", "1"}}, [] {
        start();
        void *first = make_stream(), *second = make_stream(), *event;
        int *pinned;
        DONE(cuMemHostAlloc((void**)&pinned, 8, 0));
        DONE(cuEventCreate(&event, 2));
        Address at = allocate(8);
        pinned[0] = pinned[1] = 0;
        DONE(cuMemsetD32Async(at, 7, 2, first));
        DONE(cuEventRecord(event, first));
        GIVES(600, cuEventQuery(event));
        DONE(cuStreamWaitEvent(second, event, 0));
        DONE(cuMemcpyDtoHAsync_v2(pinned, at, 8, second));
        CHECK(pinned[0] == 0, "ran at once");
        DONE(cuStreamSynchronize(second));
        DONE(cuEventQuery(event));
        CHECK(pinned[0] == 7 && pinned[1] == 7, "%d %d", pinned[0], pinned[1]);
        // Pinned memory is read when the copy runs, so this is the value that arrives.
        pinned[0] = 1;
        DONE(cuMemcpyHtoDAsync_v2(at, pinned, 4, first));
        pinned[0] = 2;
        DONE(cuStreamSynchronize(first));
        DONE(cuMemcpyDtoH_v2(pinned, at, 4));
        CHECK(pinned[0] == 2, "%d", pinned[0]);
    });
}
TEST(failures_are_injected_at_the_call_that_was_named) {
    silent({{"FAKE_CUDA_FAIL", "cuMemAlloc_v2:2=2,cuLaunchKernel:1=700"}}, [] {
        start();
        void* stream = make_stream();
        allocate(4);
        Address at;
        GIVES(2, cuMemAlloc_v2(&at, 4));
        allocate(4);
        GIVES(700, launch(add_sums(), {0, 0, 1, 4, 0, 0}, stream));
        GIVES(700, cuStreamSynchronize(stream));
    });
    silent({{"FAKE_CUDA_MEMORY", "1"}}, [] {
        Address at;
        start();
        GIVES(2, cuMemAlloc_v2(&at, 2 << 20));
    });
    silent({{"FAKE_CUDA_FAIL", "cuInit:1=12345"}}, [] {
        const char* name = "";
        GIVES(12345, cuInit(0));
        GIVES(1, cuGetErrorName(12345, &name));
        CHECK(!name, "a name for an unknown code");
    });
}
TEST(devices_are_what_the_environment_says) {
    silent({{"FAKE_CUDA_DEVICES", "2"}, {"FAKE_CUDA_ARCH", "75"}}, [] {
        DONE(cuInit(0));
        int count, major, minor;
        DONE(cuDeviceGetCount(&count));
        DONE(cuDeviceGetAttribute(&major, 75, 1));
        DONE(cuDeviceGetAttribute(&minor, 76, 1));
        CHECK(count == 2 && major == 7 && minor == 5, "%d %d.%d", count, major, minor);
    });
    silent({{"FAKE_CUDA_DEVICES", "0"}}, [] { GIVES(100, cuInit(0)); });
    loud("stream", {{"FAKE_CUDA_DEVICES", "2"}}, [] {
        start();
        void *stream = make_stream(), *other, *owner;
        DONE(cuDevicePrimaryCtxRetain(&other, 1));
        DONE(cuCtxPushCurrent_v2(other));
        DONE(cuStreamGetCtx(stream, &owner));
        CHECK(owner != other, "same context");
        GIVES(400, cuStreamSynchronize(stream));
    });
}
TEST(pointers_know_their_kind) {
    silent({}, [] {
        start();
        int value = -1;
        char host;
        void* pinned;
        Address at = allocate(4);
        DONE(cuPointerGetAttribute(&value, 9, at));
        CHECK(value == 0, "ordinal %d", value);
        GIVES(1, cuPointerGetAttribute(&value, 9, (Address)&host));
        DONE(cuMemHostAlloc(&pinned, 4, 0));
        DONE(cuPointerGetAttribute(&value, 2, (Address)pinned));
        CHECK(value == 1, "memory type %d", value);
        DONE(cuMemFreeHost(pinned));
    });
}
