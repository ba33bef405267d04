// Modules and functions: an image names instances, and those are the kernels linked into this library.
#include <cstring>

#include "fake_cuda.h"
#include "fake_image.h"

namespace fake {

namespace {

std::set<Module*> modules;

int load(void** out, const void* data) {
    *out = nullptr;
    if (!data) return complain(INVALID_VALUE, "no image");
    // Only as far as it looks like ours: the driver is not told where an image ends.
    auto text = static_cast<const char*>(data);
    if (strncmp(text, IMAGE_HEAD.c_str(), IMAGE_HEAD.size())) return INVALID_IMAGE;
    std::string image(text);
    size_t tail = image.rfind(IMAGE_TAIL), line = image.find('\n'), number = image.find('_');
    if (tail == std::string::npos || tail + IMAGE_TAIL.size() != image.size()) return INVALID_IMAGE;
    int arch = atoi(image.c_str() + number + 1);
    bool ptx = image[number - 1] == 'e', specific = image[line - 1] == 'a';
    if (specific && arch != settings().arch) return NO_BINARY_FOR_GPU;
    // Machine code runs on later devices of the same major version, PTX on all later ones.
    if (arch > settings().arch || (!ptx && arch / 10 != settings().arch / 10)) return NO_BINARY_FOR_GPU;
    auto module = std::make_unique<Module>();
    module->context = current();
    for (const std::string& symbol : instances_of(image.substr(line, tail - line))) {
        auto found = emu::kernels().find(symbol);
        if (found == emu::kernels().end())
            return complain(INVALID_IMAGE, "no kernel %s is built into the fake driver: make emu",
                            symbol.c_str());
        auto function = std::make_unique<Function>();
        function->module = module.get(), function->kernel = &found->second;
        module->functions[symbol] = std::move(function);
    }
    if (module->functions.empty()) return INVALID_IMAGE;
    current()->modules++;
    modules.insert(module.get());
    return *out = module.release(), 0;
}

}  // namespace

Function* function_of(void* handle) {
    for (Module* module : modules)
        for (auto& [symbol, function] : module->functions)
            if (function.get() == handle) return function.get();
    complain(INVALID_HANDLE, "%p is no function of a loaded module", handle);
    return nullptr;
}

int shared_limit() {
    const Settings& s = settings();
    return s.arch < 80 ? 96 << 10 : s.arch < 90 ? 163 << 10 : 227 << 10;
}

}  // namespace fake

using namespace fake;

EXPORT int cuModuleLoadData(void** module, const void* image) {
    return call("cuModuleLoadData", CONTEXT | NO_CAPTURE, [&] { return load(module, image); });
}
EXPORT int cuModuleLoadDataEx(void** module, const void* image, unsigned, int*, void**) {
    return call("cuModuleLoadDataEx", CONTEXT | NO_CAPTURE, [&] { return load(module, image); });
}
EXPORT int cuModuleUnload(void* handle) {
    return call("cuModuleUnload", CONTEXT | NO_CAPTURE, [&] {
        auto module = static_cast<Module*>(handle);
        if (!modules.count(module)) return complain(INVALID_HANDLE, "%p is no loaded module", handle);
        drain_all(module->context);
        module->context->modules--;
        modules.erase(module);
        delete module;
        return 0;
    });
}
EXPORT int cuModuleGetFunction(void** out, void* handle, const char* name) {
    return call("cuModuleGetFunction", CONTEXT | NO_CAPTURE, [&] {
        auto module = static_cast<Module*>(handle);
        if (!modules.count(module)) return complain(INVALID_HANDLE, "%p is no loaded module", handle);
        auto found = module->functions.find(name);
        if (found == module->functions.end()) return (int)NOT_FOUND;
        return *out = found->second.get(), 0;
    });
}
EXPORT int cuFuncLoad(void* function) {
    return call("cuFuncLoad", CONTEXT | NO_CAPTURE,
                [&] { return function_of(function) ? 0 : (int)INVALID_HANDLE; });
}
EXPORT int cuFuncSetAttribute(void* handle, int attribute, int value) {
    return call("cuFuncSetAttribute", CONTEXT, [&] {
        Function* function = function_of(handle);
        if (!function) return (int)INVALID_HANDLE;
        if (attribute == 9) return 0;  // the preferred carve-out is a hint
        if (attribute != 8) return complain(INVALID_VALUE, "attribute %d cannot be set", attribute);
        if (value < 0 || value > shared_limit())
            return complain(INVALID_VALUE, "%d bytes of shared memory, the device has %d", value,
                            shared_limit());
        return function->max_dynamic_shared = value, 0;
    });
}
EXPORT int cuFuncGetAttribute(int* value, int attribute, void* handle) {
    return call("cuFuncGetAttribute", CONTEXT, [&] {
        Function* function = function_of(handle);
        if (!function) return (int)INVALID_HANDLE;
        switch (attribute) {
            case 0: return *value = function->kernel->threads, 0;
            case 1:
            case 2:
            case 3: return *value = 0, 0;  // static shared, constant and local memory
            case 4: return *value = 128, 0;
            case 5:
            case 6: return *value = settings().arch, 0;
            case 8: return *value = function->max_dynamic_shared, 0;
        }
        return complain(INVALID_VALUE, "function attribute %d is not known to the fake driver", attribute);
    });
}
EXPORT int cuFuncGetParamInfo(void* handle, size_t index, size_t* offset, size_t* bytes) {
    return call("cuFuncGetParamInfo", CONTEXT, [&] {
        Function* function = function_of(handle);
        if (!function) return (int)INVALID_HANDLE;
        if (index > 0) return (int)INVALID_VALUE;  // how a program finds the end
        *offset = 0;
        if (bytes) *bytes = function->kernel->argument_bytes;
        return 0;
    });
}
EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* handle, int threads,
                                                       size_t shared) {
    return call("cuOccupancyMaxActiveBlocksPerMultiprocessor", CONTEXT, [&] {
        if (!function_of(handle)) return (int)INVALID_HANDLE;
        size_t by_shared = (shared_limit() + 1024) / (shared + 1024);
        return *blocks = (int)std::min<size_t>(by_shared, 2048 / std::max(threads, 1)), 0;
    });
}
