// attend.cuh for compute capability 9.0: a warp copies tiles of k into a ring, two warpgroups with 64 rows each
// multiply by wgmma. The same tile is the operand of both products, by its rows and by its columns.
//
// A warpgroup starts the second product of a tile and the first of the next together, and takes exponentials while
// the other's products run: they take turns (TURN).
#pragma once
#include "attend.cuh"
#include "hopper.cuh"

// COLS * DIM is what fits in registers: DIM / 2 for a lane's part of `out`, COLS / 2 for products, COLS / 4 for
// probabilities.
template <int DIM> struct AttendWgmmaShape {
    static constexpr int GROUPS = 2, ROWS = GROUPS * 64, COLS = DIM == 256 ? 64 : 128, STAGES = DIM == 256 ? 3 : 4;
    static constexpr int THREADS = (1 + GROUPS) * 128;
    static constexpr int PRODUCER_REGISTERS = 40, CONSUMER_REGISTERS = 232;
};

template <int DIM> struct AttendWgmmaMemory {
    using Shape = AttendWgmmaShape<DIM>;
    using Q = Panels<Shape::ROWS, DIM>;
    using K = Panels<Shape::COLS, DIM>;
    static constexpr int NUMBERS = Shape::COLS * 2 * (int)sizeof(float), STAGES = Shape::STAGES;
    static constexpr int BYTES = Q::BYTES + STAGES * (K::BYTES + NUMBERS) + (1 + 2 * STAGES) * (int)sizeof(Barrier);
    u8* base;

    DEV Q q() const { return Q{base}; }
    DEV K k(int tile) const { return K{base + Q::BYTES + tile % STAGES * K::BYTES}; }
    DEV float* add(int tile) const {
        return reinterpret_cast<float*>(base + Q::BYTES + STAGES * K::BYTES + tile % STAGES * NUMBERS);
    }
    DEV float* factor(int tile) const { return add(tile) + Shape::COLS; }

    DEV Barrier* barriers() const {
        return reinterpret_cast<Barrier*>(base + Q::BYTES + STAGES * (K::BYTES + NUMBERS));
    }
    DEV Barrier* has_q() const { return barriers(); }
    DEV Barrier* full(int tile) const { return barriers() + 1 + tile % STAGES; }
    DEV Barrier* empty(int tile) const { return barriers() + 1 + STAGES + tile % STAGES; }
    // Of the phase of `full` that brings a tile, and of that of `empty` after which its place is free.
    static DEV int parity(int tile) { return tile / STAGES & 1; }

    // One thread.
    DEV void begin() const {
        barrier_init(has_q(), 1);
        for (int stage = 0; stage < STAGES; stage++) {
            barrier_init(full(stage), 1 + 32);
            barrier_init(empty(stage), Shape::GROUPS * 4);
        }
        fence_barrier_init();
    }
};

// The columns of a block: `tiles` of them from `first` to `end`.
struct ColumnRange {
    int first, end, tiles;
};

// A warp: q once, and tile after tile of k with its columns' numbers as places become free.
template <int DIM, AttendMode MODE>
DEV void produce(const AttendWgmmaArgs& args, const AttendWgmmaMemory<DIM>& memory, const ColumnRange& range) {
    using Memory = AttendWgmmaMemory<DIM>;
    constexpr int COLS = Memory::Shape::COLS, STAGES = Memory::STAGES;
    float scale = args.attend.scale ? *args.attend.scale : 1.f;
    if (range.tiles > 0 && elected()) {
        barrier_arrive_expect(memory.has_q(), Memory::Q::BYTES);
        memory.q().copy(&args.q, memory.has_q(), 0, blockIdx.x * Memory::Shape::ROWS);
    }
    for (int tile = 0; tile < range.tiles; tile++) {
        if (tile >= STAGES) barrier_wait(memory.empty(tile), memory.parity(tile - STAGES));
        int col = range.first + tile * COLS;
        if (elected()) {
            barrier_arrive_expect(memory.full(tile), Memory::K::BYTES);
            memory.k(tile).copy(&args.k, memory.full(tile), 0, col);
        }
#pragma unroll
        for (int c = lane_id(); c < COLS; c += 32) {
            ColumnNumbers numbers = numbers_of<MODE>(args.attend, (i64)col + c, range.end, scale);
            memory.add(tile)[c] = numbers.add;
            memory.factor(tile)[c] = numbers.factor;
        }
        barrier_arrive(memory.full(tile));
    }
}

// 64 rows: a warpgroup.
template <class Arithmetic, int DIM, AttendMode MODE>
DEV void consume(const AttendArgs& args, const AttendWgmmaMemory<DIM>& memory, const ColumnRange& range, int group) {
    using Memory = AttendWgmmaMemory<DIM>;
    using Element = typename Arithmetic::Element;
    constexpr int COLS = Memory::Shape::COLS, TURN = 1, BOTH = 256;
    int row = blockIdx.x * Memory::Shape::ROWS + group * 64 + (warp_id() & 3) * 16;
    AttendRows<MODE, 1> rows;
    rows.begin(args, row, range.first);
    float out[1][DIM / 8][4], z[1][COLS / 8][4];
    u32 p[COLS / 16][4];
    clear(out);

    auto start_products_with_rows = [&](int tile) {
#pragma unroll
        for (int step = 0; step < DIM / 16; step++)
            Wgmma<Element, COLS>::template shared<MAJOR_DEPTH>(z[0], memory.q().by_rows(group * 64, step),
                                                               memory.k(tile).by_rows(0, step), step > 0);
        wgmma_commit();
    };
    auto start_products_with_columns = [&](int tile) {
        pin(out[0]);
        pin(p);
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < COLS / 16; step++)
            Wgmma<Element, DIM>::template registers<MAJOR_ACROSS>(out[0], p[step], memory.k(tile).by_columns(step), 1);
        wgmma_commit();
    };
    auto take_probabilities = [&](int tile) {
        rows.template take<Arithmetic>(args, z, out, row, range.first + tile * COLS, memory.add(tile),
                                       memory.factor(tile));
#pragma unroll
        for (int step = 0; step < COLS / 16; step++) {
            typename Arithmetic::A left;
            Arithmetic::take_a(left, z[0], step);
#pragma unroll
            for (int i = 0; i < 4; i++) p[step][i] = left.r[i];
        }
    };

    if (range.tiles > 0) {
        int last = range.tiles - 1;
        if (group == 1 && last > 0) named_arrive(TURN, BOTH);  // the other's turn comes first
        barrier_wait(memory.has_q(), 0);
        barrier_wait(memory.full(0), 0);
        wgmma_fence();
        start_products_with_rows(0);
        wgmma_wait<0>();
        pin(z[0]);
        for (int tile = 0; tile < last; tile++) {
            take_probabilities(tile);
            barrier_wait(memory.full(tile + 1), memory.parity(tile + 1));
            named_sync(TURN + group, BOTH);
            start_products_with_columns(tile);
            start_products_with_rows(tile + 1);
            if (group == 0 || tile + 1 < last) named_arrive(TURN + 1 - group, BOTH);
            wgmma_wait<1>();
            __syncwarp();  // all lanes have read their numbers, too
            if (lane_id() == 0) barrier_arrive(memory.empty(tile));
            wgmma_wait<0>();
            pin(out[0]);
            pin(z[0]);
        }
        take_probabilities(last);
        start_products_with_columns(last);
        wgmma_wait<0>();
        pin(out[0]);
    }
    rows.template store<Arithmetic>(args, out, row);
}

template <class Arithmetic, int DIM, AttendMode MODE> DEV void attend_wgmma(const AttendWgmmaArgs& args) {
    using Memory = AttendWgmmaMemory<DIM>;
    DYN_SMEM_1024(u8, shared);
    Memory memory{shared};
    i64 cols = args.attend.cols, first = min((i64)blockIdx.y * args.attend.cols_per_split, cols);
    i64 end = min(first + args.attend.cols_per_split, cols);
    ColumnRange range = {(int)first, (int)end, (int)((end - first + Memory::Shape::COLS - 1) / Memory::Shape::COLS)};
    if (threadIdx.x == 0) memory.begin();
    __syncthreads();
    if (warpgroup_id() == 0) {
        give_registers<Memory::Shape::PRODUCER_REGISTERS>();
        if (warp_id() == 0) produce<DIM, MODE>(args, memory, range);
    } else {
        take_registers<Memory::Shape::CONSUMER_REGISTERS>();
        consume<Arithmetic, DIM, MODE>(args.attend, memory, range, warpgroup_id() - 1);
    }
}

#define INSTANTIATE_attend_wgmma(A, DIM, MODE)                                                            \
    ENTRY(attend_wgmma_##A##_##DIM##_##MODE, AttendWgmmaArgs, (AttendWgmmaShape<DIM>::THREADS), 1,        \
          attend_wgmma<arithmetic::A, DIM, MODE>(args))
