// Order of what goes through shared memory by copy16 and is read by ldmatrix, judged by barriers alone and so
// independent of the order in which threads happened to run: a chunk of 16 bytes may be read by another
// thread only if a barrier lies between the writer's copy_wait and the read, and filled anew only if one lies
// between the last read and the new copy. Plain loads and stores are not seen; the seeded orders are there
// for those.
#pragma once
#include <unordered_map>

#include "block.h"

namespace emu {

class RaceCheck {
public:
    void begin_block() { chunks_.clear(); }

    void issue(const void* to) {
        Chunk& c = at(to);
        if (c.reader >= 0 && c.read == block->generation && c.reader != self())
            fail("race: copy16 fills what another thread reads, with no barrier between; " + describe(to));
        if (c.pending) fail("race: copy16 into a place where a copy has not landed; " + describe(to));
        c.writer = self(), c.pending = true;
    }
    void landed(const void* to) {
        Chunk& c = at(to);
        c.pending = false, c.written = block->generation;
    }
    void read(const void* from) {
        Chunk& c = at(from);
        if (c.pending) fail("race: ldmatrix reads before the copy is waited for; " + describe(from));
        if (c.writer >= 0 && c.writer != self() && c.written == block->generation)
            fail("race: ldmatrix reads another thread's copy, with no barrier between; " + describe(from));
        if (c.reader >= 0 && c.read == block->generation && c.reader != self()) c.reader = SEVERAL;
        else c.reader = self();
        c.read = block->generation;
    }
    // A warp that only exchanges within itself may order by __syncwarp: its own chunks are then settled.
    void warp_barrier() {
        for (auto& [place, c] : chunks_) {
            (void)place;
            if (!c.pending && c.writer >= 0 && c.writer / 32 == self() / 32) c.writer = -1;
            if (c.reader >= 0 && c.reader / 32 == self() / 32) c.reader = -1;
        }
    }

private:
    static constexpr int SEVERAL = 1 << 20;
    struct Chunk {
        int writer = -1, reader = -1;
        bool pending = false;
        uint64_t written = 0, read = 0;
    };
    static int self() { return current->warp * 32 + current->lane; }
    std::string describe(const void* p) const { return block->shared.describe(p); }
    Chunk& at(const void* p) { return chunks_[reinterpret_cast<uintptr_t>(p) / 16]; }

    std::unordered_map<uintptr_t, Chunk> chunks_;
};

}  // namespace emu
