// A launch: every block of the grid, on one or several OS threads, in one mode.
#pragma once
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "async_copy.h"
#include "fault.h"
#include "warp.h"

namespace emu {

inline void run_blocks(const char* kernel, dim3 grid, dim3 size, size_t shared_bytes,
                       const std::function<void()>& body, const Mode& mode, std::atomic<uint64_t>& next,
                       Counts& counts) {
    static thread_local std::unique_ptr<Block> owned;
    if (!owned) owned = std::make_unique<Block>();
    block = owned.get();
    watch_faults();
    RaceCheck races;
    Block& b = *block;
    b.kernel = kernel, b.mode = mode, b.body = &body, b.counts = Counts();
    b.races = mode.races ? &races : nullptr;
    for (uint64_t i; (i = next++) < grid.count();) {
        // Blocks come in another order too, from the last to the first for every second seed.
        uint64_t place = mode.seed & 1 ? grid.count() - 1 - i : i;
        b.random = mode.seed + (unsigned)place * 977u;
        races.begin_block();
        prepare_block(dim3(place % grid.x, place / grid.x % grid.y, place / grid.x / grid.y), grid, size,
                      shared_bytes);
        run_block();
    }
    counts = b.counts;
}

// Throws Error if the kernel does what it must not.
template <class Body> Counts launch(dim3 grid, dim3 size, size_t shared_bytes, Body kernel,
                                    const Mode& mode = Mode(), const char* name = "kernel") {
    std::function<void()> body = kernel;
    std::atomic<uint64_t> next{0};
    std::exception_ptr error;
    std::mutex lock;
    Counts total;
    auto work = [&] {
        Counts counts;
        try {
            run_blocks(name, grid, size, shared_bytes, body, mode, next, counts);
        } catch (...) {
            next = grid.count();
            current = nullptr;
            std::lock_guard guard(lock);
            if (!error) error = std::current_exception();
        }
        std::lock_guard guard(lock);
        total.switches += counts.switches, total.collectives += counts.collectives,
            total.blocks += counts.blocks;
        total.matrix_loads += counts.matrix_loads, total.bank_conflicts += counts.bank_conflicts;
        total.static_shared = std::max(total.static_shared, counts.static_shared);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < mode.os_threads; i++) others.emplace_back(work);
    work();
    for (auto& t : others) t.join();
    if (error) std::rethrow_exception(error);
    return total;
}

}  // namespace emu
