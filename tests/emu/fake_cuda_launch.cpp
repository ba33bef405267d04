// Launches: judged by the device's limits, and run on the emulator.
#include <cstring>

#include "fake_cuda.h"

namespace fake {

namespace {

// Parameters lie at a multiple of 128, as tensor maps need.
struct alignas(128) ParameterLine {
    char bytes[128];
};
using Parameters = std::vector<ParameterLine>;

struct Dimensions {
    dim3 grid, block;
    unsigned shared;
};

int check_launch(const Function& function, const Dimensions& d) {
    const char* symbol = function.kernel->symbol;
    if (d.grid.count() == 0 || d.block.count() == 0)
        return complain(INVALID_VALUE, "%s: an empty grid or block", symbol);
    if (d.grid.x > 2147483647u || d.grid.y > 65535 || d.grid.z > 65535)
        return complain(INVALID_VALUE, "%s: a grid of (%u, %u, %u)", symbol, d.grid.x, d.grid.y, d.grid.z);
    if (d.block.count() > 1024 || d.block.z > 64)
        return complain(INVALID_VALUE, "%s: %llu threads a block", symbol, d.block.count());
    if (d.block.count() > (uint64_t)function.kernel->threads)
        return complain(LAUNCH_OUT_OF_RESOURCES, "%s: %llu threads a block, compiled for %d", symbol,
                        d.block.count(), function.kernel->threads);
    if (d.shared > (unsigned)function.max_dynamic_shared)
        return complain(INVALID_VALUE, "%s: %u bytes of dynamic shared memory, allowed %d", symbol, d.shared,
                        function.max_dynamic_shared);
    return 0;
}

// What a kernel that failed leaves: the context answers everything with it.
int run_kernel(Context* context, const emu::Kernel& kernel, const Dimensions& d,
               const Parameters& arguments) {
    Access access;
    try {
        emu::Counts counts = emu::launch(
            d.grid, d.block, d.shared, [&] { kernel.run(arguments.data()); }, settings().mode, kernel.symbol);
        if (counts.static_shared + d.shared > (size_t)shared_limit())
            return lose(context, complain(LAUNCH_FAILED, "%s: %zu bytes of shared memory", kernel.symbol,
                                          counts.static_shared + d.shared));
        return 0;
    } catch (const emu::Error& error) {
        std::string message = error.what();
        int code = message.find("no multiple") != std::string::npos    ? MISALIGNED_ADDRESS
                   : message.find("memory fault") != std::string::npos ? ILLEGAL_ADDRESS
                                                                       : LAUNCH_FAILED;
        return lose(context, complain(code, "%s", message.c_str()));
    }
}

int launch(void* handle, const Dimensions& d, void* stream_handle, void** parameters, void** extra) {
    Function* function = function_of(handle);
    Stream* stream = function ? stream_of(stream_handle) : nullptr;
    if (!stream) return INVALID_HANDLE;
    if (function->module->context != current())
        return complain(INVALID_HANDLE, "the function is of another context");
    if (int code = check_launch(*function, d)) return code;
    const emu::Kernel* kernel = function->kernel;
    Parameters arguments((kernel->argument_bytes + 127) / 128);
    if (parameters) {
        if (!parameters[0]) return complain(INVALID_VALUE, "%s: parameter 0 is NULL", kernel->symbol);
        memcpy(arguments.data(), parameters[0], kernel->argument_bytes);
    } else {
        // {1, buffer, 2, &size, 0}
        if (!extra || extra[0] != (void*)1 || extra[2] != (void*)2)
            return complain(INVALID_VALUE, "%s: no parameters", kernel->symbol);
        size_t bytes = *static_cast<size_t*>(extra[3]);
        if (bytes != kernel->argument_bytes)
            return complain(INVALID_VALUE, "%s: %zu bytes of parameters, takes %zu", kernel->symbol, bytes,
                            kernel->argument_bytes);
        memcpy(arguments.data(), extra[1], bytes);
    }
    Context* context = current();
    return submit(stream,
                  {KERNEL_NODE, kernel->symbol, [=] { return run_kernel(context, *kernel, d, arguments); }});
}

}  // namespace

}  // namespace fake

using namespace fake;

EXPORT int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                          unsigned bz, unsigned shared, void* stream, void** parameters, void** extra) {
    return call("cuLaunchKernel", CONTEXT, [&] {
        return launch(function, {dim3(gx, gy, gz), dim3(bx, by, bz), shared}, stream, parameters, extra);
    });
}

struct LaunchConfig {
    unsigned grid[3], block[3], shared;
    void *stream, *attributes;
    unsigned attribute_count;
};
EXPORT int cuLaunchKernelEx(const LaunchConfig* c, void* function, void** parameters, void** extra) {
    return call("cuLaunchKernelEx", CONTEXT, [&] {
        if (c->attribute_count) return complain(NOT_SUPPORTED, "launch attributes");
        dim3 grid(c->grid[0], c->grid[1], c->grid[2]), block(c->block[0], c->block[1], c->block[2]);
        return launch(function, {grid, block, c->shared}, c->stream, parameters, extra);
    });
}

// For fake_cublaslt.cpp: work of another library, with the memory it will touch.
struct FakeRange {
    const char* name;
    const void* at;
    size_t bytes;
};
EXPORT int fake_cuda_submit(void* handle, const char* what, const FakeRange* ranges, int count,
                            const std::function<void()>& work) {
    return call(what, CONTEXT, [&] {
        Stream* stream = stream_of(handle);
        if (!stream) return (int)INVALID_HANDLE;
        std::vector<FakeRange> all(ranges, ranges + count);
        return submit(stream, {KERNEL_NODE, what, [=] {
                                   for (const FakeRange& r : all)
                                       if (int code = check_device_range(
                                               r.name, reinterpret_cast<Address>(r.at), r.bytes))
                                           return code;
                                   Access access;
                                   work();
                                   return 0;
                               }});
    });
}
