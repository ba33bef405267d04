// Plain matrix products in float32 sums, for gradients from stored probabilities: P . columns and
// P^T . inputs. Semantics: ProductArgs.
#pragma once
#include "multiply.cuh"

enum ProductMode { PLAIN, TRANSPOSED };

// A slab of depth: of `a` ROWS rows of 128 bytes, or as many rows as that is elements; of `b`
// always the latter.
template <class Arithmetic, ProductMode MODE> struct ProductMemory {
    using Shape = SlabShape<Arithmetic>;
    static constexpr int ELEMENT_BYTES = (int)sizeof(typename Arithmetic::Element) * Arithmetic::PLANES;
    static constexpr int SLAB = SLAB_BYTES / ELEMENT_BYTES;
    static constexpr int ROWS_A = MODE == PLAIN ? Shape::ROWS : SLAB;
    static constexpr int LENGTH_A = MODE == PLAIN ? SLAB : Shape::ROWS;
    using A = Tile<ROWS_A, LENGTH_A * ELEMENT_BYTES / 16>;
    using B = Tile<SLAB, Shape::COLS * ELEMENT_BYTES / 16>;
    using Slabs = SlabRing<A, B, Shape::STAGES>;
};

template <class Arithmetic, ProductMode MODE> DEV void product(const ProductArgs& args) {
    using Memory = ProductMemory<Arithmetic, MODE>;
    using Shape = typename Memory::Shape;
    using B = typename Memory::B;
    constexpr int HIGH = Shape::HIGH, WIDE = Shape::WIDE, THREADS = Shape::THREADS, SLAB = Memory::SLAB;
    constexpr int DEPTH = Arithmetic::DEPTH, COPIES_B = B::ROWS * B::CHUNKS / THREADS;
    // Chunks of a plane that a tile is long, in the direction of its operand's rows.
    constexpr int CHUNKS_A = Memory::A::CHUNKS / Arithmetic::PLANES;
    constexpr int CHUNKS_B = B::CHUNKS / Arithmetic::PLANES;
    DYN_SMEM(u8, shared);
    typename Memory::Slabs slabs{shared};

    int steps = (int)(((i64)args.depth + SLAB - 1) / SLAB);
    int row_chunks = chunks_of<Arithmetic>(args.rows), depth_chunks = chunks_of<Arithmetic>(args.depth);
    int dim_chunks = chunks_of<Arithmetic>(args.dim);

    // The factors of the rows of b that this thread copies, one slab ahead of their use.
    float factors[COPIES_B];
    auto fetch_factors = [&](int step) {
#pragma unroll
        for (int i = 0; i < COPIES_B; i++) {
            i64 k = (i64)step * SLAB + (threadIdx.x + i * THREADS) / B::CHUNKS;
            factors[i] = args.depth_factor && k < args.depth ? args.depth_factor[k] : 1.f;
        }
    };
    auto load = [&](int step) {
        if (step < steps) {
            Window plain = {(int)blockIdx.x * Shape::ROWS, args.rows, step * CHUNKS_A, depth_chunks};
            Window transposed = {step * SLAB, args.depth, (int)blockIdx.x * CHUNKS_A, row_chunks};
            Window of_b = {step * SLAB, args.depth, (int)blockIdx.y * CHUNKS_B, dim_chunks};
            Window of_a = MODE == PLAIN ? plain : transposed;
            load_tile<Arithmetic, THREADS>(slabs.a(step), args.a, of_a, EveryRow());
            u32 wanted = 0;
#pragma unroll
            for (int i = 0; i < COPIES_B; i++) wanted |= (u32)(factors[i] != 0.f) << i;
            load_tile<Arithmetic, THREADS>(slabs.b(step), args.b, of_b,
                                           [&](int i, int) { return wanted >> i & 1; });
        }
        copy_commit();
    };

    for (int step = 0; step < Shape::STAGES - 1; step++) {
        fetch_factors(step);
        load(step);
    }
    fetch_factors(Shape::STAGES - 1);
    float out[HIGH][WIDE][4];
    clear(out);
    for (int step = 0; step < steps; step++) {
        copy_wait<Shape::STAGES - 2>();
        // The slab is there for all, and all have done with the one that is now overwritten.
        __syncthreads();
        load(step + Shape::STAGES - 1);
        fetch_factors(step + Shape::STAGES);
#pragma unroll
        for (int k = 0; k < SLAB / DEPTH; k++) {
            typename Arithmetic::A left[HIGH];
#pragma unroll
            for (int m = 0; m < HIGH; m++) {
                int row = Shape::first_row() + m * 16;
                if (MODE == PLAIN) Arithmetic::load_a(left[m], slabs.a(step), row, k);
                else Arithmetic::load_a_transposed(left[m], slabs.a(step), k * DEPTH, row);
            }
            multiply_by_columns<Arithmetic, STORED>(out, left, slabs.b(step), k * DEPTH, Shape::first_col());
        }
    }
    copy_wait<0>();

#pragma unroll
    for (int m = 0; m < HIGH; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = blockIdx.x * Shape::ROWS + Shape::first_row() + lane_row(m, half);
            if (row >= args.rows) continue;
#pragma unroll
            for (int n = 0; n < WIDE; n++) {
                int column = blockIdx.y * Shape::COLS + Shape::first_col() + lane_col(n);
                if (column >= args.dim) continue;
                float* to = args.out + (i64)row * args.dim + column;
                float2 sum = {out[m][n][half * 2], out[m][n][half * 2 + 1]};
                if (args.accumulate) {
                    float2 before = load_vector<float2>(to);
                    sum = {before.x + sum.x, before.y + sum.y};
                }
                store_vector(to, sum);
            }
        }
}

#define INSTANTIATE_product(A, MODE)                                                                      \
    ENTRY(product_##A##_##MODE, ProductArgs, (SlabShape<arithmetic::A>::THREADS),                         \
          (SlabShape<arithmetic::A>::BLOCKS), product<arithmetic::A, MODE>(args))
