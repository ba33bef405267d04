// What the gradients need beside the matrix kernels: the parts of d_inputs put together with the labels' share
// (d_inputs), sums over chunks (add_sums). merge.cuh follows.
//
// Launches (P = row_threads(dim), see convert.cuh):
//   d_inputs  a part of shares.cuh: ceil(rows / (256 / P)) blocks of 256
//   add_sums  ceil(cols / 256) blocks of 256
#pragma once
#include "batch.cuh"

// Parts whose factor is 0 are not read: they may hold anything.
DEV Eight sum_parts(const DInputsArgs& a, i64 row, int first) {
    Eight sum = zeros();
    float unscale = a.unscale ? *a.unscale : 1.f;
    for (i64 split = 0; split < a.splits; split++) {
        float factor = a.factor ? a.factor[split * a.factor_stride + a.first + row] : 1.f;
        if (factor == 0.f) continue;
        const float* part = a.parts + (split * a.rows + row) * a.padded_dim;
        add_scaled(sum, factor * unscale, load_eight(part, first, a.dim));
    }
    return sum;
}

DEV void add_labels_share(const DInputsArgs& a, i64 row, int first, Eight& sum) {
    for (i64 t = 0; t < a.num_true; t++) {
        i64 place = (a.first + row) * a.num_true + t;
        float share = a.d_true[place];
        if (share == 0.f) continue;
        i64 label = label_at(a.labels, a.labels_dtype, place);
        add_scaled(sum, share, read_eight(a.weights, label, first, a.dim));
    }
}

DEV void d_inputs_body(const DInputsArgs& a, i64 block) {
    RowShare share = row_share(a.dim, block);
    if (share.row >= a.rows) return;
    bool live = a.state[a.first + share.row] == ROW_LIVE;
    for (int first = share.first; first < a.dim; first += share.step) {
        Eight sum = live ? sum_parts(a, share.row, first) : zeros();
        if (live) add_labels_share(a, share.row, first, sum);
        write_eight(a.out, a.out_dtype, (a.first + share.row) * a.out_stride, first, a.dim, sum, false);
    }
}

DEV void add_sums_body(const AddSumsArgs& a) {
    i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= a.cols) return;
    float sum = a.accumulate ? a.total[column] : 0.f;
#pragma unroll 4
    for (int i = 0; i < a.count; i++) sum += a.parts[(i64)i * a.cols + column];
    a.total[column] = sum;
}

#define INSTANTIATE_add_sums() ENTRY(add_sums, AddSumsArgs, 256, 1, add_sums_body(args))
