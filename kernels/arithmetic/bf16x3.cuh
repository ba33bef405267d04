// float32 by three products of bf16: x = high + low, each the nearest bf16 to what is left, and
//   x y = high high + high low + low high, the fourth product being below 2^-16 of the first.
// An infinite element has no low part, so it comes out as NaN.
#pragma once
#include "arithmetic/sixteen_bit.cuh"

namespace arithmetic {

struct Bf16x3 {
    using Element = bf16;
    static constexpr int PLANES = 2, DEPTH = 16;
    static constexpr bool SCALED = false;
    struct A {
        u32 high[4], low[4];
    };
    struct B {
        u32 high[4], low[4];
    };

    template <class Tile> static DEV void load_a(A& a, const Tile& tile, int row, int step) {
        load_fragment_a(a.high, tile, row, step * 2);
        load_fragment_a(a.low, tile, row, step * 2 + Tile::CHUNKS / 2);
    }
    template <class Tile> static DEV void load_b(B& b, const Tile& tile, int column, int step) {
        load_fragment_b(b.high, tile, column, step * 2);
        load_fragment_b(b.low, tile, column, step * 2 + Tile::CHUNKS / 2);
    }
    template <class Tile> static DEV void load_a_transposed(A& a, const Tile& tile, int depth, int row) {
        load_fragment_a_transposed(a.high, tile, depth, row / 8);
        load_fragment_a_transposed(a.low, tile, depth, row / 8 + Tile::CHUNKS / 2);
    }
    template <DepthOrder, class Tile>
    static DEV void load_b_transposed(B& b, const Tile& tile, int depth, int column) {
        load_fragment_b_transposed(b.high, tile, depth, column / 8);
        load_fragment_b_transposed(b.low, tile, depth, column / 8 + Tile::CHUNKS / 2);
    }
    static DEV void take_a(A& a, const float (*acc)[4], int step) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float(&of)[4] = acc[step * 2 + i / 2];
            split(a.high[i], a.low[i], of[i % 2 * 2], of[i % 2 * 2 + 1]);
        }
    }
    // The small products first: together they are still of use to the large one.
    static DEV void multiply(float (&left)[4], float (&right)[4], const A& a, const B& b) {
        mma_bf16(left, a.low, b.high[0], b.high[1]);
        mma_bf16(right, a.low, b.high[2], b.high[3]);
        mma_bf16(left, a.high, b.low[0], b.low[1]);
        mma_bf16(right, a.high, b.low[2], b.low[3]);
        mma_bf16(left, a.high, b.high[0], b.high[1]);
        mma_bf16(right, a.high, b.high[2], b.high[3]);
    }
    static DEV void store(void* const (&planes)[2], i64 at, float x, float y) {
        u32 high, low;
        split(high, low, x, y);
        *reinterpret_cast<u32*>(static_cast<bf16*>(planes[0]) + at) = high;
        *reinterpret_cast<u32*>(static_cast<bf16*>(planes[1]) + at) = low;
    }

private:
    static DEV void split(u32& high, u32& low, float x, float y) {
        high = pack_bf16(x, y);
        float2 kept = unpack<bf16>(high);
        low = pack_bf16(x - kept.x, y - kept.y);
    }
};

}  // namespace arithmetic
