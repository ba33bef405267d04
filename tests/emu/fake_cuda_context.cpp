// Devices, their attributes, contexts, and the stack of current contexts of each thread.
#include <cstring>

#include "fake_cuda.h"

namespace fake {

namespace {

std::set<Context*> live_contexts;
std::vector<Context*> every_context;  // by number; none is ever freed

// What a thread leaves pushed when it ends was never popped.
struct Stack {
    std::vector<Context*> contexts;
    bool pushed = false;  // the first one was pushed, not set
    ~Stack() {
        if (pushed && !contexts.empty() && initialised())
            complain(0, "a thread ends with %zu contexts pushed and not popped", contexts.size());
    }
};
thread_local Stack stack;

Context* make_context(int device, bool is_primary) {
    auto context = new Context((int)every_context.size(), device, is_primary);
    every_context.push_back(context);
    context->legacy = std::make_unique<Stream>();
    context->legacy->context = context, context->legacy->blocking = true;
    return context;
}

int check_device(int device) {
    return device >= 0 && device < settings().devices
               ? 0
               : complain(INVALID_DEVICE, "device %d of %d", device, settings().devices);
}

// Everything of the context is done; what it still holds is a leak.
void close(Context* context) {
    drain_all(context);
    std::string left = leaks(context);
    if (!left.empty() && !context->lost)
        complain(0, "the context of device %d goes with %s", context->device, left.c_str());
    live_contexts.erase(context);
}

}  // namespace

std::vector<Context*>& context_stack() { return stack.contexts; }
Context* current() { return stack.contexts.empty() ? nullptr : stack.contexts.back(); }
bool exists(const Context* context) { return live_contexts.count(const_cast<Context*>(context)) != 0; }

Context* numbered(int number) { return every_context[number]; }

Context* primary(int device) {
    static std::map<int, Context*> all;
    Context*& context = all[device];
    // One that was lost is made anew once nobody holds it; what it held is gone with it.
    if (!context || (context->lost && context->references == 0)) context = make_context(device, true);
    return context;
}

int lose(Context* context, int code) { return context->lost = code; }

}  // namespace fake

using namespace fake;

EXPORT int cuInit(unsigned flags) {
    return call("cuInit", NOTHING, [&] {
        if (flags) return complain(INVALID_VALUE, "flags = %u, must be 0", flags);
        if (settings().devices <= 0) return (int)NO_DEVICE;
        initialise();
        return (int)SUCCESS;
    });
}
EXPORT int cuDriverGetVersion(int* version) {
    return call("cuDriverGetVersion", NOTHING, [&] { return *version = 13000, 0; });
}
EXPORT int cuDeviceGetCount(int* count) {
    return call("cuDeviceGetCount", INITIALISED, [&] { return *count = settings().devices, 0; });
}
EXPORT int cuDeviceGet(int* device, int ordinal) {
    return call("cuDeviceGet", INITIALISED, [&] { return *device = ordinal, check_device(ordinal); });
}
EXPORT int cuDeviceGetName(char* name, int length, int device) {
    return call("cuDeviceGetName", INITIALISED, [&] {
        snprintf(name, length, "Emulated device sm_%d", settings().arch);
        return check_device(device);
    });
}
EXPORT int cuDeviceGetUuid_v2(void* uuid, int device) {
    return call("cuDeviceGetUuid_v2", INITIALISED, [&] {
        memset(uuid, 0xe0 + device, 16);
        return check_device(device);
    });
}
EXPORT int cuDeviceTotalMem_v2(size_t* bytes, int device) {
    return call("cuDeviceTotalMem_v2", INITIALISED,
                [&] { return *bytes = (size_t)settings().memory_mib << 20, check_device(device); });
}
EXPORT int cuDeviceGetAttribute(int* value, int attribute, int device) {
    return call("cuDeviceGetAttribute", INITIALISED, [&] {
        const Settings& s = settings();
        // As an H100 has them, by their numbers in cuda.h.
        const std::map<int, int> values = {{1, 1024},
                                           {2, 1024},
                                           {3, 1024},
                                           {4, 64},
                                           {5, 2147483647},
                                           {6, 65535},
                                           {7, 65535},
                                           {8, 49152},
                                           {9, 65536},
                                           {10, 32},
                                           {12, 65536},
                                           {13, 1980000},
                                           {16, 132},
                                           {17, 0},
                                           {18, 0},
                                           {19, 1},
                                           {20, 0},
                                           {31, 1},
                                           {32, 1},
                                           {33, 1 + device},
                                           {34, 0},
                                           {35, 0},
                                           {36, 2619000},
                                           {37, 5120},
                                           {38, 50 << 20},
                                           {39, 2048},
                                           {40, 3},
                                           {41, 1},
                                           {50, 0},
                                           {75, s.arch / 10},
                                           {76, s.arch % 10},
                                           {78, 1},
                                           {81, s.arch < 80 ? 96 << 10 : 228 << 10},
                                           {82, 65536},
                                           {83, 1},
                                           {86, 0},
                                           {88, s.pageable},
                                           {89, 1},
                                           {91, 1},
                                           {95, 1},
                                           {96, 0},
                                           {97, s.arch < 80 ? 96 << 10 : s.arch < 90 ? 163 << 10 : 227 << 10},
                                           {100, s.pageable},
                                           {106, 32},
                                           {108, 32 << 20},
                                           {111, 1024},
                                           {115, 1}};
        auto found = values.find(attribute);
        if (found == values.end())
            return complain(INVALID_VALUE, "attribute %d is not known to the fake driver", attribute);
        return *value = found->second, check_device(device);
    });
}

EXPORT int cuDevicePrimaryCtxRetain(void** context, int device) {
    return call("cuDevicePrimaryCtxRetain", INITIALISED, [&] {
        if (int code = check_device(device)) return code;
        Context* c = primary(device);
        if (c->references++ == 0) live_contexts.insert(c);
        return *context = c, 0;
    });
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
    return call("cuDevicePrimaryCtxRelease_v2", INITIALISED, [&] {
        if (int code = check_device(device)) return code;
        Context* c = primary(device);
        if (c->references == 0)
            return complain(INVALID_CONTEXT, "the primary context of device %d is not retained", device);
        if (--c->references == 0) close(c);
        return 0;
    });
}
EXPORT int cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
    return call("cuDevicePrimaryCtxGetState", INITIALISED, [&] {
        *flags = 0, *active = primary(device)->references > 0;
        return check_device(device);
    });
}
EXPORT int cuCtxCreate_v2(void** context, unsigned, int device) {
    return call("cuCtxCreate_v2", INITIALISED, [&] {
        if (int code = check_device(device)) return code;
        Context* c = make_context(device, false);
        live_contexts.insert(c);
        stack.contexts.push_back(c);
        return *context = c, 0;
    });
}
EXPORT int cuCtxDestroy_v2(void* context) {
    return call("cuCtxDestroy_v2", INITIALISED, [&] {
        auto c = static_cast<Context*>(context);
        if (!exists(c)) return complain(INVALID_CONTEXT, "no such context");
        if (c->primary) return complain(INVALID_CONTEXT, "a primary context is released, not destroyed");
        close(c);
        if (current() == c) stack.contexts.pop_back();
        return 0;
    });
}
EXPORT int cuCtxPushCurrent_v2(void* context) {
    return call("cuCtxPushCurrent_v2", INITIALISED, [&] {
        auto c = static_cast<Context*>(context);
        if (!exists(c)) return complain(INVALID_CONTEXT, "the context does not exist or is not retained");
        if (stack.contexts.empty()) stack.pushed = true;
        stack.contexts.push_back(c);
        return 0;
    });
}
EXPORT int cuCtxPopCurrent_v2(void** context) {
    return call("cuCtxPopCurrent_v2", INITIALISED, [&] {
        if (stack.contexts.empty()) return complain(INVALID_CONTEXT, "no context was pushed on this thread");
        if (context) *context = current();
        stack.contexts.pop_back();
        return 0;
    });
}
EXPORT int cuCtxSetCurrent(void* context) {
    return call("cuCtxSetCurrent", INITIALISED, [&] {
        auto c = static_cast<Context*>(context);
        if (c && !exists(c))
            return complain(INVALID_CONTEXT, "the context does not exist or is not retained");
        if (!stack.contexts.empty()) stack.contexts.pop_back();
        if (stack.contexts.empty()) stack.pushed = false;
        if (c) stack.contexts.push_back(c);
        return 0;
    });
}
EXPORT int cuCtxGetCurrent(void** context) {
    return call("cuCtxGetCurrent", INITIALISED, [&] { return *context = current(), 0; });
}
EXPORT int cuCtxGetDevice(int* device) {
    return call("cuCtxGetDevice", CONTEXT, [&] { return *device = current()->device, 0; });
}
EXPORT int cuCtxSynchronize() {
    return call("cuCtxSynchronize", CONTEXT | NO_CAPTURE, [&] { return drain_all(current()); });
}

// For tests: contexts on this thread's stack.
EXPORT int fake_cuda_context_depth() { return (int)context_stack().size(); }
