// What the warps of a block know of one another, for operations that only barriers order: a clock for each warp, which
// counts what it has made known, and for each thread the clocks as far as it has heard of them.
//
// A thread hears through mbarriers, named barriers and __syncthreads. Lanes of one warp count as one.
#pragma once
#include <array>

#include "block.h"

namespace emu {

// Ends the kernel as `fail` does, once the frames up to `with_hopper` (hopper.h) have freed what they hold: those of a
// thread that fails are never left.
[[noreturn]] inline void refuse(const std::string& message) { throw Error(message); }

constexpr int MOST_WARPS = 32;
using Clocks = std::array<uint32_t, MOST_WARPS>;

inline void merge_clocks(Clocks& into, const Clocks& from) {
    for (int w = 0; w < MOST_WARPS; w++) into[w] = std::max(into[w], from[w]);
}

// Something that a warp did.
struct Event {
    int warp = -1;
    uint32_t clock = 0;
    uint64_t generation = 0;  // of __syncthreads
};

class Knowledge {
public:
    void begin_block(int threads) {
        now_.fill(1);
        heard_.assign(threads, Clocks{});
    }
    Event event() const { return {current->warp, now_[current->warp], block->generation}; }
    bool is_known(const Event& event) const {
        if (event.warp < 0 || event.warp == current->warp || event.generation < block->generation) return true;
        return heard()[event.warp] > event.clock;
    }
    // All that this thread has done and heard of, for whoever waits.
    void tell(Clocks& gathered) {
        now_[current->warp]++;
        merge_clocks(gathered, heard());
        gathered[current->warp] = now_[current->warp];
    }
    void hear(const Clocks& told) { merge_clocks(heard(), told); }

private:
    Clocks& heard() { return heard_[current->warp * 32 + current->lane]; }
    const Clocks& heard() const { return heard_[current->warp * 32 + current->lane]; }

    Clocks now_{};
    std::vector<Clocks> heard_;
};

}  // namespace emu
