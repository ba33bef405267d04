// attend.cuh for compute capability 9.0: a warp copies tiles of k into a ring, two warpgroups with 64 rows each
// multiply by wgmma. The same tile is the operand of both products, by its rows and by its columns.
//
// A warpgroup starts the second product of a tile and the first of the next together, and takes exponentials while
// the other's products run: they take turns (TURN).
#pragma once
#include "attend.cuh"
#include "tile_ring.cuh"

// COLS * DIM is what fits in registers: DIM / 2 for a lane's part of `out`, COLS / 2 for products, COLS / 4 for
// probabilities.
template <int DIM> struct AttendWgmmaShape : WgmmaGroups<2> {
    static constexpr int COLS = DIM == 256 ? 64 : 128, STAGES = DIM == 256 ? 3 : 4;
};

template <int DIM> struct AttendWgmmaMemory {
    using Shape = AttendWgmmaShape<DIM>;
    using Q = Panels<Shape::ROWS, DIM>;
    using K = Panels<Shape::COLS, DIM>;
    static constexpr int NUMBERS = Shape::COLS * 2 * (int)sizeof(float), STAGES = Shape::STAGES;
    using Ring = RingBarriers<STAGES, Shape::GROUPS>;
    static constexpr int BYTES = Q::BYTES + STAGES * (K::BYTES + NUMBERS) + (int)sizeof(Barrier) + Ring::BYTES;
    u8* base;

    DEV Q q() const { return Q{base}; }
    DEV K k(int tile) const { return K{base + Q::BYTES + tile % STAGES * K::BYTES}; }
    DEV float* add(int tile) const {
        return reinterpret_cast<float*>(base + Q::BYTES + STAGES * K::BYTES + tile % STAGES * NUMBERS);
    }
    DEV float* factor(int tile) const { return add(tile) + Shape::COLS; }

    DEV Barrier* has_q() const {
        return reinterpret_cast<Barrier*>(base + Q::BYTES + STAGES * (K::BYTES + NUMBERS));
    }
    DEV Ring ring() const { return Ring{has_q() + 1}; }

    // One thread.
    DEV void begin() const {
        barrier_init(has_q(), 1);
        ring().init();
        fence_barrier_init();
    }
};

// A warp: q once, and tile after tile of k with its columns' numbers as places become free.
template <int DIM, AttendMode MODE>
DEV void produce(const AttendWgmmaArgs& args, const AttendWgmmaMemory<DIM>& memory, const ColumnRange& range) {
    using Memory = AttendWgmmaMemory<DIM>;
    constexpr int COLS = Memory::Shape::COLS;
    typename Memory::Ring ring = memory.ring();
    float scale = args.attend.scale ? *args.attend.scale : 1.f;
    if (range.tiles > 0 && elected()) {
        barrier_arrive_expect(memory.has_q(), Memory::Q::BYTES);
        memory.q().copy(&args.q, memory.has_q(), 0, blockIdx.x * Memory::Shape::ROWS);
    }
    for (int tile = 0; tile < range.tiles; tile++) {
        ring.wait_for_room(tile);
        int col = range.first + tile * COLS;
        if (elected()) {
            barrier_arrive_expect(ring.full(tile), Memory::K::BYTES);
            memory.k(tile).copy(&args.k, ring.full(tile), 0, col);
        }
#pragma unroll
        for (int c = lane_id(); c < COLS; c += 32) {
            ColumnNumbers numbers = numbers_of<MODE>(args.attend, (i64)col + c, range.end, scale);
            memory.add(tile)[c] = numbers.add;
            memory.factor(tile)[c] = numbers.factor;
        }
        barrier_arrive(ring.full(tile));
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
    typename Memory::Ring ring = memory.ring();

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
        ring.wait_for_tile(0);
        wgmma_fence();
        start_products_with_rows(0);
        wgmma_wait<0>();
        pin(z[0]);
        for (int tile = 0; tile < last; tile++) {
            take_probabilities(tile);
            ring.wait_for_tile(tile + 1);
            named_sync(TURN + group, BOTH);
            start_products_with_columns(tile);
            start_products_with_rows(tile + 1);
            if (group == 0 || tile + 1 < last) named_arrive(TURN + 1 - group, BOTH);
            wgmma_wait<1>();
            ring.give_up(tile);
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
    ColumnRange range = column_range(args.attend.cols, args.attend.cols_per_split, Memory::Shape::COLS);
    if (threadIdx.x == 0) memory.begin();
    __syncthreads();
    Memory::Shape::run([&] { produce<DIM, MODE>(args, memory, range); },
                       [&](int group) { consume<Arithmetic, DIM, MODE>(args.attend, memory, range, group); });
}

#define INSTANTIATE_attend_wgmma(A, DIM, MODE)                                                            \
    ENTRY(attend_wgmma_##A##_##DIM##_##MODE, AttendWgmmaArgs, (AttendWgmmaShape<DIM>::THREADS), 1,        \
          attend_wgmma<arithmetic::A, DIM, MODE>(args))
