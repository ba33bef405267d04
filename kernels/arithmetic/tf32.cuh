// float32 by tensor cores that keep 11 significant bits of it. Elements are rounded as they are
// loaded. There is no transposing load of 32-bit elements: single words take its place.
//
// A product's depth is 8, and lane t of four holds of `a` its places t and t + 4, of accumulators
// the columns 2t and 2t + 1. Taking these as they are numbers the depth anew (ACCUMULATED): place
// t is column 2t, place t + 4 column 2t + 1.
#pragma once
#include "arithmetic/fragments.cuh"

namespace arithmetic {

struct Tf32 {
    using Element = float;
    static constexpr int PLANES = 1, DEPTH = 8;
    static constexpr bool SCALED = false;
    struct A {
        u32 r[4];
    };
    struct B {
        u32 r[4];
    };

    template <class Tile> static DEV void load_a(A& a, const Tile& tile, int row, int step) {
        load_fragment_a(a.r, tile, row, step * 2);
        round(a.r);
    }
    template <class Tile> static DEV void load_b(B& b, const Tile& tile, int column, int step) {
        load_fragment_b(b.r, tile, column, step * 2);
        round(b.r);
    }
    template <class Tile> static DEV void load_a_transposed(A& a, const Tile& tile, int depth, int row) {
        int g = lane_id() >> 2, t = lane_id() & 3;
#pragma unroll
        for (int i = 0; i < 4; i++)
            a.r[i] = to_tf32(load_word(tile, depth, t + i / 2 * 4, row + i % 2 * 8, g));
    }
    template <DepthOrder ORDER, class Tile>
    static DEV void load_b_transposed(B& b, const Tile& tile, int depth, int column) {
        int g = lane_id() >> 2, t = lane_id() & 3;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int place = ORDER == STORED ? t + i % 2 * 4 : t * 2 + i % 2;
            b.r[i] = to_tf32(load_word(tile, depth, place, column + i / 2 * 8, g));
        }
    }
    static DEV void take_a(A& a, const float (*acc)[4], int step) {
        a.r[0] = to_tf32(acc[step][0]);
        a.r[1] = to_tf32(acc[step][2]);
        a.r[2] = to_tf32(acc[step][1]);
        a.r[3] = to_tf32(acc[step][3]);
    }
    static DEV void multiply(float (&left)[4], float (&right)[4], const A& a, const B& b) {
        mma_tf32(left, a.r, b.r[0], b.r[1]);
        mma_tf32(right, a.r, b.r[2], b.r[3]);
    }
    static DEV void store(void* const (&planes)[2], i64 at, float x, float y) {
        store_vector(static_cast<float*>(planes[0]) + at, float2{x, y});
    }

private:
    static DEV void round(u32 (&r)[4]) {
#pragma unroll
        for (int i = 0; i < 4; i++) r[i] = to_tf32(bits_float(r[i]));
    }
};

}  // namespace arithmetic
