// Plain float32, one fused multiply-add after another, on any device. A warp's accumulators lie as
// those of the tensor cores do: with g = lane / 4, t = lane % 4, a lane has rows g and g + 8 and
// columns 2t and 2t + 1 of every 16x8. So it needs two rows of `a` and four columns of `b`.
#pragma once
#include "arithmetic/fragments.cuh"

namespace arithmetic {

struct Fma {
    using Element = float;
    static constexpr int PLANES = 1, DEPTH = 4;
    static constexpr bool SCALED = false;
    struct A {
        float row[2][DEPTH];
    };
    struct B {
        float column[4][DEPTH];  // 2t, 2t + 1, 2t + 8, 2t + 9
    };

    template <class Tile> static DEV void load_a(A& a, const Tile& tile, int row, int step) {
#pragma unroll
        for (int h = 0; h < 2; h++) load_depth(a.row[h], tile, row + h * 8, lane_id() >> 2, step);
    }
    template <class Tile> static DEV void load_b(B& b, const Tile& tile, int column, int step) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            load_depth(b.column[i], tile, column + i / 2 * 8, (lane_id() & 3) * 2 + i % 2, step);
    }
    template <class Tile> static DEV void load_a_transposed(A& a, const Tile& tile, int depth, int row) {
#pragma unroll
        for (int i = 0; i < 2 * DEPTH; i++)
            a.row[i / DEPTH][i % DEPTH] =
                load_word(tile, depth & ~7, (depth & 7) + i % DEPTH, row + i / DEPTH * 8, lane_id() >> 2);
    }
    template <DepthOrder, class Tile>
    static DEV void load_b_transposed(B& b, const Tile& tile, int depth, int column) {
#pragma unroll
        for (int k = 0; k < DEPTH; k++)
#pragma unroll
            for (int i = 0; i < 4; i += 2) {
                float2 pair = load_vector<float2>(tile.pair(depth + k, column + i * 4, lane_id() & 3));
                b.column[i][k] = pair.x;
                b.column[i + 1][k] = pair.y;
            }
    }
    static DEV void take_a(A& a, const float (*acc)[4], int step) {
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int k = 0; k < DEPTH; k++)
                a.row[h][k] = shuffle(acc[step / 2][h * 2 + k % 2], (lane_id() & ~3) + step % 2 * 2 + k / 2);
    }
    static DEV void multiply(float (&left)[4], float (&right)[4], const A& a, const B& b) {
#pragma unroll
        for (int k = 0; k < DEPTH; k++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                left[i] = fmaf(a.row[i / 2][k], b.column[i % 2][k], left[i]);
                right[i] = fmaf(a.row[i / 2][k], b.column[i % 2 + 2][k], right[i]);
            }
    }
    static DEV void store(void* const (&planes)[2], i64 at, float x, float y) {
        store_vector(static_cast<float*>(planes[0]) + at, float2{x, y});
    }

private:
    template <class Tile>
    static DEV void load_depth(float (&to)[DEPTH], const Tile& tile, int row, int lane_row, int step) {
        float4 four = load_vector<float4>(tile.at(row, step, lane_row, 0));
        to[0] = four.x;
        to[1] = four.y;
        to[2] = four.z;
        to[3] = four.w;
    }
};

}  // namespace arithmetic
