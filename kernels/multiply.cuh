// What a warp does with tiles: one step of depth for all its accumulators, in the three forms the
// matrix kernels need. `row`, `col` are the warp's own within the tiles.
#pragma once
#include "shapes.cuh"

// Of accumulator [m][n] of a warp a lane has two rows (half 0, 1) with two columns each: element
// half * 2 + c is row lane_row(m, half), column lane_col(n) + c.
DEV int lane_row(int m, int half) { return m * 16 + half * 8 + (lane_id() >> 2); }
DEV int lane_col(int n) { return n * 8 + (lane_id() & 3) * 2; }

template <int HIGH, int WIDE> DEV void clear(float (&acc)[HIGH][WIDE][4]) {
#pragma unroll
    for (int m = 0; m < HIGH; m++)
#pragma unroll
        for (int n = 0; n < WIDE; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) acc[m][n][i] = 0.f;
}

// acc += a b^T over STEPS steps, UNROLL at a time; the depth runs along the rows of both tiles.
template <class Arithmetic, int STEPS, int UNROLL, int HIGH, int WIDE, class TileA, class TileB>
DEV void multiply_rows(float (&acc)[HIGH][WIDE][4], const TileA& a, int row, const TileB& b, int col) {
#pragma unroll UNROLL
    for (int step = 0; step < STEPS; step++) {
        typename Arithmetic::A left[HIGH];
#pragma unroll
        for (int m = 0; m < HIGH; m++) Arithmetic::load_a(left[m], a, row + m * 16, step);
#pragma unroll
        for (int n = 0; n < WIDE; n += 2) {
            typename Arithmetic::B right;
            Arithmetic::load_b(right, b, col + n * 8, step);
#pragma unroll
            for (int m = 0; m < HIGH; m++) Arithmetic::multiply(acc[m][n], acc[m][n + 1], left[m], right);
        }
    }
}

// acc += a b for one step of depth, whose rows in b begin at `depth`.
template <class Arithmetic, DepthOrder ORDER, int HIGH, int WIDE, class TileB>
DEV void multiply_by_columns(float (&acc)[HIGH][WIDE][4], const typename Arithmetic::A (&left)[HIGH],
                             const TileB& b, int depth, int col) {
#pragma unroll
    for (int n = 0; n < WIDE; n += 2) {
        typename Arithmetic::B right;
        Arithmetic::template load_b_transposed<ORDER>(right, b, depth, col + n * 8);
#pragma unroll
        for (int m = 0; m < HIGH; m++) Arithmetic::multiply(acc[m][n], acc[m][n + 1], left[m], right);
    }
}
