// The fake driver does what a driver does, and says what a driver would punish, or would let pass and should
// not.
#include "driver_check.h"
#include "fake_image.h"

namespace {

// The arguments of add_sums (kernels/arguments.cuh): total = sum of `count` rows of `cols`.
struct AddSums {
    Address parts, total;
    int count, cols, accumulate, pad;
};
void* add_sums() {
    static std::string image =
        fake::make_image(90, "", false, "#include \"gradients.cuh\"\nINSTANTIATE_add_sums()\n");
    void *module = nullptr, *function = nullptr;
    DONE(cuModuleLoadData(&module, image.c_str()));
    DONE(cuModuleGetFunction(&function, module, "add_sums"));
    return function;
}
int launch(void* function, AddSums arguments, void* stream, unsigned threads = 256, unsigned shared = 0) {
    void* parameters[] = {&arguments};
    return cuLaunchKernel(function, (arguments.cols + 255) / 256, 1, 1, threads, 1, 1, shared, stream,
                          parameters, nullptr);
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
    loud("compiled for 256", {},
         [] { start(), GIVES(701, launch(add_sums(), {0, 0, 1, 4, 0, 0}, nullptr, 512)); });
    loud("allowed 49152", {},
         [] { start(), GIVES(1, launch(add_sums(), {0, 0, 1, 4, 0, 0}, nullptr, 256, 49153)); });
    loud("the device has 232448", {}, [] { start(), GIVES(1, cuFuncSetAttribute(add_sums(), 8, 232449)); });
    loud("the device has 166912", {{"FAKE_CUDA_ARCH", "80"}}, [] {
        start();
        std::string image = fake::make_image(80, "", false, "\nINSTANTIATE_add_sums()\n");
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
        std::string newer = fake::make_image(90, "", false, "\nINSTANTIATE_add_sums()\n");
        GIVES(209, cuModuleLoadData(&module, newer.c_str()));
        GIVES(200, cuModuleLoadData(&module, newer.substr(0, newer.size() - 3).c_str()));
        GIVES(200, cuModuleLoadData(&module,
                                    "\x7f"
                                    "ELF"));
        DONE(cuModuleLoadData(&module, fake::make_image(75, "", true, "\nINSTANTIATE_add_sums()\n").c_str()));
    });
    loud("no kernel absent", {}, [] {
        void* module;
        start(), GIVES(200, cuModuleLoadData(
                                &module, fake::make_image(90, "", false, "\nINSTANTIATE_absent()\n").c_str()));
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
