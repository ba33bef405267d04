// bf16 and f16: one product of 16-bit elements, summed in float32.
//
// What every arithmetic offers, so that the kernels are written once:
//   Element, PLANES       of its operands; a tile holds the planes side by side
//   DEPTH                 what one product, one step, takes off the depth
//   SCALED                probabilities leave the range of Element unless they are scaled
//   A, B                  a product's operands in registers: 16 rows, 16 columns
//   load_a, load_b        from tiles along whose rows the depth runs, its `step`-th DEPTH
//   load_a_transposed,    from tiles whose rows are the depth
//   load_b_transposed
//   take_a                16 rows from accumulators [columns / 8], whose columns become the depth
//   multiply              adds a product to the accumulators of 16 rows and twice 8 columns
//   store                 two neighbours, the first at an even place
#pragma once
#include "arithmetic/fragments.cuh"

namespace arithmetic {

DEV void mma_of(bf16, float (&acc)[4], const u32 (&a)[4], u32 b0, u32 b1) { mma_bf16(acc, a, b0, b1); }
DEV void mma_of(f16, float (&acc)[4], const u32 (&a)[4], u32 b0, u32 b1) { mma_f16(acc, a, b0, b1); }

template <class T, bool SCALED_> struct SixteenBit {
    using Element = T;
    static constexpr int PLANES = 1, DEPTH = 16;
    static constexpr bool SCALED = SCALED_;
    struct A {
        u32 r[4];
    };
    struct B {
        u32 r[4];
    };

    template <class Tile> static DEV void load_a(A& a, const Tile& tile, int row, int step) {
        load_fragment_a(a.r, tile, row, step * 2);
    }
    template <class Tile> static DEV void load_b(B& b, const Tile& tile, int column, int step) {
        load_fragment_b(b.r, tile, column, step * 2);
    }
    template <class Tile> static DEV void load_a_transposed(A& a, const Tile& tile, int depth, int row) {
        load_fragment_a_transposed(a.r, tile, depth, row / 8);
    }
    template <DepthOrder, class Tile>
    static DEV void load_b_transposed(B& b, const Tile& tile, int depth, int column) {
        load_fragment_b_transposed(b.r, tile, depth, column / 8);
    }
    static DEV void take_a(A& a, const float (*acc)[4], int step) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float(&of)[4] = acc[step * 2 + i / 2];
            a.r[i] = pack<T>(of[i % 2 * 2], of[i % 2 * 2 + 1]);
        }
    }
    static DEV void multiply(float (&left)[4], float (&right)[4], const A& a, const B& b) {
        mma_of(T(), left, a.r, b.r[0], b.r[1]);
        mma_of(T(), right, a.r, b.r[2], b.r[3]);
    }
    static DEV void store(void* const (&planes)[2], i64 at, float x, float y) {
        *reinterpret_cast<u32*>(static_cast<T*>(planes[0]) + at) = pack<T>(x, y);
    }
};

using Bf16 = SixteenBit<bf16, false>;
using F16 = SixteenBit<f16, true>;

}  // namespace arithmetic
