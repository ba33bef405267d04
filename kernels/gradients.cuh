// What the gradients need beside the matrix kernels: the parts of d_inputs put together with the labels'
// share (d_inputs), the hits as the columns see them (class_hits), sums over chunks (add_sums). merge.cuh
// follows.
//
// Launches (P = row_threads(dim), see convert.cuh):
//   d_inputs    ceil(rows / (256 / P)) blocks of 256
//   class_hits  ceil(max(labels, num_sampled) / 256) blocks of 256
//   add_sums    ceil(cols / 256) blocks of 256
#pragma once
#include "batch.cuh"
#include "sort.cuh"

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

DEV void d_inputs_body(const DInputsArgs& a) {
    RowShare share = row_share(a.dim);
    if (share.row >= a.rows) return;
    bool live = a.state[a.first + share.row] == ROW_LIVE;
    for (int first = share.first; first < a.dim; first += share.step) {
        Eight sum = live ? sum_parts(a, share.row, first) : zeros();
        if (live) add_labels_share(a, share.row, first, sum);
        write_eight(a.out, a.out_dtype, (a.first + share.row) * a.out_stride, first, a.dim, sum, false);
    }
}

DEV void class_hits_body(const ClassHitsArgs& a) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.labels) {
        u64 key = a.label_keys[i];
        a.list[i] = key == NO_KEY ? NO_HIT : (u32)(index_of(key, a.label_bits) / a.num_true);
    }
    if (i >= a.num_sampled) return;
    i64 begin = 0, end = 0;
    if (is_first(a.keys, i, a.index_bits)) {
        i64 cls = class_of(a.keys[i], a.index_bits);
        begin = count_below(a.label_keys, a.labels, first_key(cls, a.label_bits));
        end = begin + count_below(a.label_keys + begin, a.labels - begin, first_key(cls + 1, a.label_bits));
    }
    a.begin[i] = (u32)begin;
    a.end[i] = (u32)end;
}

DEV void add_sums_body(const AddSumsArgs& a) {
    i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= a.cols) return;
    float sum = a.accumulate ? a.total[column] : 0.f;
#pragma unroll 4
    for (int i = 0; i < a.count; i++) sum += a.parts[(i64)i * a.cols + column];
    a.total[column] = sum;
}

#define INSTANTIATE_d_inputs() ENTRY(d_inputs, DInputsArgs, ROW_BLOCK, 4, d_inputs_body(args))
#define INSTANTIATE_class_hits() ENTRY(class_hits, ClassHitsArgs, 256, 1, class_hits_body(args))
#define INSTANTIATE_add_sums() ENTRY(add_sums, AddSumsArgs, 256, 1, add_sums_body(args))
