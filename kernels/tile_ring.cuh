// What the wgmma kernels have in common: places in shared memory that one warp fills with copied tiles and two
// warpgroups empty, in turn, and the division of a block into the two kinds.
#pragma once
#include "hopper.cuh"

// The barriers of a ring of STAGES places: `full` when a tile and what the producer's lanes add to it are there,
// `empty` when every warp that multiplies is done with it. Steps count the tiles.
template <int STAGES, int GROUPS> struct RingBarriers {
    static constexpr int BYTES = 2 * STAGES * (int)sizeof(Barrier);
    Barrier* base;

    DEV Barrier* full(int step) const { return base + step % STAGES; }
    DEV Barrier* empty(int step) const { return base + STAGES + step % STAGES; }

    // One thread, then fence_barrier_init.
    DEV void init() const {
        for (int stage = 0; stage < STAGES; stage++) {
            barrier_init(full(stage), 1 + 32);
            barrier_init(empty(stage), GROUPS * 4);
        }
    }
    // The producer, a whole warp.
    DEV void wait_for_room(int step) const {
        if (step >= STAGES) barrier_wait(empty(step), (step / STAGES - 1) & 1);
    }
    DEV void wait_for_tile(int step) const { barrier_wait(full(step), step / STAGES & 1); }
    // A warp whose products with the tile are done.
    DEV void give_up(int step) const {
        __syncwarp();  // all lanes have read what belongs to it, too
        if (lane_id() == 0) barrier_arrive(empty(step));
    }
};

// One warpgroup of which one warp produces, and GROUPS of 64 rows each that multiply.
template <int GROUPS_> struct WgmmaGroups {
    static constexpr int GROUPS = GROUPS_, ROWS = GROUPS * 64, THREADS = (1 + GROUPS) * 128;
    // Of the 168 registers that each of 384 threads begins with.
    static constexpr int PRODUCER_REGISTERS = 40, CONSUMER_REGISTERS = 232;

    template <class Produce, class Consume> static DEV void run(Produce produce, Consume consume) {
        if (warpgroup_id() == 0) {
            give_registers<PRODUCER_REGISTERS>();
            if (warp_id() == 0) produce();
        } else {
            take_registers<CONSUMER_REGISTERS>();
            consume(warpgroup_id() - 1);
        }
    }
};

// The columns of a block: `tiles` tiles from `first` to `end`.
struct ColumnRange {
    int first, end, tiles;
};
DEV ColumnRange column_range(int cols, int cols_per_split, int tile_cols) {
    i64 first = min((i64)blockIdx.y * cols_per_split, (i64)cols), end = min(first + cols_per_split, (i64)cols);
    return {(int)first, (int)end, (int)((end - first + tile_cols - 1) / tile_cols)};
}
