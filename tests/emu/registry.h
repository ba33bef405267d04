// The kernels linked into a program, by symbol: each ENTRY adds itself.
#pragma once
#include <map>
#include <string>

#include "launch.h"

namespace emu {

struct Kernel {
    const char* symbol;
    size_t argument_bytes;
    int threads;
    void (*run)(const void* arguments);
};

inline std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

struct Registration {
    explicit Registration(const Kernel& kernel) { kernels()[kernel.symbol] = kernel; }
};

template <class Arguments> Counts launch(const char* symbol, dim3 grid, dim3 size, size_t shared_bytes,
                                         const Arguments& arguments, const Mode& mode = Mode()) {
    auto found = kernels().find(symbol);
    if (found == kernels().end()) throw Error(std::string("no kernel ") + symbol + " in this program");
    const Kernel& kernel = found->second;
    if (sizeof arguments != kernel.argument_bytes)
        throw Error(std::string(symbol) + ": wrong size of arguments");
    if (size.count() > (uint64_t)kernel.threads)
        throw Error(std::string(symbol) + ": more threads than its bound");
    return launch(grid, size, shared_bytes, [&] { kernel.run(&arguments); }, mode, kernel.symbol);
}

}  // namespace emu
