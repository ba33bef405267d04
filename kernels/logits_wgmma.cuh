// logits.cuh for compute capability 9.0: a warp copies slabs of depth into a ring, two warpgroups with 64 rows each
// multiply by wgmma. A warpgroup has whole rows of the tile, so the parts of a row need not be joined.
#pragma once
#include "logits.cuh"
#include "tile_ring.cuh"

// COLS / 2 registers of a lane hold products.
struct LogitsWgmmaShape : WgmmaGroups<2> {
    static constexpr int COLS = 256, STAGES = 4, SLAB = 64;
};

// Behind the slabs: the columns' numbers of every tile that may be in use, and two sets of sums for every column
// and warp.
struct LogitsWgmmaMemory {
    using Shape = LogitsWgmmaShape;
    using Q = Panels<Shape::ROWS, Shape::SLAB>;
    using K = Panels<Shape::COLS, Shape::SLAB>;
    using Ring = RingBarriers<Shape::STAGES, Shape::GROUPS>;
    static constexpr int STAGES = Shape::STAGES, SLABS = STAGES * (Q::BYTES + K::BYTES);
    // One tile on its way while as many as there are slabs are in use, where a tile has one slab.
    static constexpr int TILES = STAGES + 1, WARPS = Shape::GROUPS * 4, ROW = Shape::COLS * (int)sizeof(float);
    static constexpr int BYTES = SLABS + (TILES + 2 * WARPS) * ROW + Ring::BYTES;
    u8* base;

    DEV Q q(int step) const { return Q{base + step % STAGES * (Q::BYTES + K::BYTES)}; }
    DEV K k(int step) const { return K{q(step).base + Q::BYTES}; }
    DEV float* add(int tile) const { return reinterpret_cast<float*>(base + SLABS + tile % TILES * ROW); }
    DEV float* sums(int tile) const {
        return reinterpret_cast<float*>(base + SLABS + (TILES + tile % 2 * WARPS) * ROW);
    }
    DEV Ring ring() const { return Ring{reinterpret_cast<Barrier*>(base + SLABS + (TILES + 2 * WARPS) * ROW)}; }
};

// A warp: slab after slab of every tile as places become free; a tile's numbers with its first slab.
DEV void produce_slabs(const LogitsWgmmaArgs& args, const LogitsWgmmaMemory& memory, const ColumnRange& range,
                       int slabs) {
    using Memory = LogitsWgmmaMemory;
    constexpr int SLAB = Memory::Shape::SLAB;
    Memory::Ring ring = memory.ring();
    int step = 0;
    for (int tile = 0; tile < range.tiles; tile++) {
        int col = range.first + tile * Memory::Shape::COLS;
        for (int slab = 0; slab < slabs; slab++, step++) {
            ring.wait_for_room(step);
            if (elected()) {
                barrier_arrive_expect(ring.full(step), Memory::Q::BYTES + Memory::K::BYTES);
                memory.q(step).copy(&args.q, ring.full(step), slab * SLAB, blockIdx.x * Memory::Shape::ROWS);
                memory.k(step).copy(&args.k, ring.full(step), slab * SLAB, col);
            }
#pragma unroll
            for (int c = lane_id(); slab == 0 && c < Memory::Shape::COLS; c += 32)
                memory.add(tile)[c] = col + c < range.end ? args.logits.col_add[col + c] : -infinity();
            barrier_arrive(ring.full(step));
        }
    }
}

// Sums of a tile's rows, in a fixed order: in a lane, in the warp, from warp to warp downwards. The other set of
// `sums` serves the next tile, so one barrier is enough.
template <int WIDE>
DEV void store_col_sums_of_groups(const LogitsArgs& args, const float (&p)[1][WIDE][4], float* sums, int col) {
    constexpr int COLS = LogitsWgmmaShape::COLS, WARPS = LogitsWgmmaMemory::WARPS, ALL = 1;
    if (!args.col_sums) return;
    int warp = warp_id() - 4, c = threadIdx.x - 128;
#pragma unroll
    for (int n = 0; n < WIDE; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float sum = column_sum(p[0][n][i] + p[0][n][2 + i]);
            if (lane_id() < 4) sums[warp * COLS + lane_col(n) + i] = sum;
        }
    named_sync(ALL, WARPS * 32);
    static_assert(COLS == WARPS * 32, "a column for each thread");
    if (col + c >= args.cols) return;
    float sum = sums[c];
    for (int w = 1; w < WARPS; w++) sum += sums[w * COLS + c];
    args.col_sums[(i64)blockIdx.x * args.cols + col + c] = sum;
}

// 64 rows: a warpgroup.
template <class Arithmetic, LogitsMode MODE>
DEV void consume_slabs(const LogitsArgs& args, const LogitsWgmmaMemory& memory, const ColumnRange& range, int slabs,
                       int group) {
    using Memory = LogitsWgmmaMemory;
    using Product = Wgmma<typename Arithmetic::Element, Memory::Shape::COLS>;
    constexpr int COLS = Memory::Shape::COLS;
    Memory::Ring ring = memory.ring();
    int row = blockIdx.x * Memory::Shape::ROWS + group * 64 + (warp_id() & 3) * 16;
    OnlineSoftmax<1> softmax;
    KnownRows<1> known;
    ShiftedRows<1> shifted;
    if (MODE == PROBABILITIES) known.read(args, row);
    if (MODE == EXPONENTIALS) shifted.read(args, row);
    HitCursors<1> cursors;
    cursors.begin(args.hits, row, args.rows, range.first);

    int step = 0;
    for (int tile = 0; tile < range.tiles; tile++) {
        float z[1][COLS / 8][4];
        for (int slab = 0; slab < slabs; slab++, step++) {
            ring.wait_for_tile(step);
            wgmma_fence();
#pragma unroll
            for (int k = 0; k < Memory::Shape::SLAB / 16; k++)
                Product::template shared<MAJOR_DEPTH>(z[0], memory.q(step).by_rows(group * 64, k),
                                                      memory.k(step).by_rows(0, k), slab + k > 0);
            wgmma_commit();
            wgmma_wait<1>();
            if (slab > 0) ring.give_up(step - 1);
        }
        wgmma_wait<0>();
        ring.give_up(step - 1);
        pin(z[0]);

        int col = range.first + tile * COLS;
        to_logits(z, memory.add(tile));
        if (MODE == PROBABILITIES) {
            known.apply(z);
            cursors.cross_out(z, args.hits, row, col, col + COLS, 0.f);
            store_probabilities<Arithmetic>(args, z, row, col);
            store_col_sums_of_groups(args, z, memory.sums(tile), col);
        } else {
            float rescale[1][2];
            cursors.cross_out(z, args.hits, row, col, col + COLS, -infinity());
            softmax.take(z, rescale);
            if (MODE == EXPONENTIALS) {
                shifted.apply(z, softmax);
                store_probabilities<Arithmetic>(args, z, row, col);
            }
        }
    }
    if (MODE == PROBABILITIES) return;
    softmax.finish();
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int r = row + lane_row(0, half);
        if ((lane_id() & 3) == 0 && r < args.rows)
            args.partial[(i64)blockIdx.y * args.rows + r] = float2{softmax.max[0][half], softmax.sum[0][half]};
    }
}

template <class Arithmetic, LogitsMode MODE> DEV void logits_wgmma(const LogitsWgmmaArgs& args) {
    using Shape = LogitsWgmmaShape;
    DYN_SMEM_1024(u8, shared);
    LogitsWgmmaMemory memory{shared};
    if (MODE == PROBABILITIES && !is_wanted(args.logits, blockIdx.x * Shape::ROWS, Shape::ROWS)) return;
    ColumnRange range = column_range(args.logits.cols, args.logits.cols_per_split, Shape::COLS);
    int slabs = (args.logits.dim + Shape::SLAB - 1) / Shape::SLAB;
    if (threadIdx.x == 0) {
        memory.ring().init();
        fence_barrier_init();
    }
    __syncthreads();
    Shape::run([&] { produce_slabs(args, memory, range, slabs); },
               [&](int group) { consume_slabs<Arithmetic, MODE>(args.logits, memory, range, slabs, group); });
}

#define INSTANTIATE_logits_wgmma(A, MODE)                                                                 \
    ENTRY(logits_wgmma_##A##_##MODE, LogitsWgmmaArgs, (LogitsWgmmaShape::THREADS), 1,                     \
          logits_wgmma<arithmetic::A, MODE>(args))
