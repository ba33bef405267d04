// One block of CUDA threads on one OS thread: its fibers, its warps, its barrier, and the scheduler that
// runs the fibers in a seeded order until each has returned or none can go on.
#pragma once
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "fiber.h"
#include "shared_memory.h"
#include "vector_types.h"

namespace emu {

// What a kernel did that it must not, with the thread that did it.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// EARLY: an asynchronous copy lands when it is issued (shows a buffer refilled too soon). LATE: only when it
// is waited for (shows a missing wait). MIXED: a coin for each copy.
enum Copies { EARLY, LATE, MIXED };

struct Mode {
    unsigned seed = 0;    // 0: threads in order; else the order of warps, of lanes and of the coins
    bool greedy = false;  // a warp runs as far as it can; otherwise all threads keep in step
    Copies copies = LATE;
    bool races = true;  // check the order of copies and matrix loads by barriers (race.h)
    int os_threads = 1;
};

struct Copy {
    void* to;
    const void* from;
    bool wanted;
};

struct Thread : Fiber {
    dim3 index;
    int lane, warp;
    bool done;
    const uint64_t* waiting;  // for this to change from `seen`; NULL: can run
    uint64_t seen;
    const char* where;
    std::vector<Copy> open;
    std::vector<std::vector<Copy>> groups;
};

struct Warp {
    int live = 0, arrived = 0;
    uint64_t generation = 0;
    const char* operation = nullptr;
    void* lanes[32];
};

struct Counts {
    uint64_t switches = 0, collectives = 0, matrix_loads = 0, bank_conflicts = 0, blocks = 0;
    size_t static_shared = 0;
};

class RaceCheck;

// What goes on in a block beside its threads.
struct Background {
    virtual ~Background() = default;
    // Does something that was only begun; false: there is nothing. `wrong` is what it found, if anything.
    virtual bool advance(std::string* wrong) = 0;
    virtual std::string unfinished() const = 0;        // at the block's end; empty: nothing
    virtual std::string describe_waited() const = 0;   // for the message of a deadlock
};

struct Block {
    dim3 index, size, grid;
    int threads_in_block = 0, live = 0, arrived = 0, barrier_line = 0;
    uint64_t generation = 0;
    uint64_t voted[2] = {~0ull, ~0ull};  // the last even and the last odd generation in which a thread voted yes
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<Warp> warps;
    SharedMemory shared;
    Mode mode;
    unsigned random = 0;
    const std::function<void()>* body = nullptr;
    const char* kernel = "";
    std::string failure;
    Counts counts;
    RaceCheck* races = nullptr;
    std::unique_ptr<Background> background;  // made when first used
};

// Of this OS thread; `current` is NULL while no kernel runs. Plain pointers, because every access to a
// thread_local with a constructor asks whether it has run.
inline thread_local Block* block = nullptr;
inline thread_local Thread* current = nullptr;

inline std::string text(const char* format, ...) {
    char buffer[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    return buffer;
}

inline std::string place() {
    dim3 b = block->index, t = current->index;
    return text("%s block (%u,%u,%u) thread (%u,%u,%u): ", block->kernel, b.x, b.y, b.z, t.x, t.y, t.z);
}

// Ends the kernel; the thread never goes on.
[[noreturn]] inline void fail(std::string message) {
    if (block->failure.empty()) block->failure = place() + message;
    std::string().swap(message);  // nothing will destroy it
    current->leave(false);
    abort();
}

inline void wait_for_change(const uint64_t* generation, uint64_t seen, const char* where) {
    current->waiting = generation;
    current->seen = seen;
    current->where = where;
    current->leave(false);
}

inline void block_barrier(int line) {
    if (block->live < block->threads_in_block)
        fail(text("__syncthreads at line %d after a thread of the block has returned", line));
    if (block->arrived == 0) block->barrier_line = line;
    if (block->barrier_line != line)
        fail(text("divergent barrier: this thread is at line %d, others wait at line %d", line,
                  block->barrier_line));
    uint64_t generation = block->generation;
    if (++block->arrived == block->live) {
        block->arrived = 0;
        block->generation++;
    } else {
        wait_for_change(&block->generation, generation, "__syncthreads");
    }
}

inline bool block_vote(bool yes, int line) {
    uint64_t generation = block->generation;
    if (yes) block->voted[generation & 1] = generation;
    block_barrier(line);
    return block->voted[generation & 1] == generation;
}

// An operation of a whole warp: the last lane to come does it for all, on what each left on its own stack.
template <class Lane> void collective(const char* operation, Lane& mine, void (*run)(Lane* const*)) {
    Warp& warp = block->warps[current->warp];
    if (warp.live < 32) fail(text("%s by a warp of which %d lanes run", operation, warp.live));
    if (warp.arrived == 0) warp.operation = operation;
    if (warp.operation != operation)
        fail(text("divergent warp: this lane does %s, others wait in %s", operation, warp.operation));
    warp.lanes[current->lane] = &mine;
    uint64_t generation = warp.generation;
    if (++warp.arrived == 32) {
        run(reinterpret_cast<Lane* const*>(warp.lanes));
        block->counts.collectives++;
        warp.arrived = 0;
        warp.generation++;
    } else {
        wait_for_change(&warp.generation, generation, operation);
    }
}

inline void thread_entry() {
    current->arrived();
    (*block->body)();
    Warp& warp = block->warps[current->warp];
    if (warp.arrived) fail(text("returned while other lanes of its warp wait in %s", warp.operation));
    if (block->arrived)
        fail(text("returned while others wait at __syncthreads, line %d", block->barrier_line));
    warp.live--;
    block->live--;
    current->done = true;
    current->leave(true);
}

inline unsigned next_random(unsigned below) {
    block->random = block->random * 1664525u + 1013904223u;
    return (block->random >> 8) % below;
}

inline std::string stuck() {
    std::string message = "deadlock:";
    int shown = 0;
    for (int i = 0; i < block->threads_in_block && shown < 4; i++) {
        const Thread& t = *block->threads[i];
        if (t.done) continue;
        message += text(" thread %u waits in %s;", t.index.x, t.where);
        shown++;
    }
    message += text(" %d of %d threads have not returned", block->live, block->threads_in_block);
    return block->background ? message + block->background->describe_waited() : message;
}

inline void prepare_block(dim3 index, dim3 grid, dim3 size, size_t dynamic_bytes) {
    Block& b = *block;
    b.index = index, b.grid = grid, b.size = size;
    b.threads_in_block = b.live = (int)size.count();
    b.arrived = 0;
    b.failure.clear();
    b.background.reset();
    b.warps.assign((b.live + 31) / 32, Warp());
    while ((int)b.threads.size() < b.live) b.threads.push_back(std::make_unique<Thread>());
    b.shared.begin_block(dynamic_bytes);
    for (int i = 0; i < b.live; i++) {
        Thread& t = *b.threads[i];
        t.index = dim3(i % size.x, i / size.x % size.y, i / size.x / size.y);
        t.lane = i & 31, t.warp = i >> 5;
        t.done = false, t.waiting = nullptr;
        t.open.clear(), t.groups.clear();
        b.warps[t.warp].live++;
        t.prepare(thread_entry, i);
    }
}

// One pass over a warp's lanes; true if any could run.
inline bool run_warp(int warp, const std::vector<int>& order) {
    bool moved = false;
    int end = std::min(block->threads_in_block, warp * 32 + 32);
    for (int k = warp * 32; k < end; k++) {
        Thread& t = *block->threads[order[k]];
        if (t.done || (t.waiting && *t.waiting == t.seen)) continue;
        t.waiting = nullptr;
        moved = true;
        current = &t;
        block->counts.switches++;
        t.enter();
        if (t.done && t.overflowed() && block->failure.empty()) block->failure = place() + "stack overflow";
        current = nullptr;
        if (!block->failure.empty()) throw Error(block->failure);
    }
    return moved;
}

inline std::string of_block() {
    dim3 b = block->index;
    return text("%s block (%u,%u,%u): ", block->kernel, b.x, b.y, b.z);
}

inline void run_block() {
    Block& b = *block;
    int threads = b.threads_in_block, warps = (int)b.warps.size();
    std::vector<int> order(threads), warp_order(warps);
    for (int i = 0; i < threads; i++) order[i] = i;
    for (int i = 0; i < warps; i++) warp_order[i] = i;
    if (b.mode.seed) {
        for (int i = warps - 1; i > 0; i--) std::swap(warp_order[i], warp_order[next_random(i + 1)]);
        for (int i = threads - 1; i > 0; i--)
            std::swap(order[i], order[(i & ~31) + next_random((i & 31) + 1)]);
    }
    while (b.live) {
        bool moved = false;
        for (int w : warp_order) {
            bool again = run_warp(w, order);
            moved |= again;
            while (again && b.mode.greedy) again = run_warp(w, order);
        }
        if (moved) continue;
        std::string wrong;
        if (!b.background || !b.background->advance(&wrong)) wrong = stuck();
        if (!wrong.empty()) throw Error(of_block() + wrong);
    }
    std::string damage = b.shared.damage();
    if (damage.empty() && b.background) damage = b.background->unfinished();
    if (!damage.empty()) throw Error(of_block() + damage);
    b.counts.static_shared = std::max(b.counts.static_shared, b.shared.static_bytes());
    b.counts.blocks++;
}

}  // namespace emu
