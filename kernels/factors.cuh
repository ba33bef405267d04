// What the rows' factors are applied to, where the exponentials of logits were stored before their sums were known (see
// LogitsMode). Blocks of 256, in this order:
//   FactorsArgs::pack_blocks                                        inputs packed, each row times its factor
//   ceil(rows / FACTORS_ROWS) * ceil(cols / FACTORS_COLS)           sums of the exponentials' columns
#pragma once
#include "columns.cuh"

// Elements first .. first + 8 of a row of stored exponentials.
DEV Eight stored_eight(const FactorsArgs& a, i64 row, int first) {
    i64 offset = row * a.e_stride;
    Tensor high = {a.e[0], a.e_stride, a.pack.planes ? a.pack.out_dtype : F32, 0};
    Eight e = read_eight(high, row, first, a.cols);
    if (a.pack.planes == 2)
        add_scaled(e, 1.f, load_eight(static_cast<const bf16*>(a.e[1]) + offset, first, a.cols));
    return e;
}

// A lane has eight columns, a warp every so many rows of the tile; the warps' sums are added up in their order.
DEV void sum_columns(const FactorsArgs& a, i64 block) {
    constexpr int WARPS = ROW_BLOCK / 32;
    SHARED_ARRAY(float, sums, WARPS * FACTORS_COLS);
    int col_tiles = (a.cols + FACTORS_COLS - 1) / FACTORS_COLS;
    int tile = (int)(block / col_tiles), col = (int)(block % col_tiles) * FACTORS_COLS;
    int end = min((tile + 1) * FACTORS_ROWS, a.rows);
    Eight sum = zeros();
    for (int row = tile * FACTORS_ROWS + warp_id(); row < end; row += WARPS) {
        float factor = a.factor[row];
        if (factor != 0.f && col + lane_id() * 8 < a.cols)
            add_scaled(sum, factor, stored_eight(a, row, col + lane_id() * 8));
    }
#pragma unroll
    for (int i = 0; i < 8; i++) sums[warp_id() * FACTORS_COLS + lane_id() * 8 + i] = sum.x[i];
    __syncthreads();
    int own = (int)threadIdx.x;
    static_assert(FACTORS_COLS == ROW_BLOCK, "a column for each thread");
    if (col + own >= a.cols) return;
    float total = 0;
    for (int warp = 0; warp < WARPS; warp++) total += sums[warp * FACTORS_COLS + own];
    a.sums[(i64)tile * a.cols + col + own] = total;
}

DEV void factors_body(const FactorsArgs& a) {
    i64 block = blockIdx.x;
    if (block < a.pack_blocks) return pack_body(a.pack, block);
    sum_columns(a, block - a.pack_blocks);
}

#define INSTANTIATE_factors() ENTRY(factors, FactorsArgs, ROW_BLOCK, 3, factors_body(args))
