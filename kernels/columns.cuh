// The candidates as the matrix kernels want them: their weights gathered into an operand, their offsets in
// base 2, the copies of a class joined into one column. And `pack`, the same for the inputs where they are
// no operand as they lie. Before them in src/backend/cuda/prepare.rs: keys (sort.cuh).
//
// Softmax cannot tell k copies of a class from one whose 1/Q is the sum of theirs:
// sum_k exp(z - ln Q_k) = exp(z + ln(sum_k 1/Q_k)).
//
// Parts of prepare.cuh; pack also by itself (P = row_threads(padded_dim), see convert.cuh):
//   columns  ceil(num_sampled / (256 / P)) blocks of 256
//   pack     ceil(rows / (256 / P)) blocks of 256
#pragma once
#include "reduction.cuh"
#include "sort.cuh"

// ln(sum of 1/Q) over the copies of the class whose first column this is; by a whole warp.
DEV double log_inverse_counts(const ColumnsArgs& a, i64 column, bool& bad) {
    u64 key = a.keys[column];
    i64 cls = class_of(key, a.index_bits);
    if (column + 1 == a.num_sampled || class_of(a.keys[column + 1], a.index_bits) != cls) {
        double count = count_at(a.counts, a.counts_double, index_of(key, a.index_bits));
        bad = !is_count(count);
        return bad ? 0 : -log(count);
    }
    u64 behind = first_key(cls + 1, a.index_bits);
    i64 end = column + warp_count_below(a.keys + column, a.num_sampled - column, behind);
    double sum = 0;
    bool mine = false;
    for (i64 i = column + lane_id(); i < end; i += 32) {
        double count = count_at(a.counts, a.counts_double, index_of(a.keys[i], a.index_bits));
        mine |= !is_count(count);
        sum += 1 / count;
    }
    bad = warp_any(mine);
    sum = warp_sum(sum);
    return bad ? 0 : log(sum);
}

// By a whole warp.
DEV float column_offset(const ColumnsArgs& a, i64 column) {
    u64 key = a.keys[column];
    if (key == NO_KEY && lane_id() == 0) report_candidates(a.control, STATUS_LABEL_RANGE);
    if (!is_first(a.keys, column, a.index_bits)) return -infinity();
    bool bad;
    double offset = log_inverse_counts(a, column, bad);
    if (bad) {
        if (lane_id() == 0) report_candidates(a.control, STATUS_EXPECTED_COUNT);
        return -infinity();
    }
    double bias = a.biases.data ? (double)read_one(a.biases, class_of(key, a.index_bits)) : 0.0;
    return (float)((bias + offset) * LOG2_OF_E);
}

DEV void columns_body(const ColumnsArgs& a, i64 block) {
    RowShare share = row_share(a.padded_dim, block);
    if (share.row < a.num_sampled) {
        bool on = is_first(a.keys, share.row, a.index_bits);
        i64 cls = class_of(a.keys[share.row], a.index_bits);
        for (int first = share.first; first < a.padded_dim; first += share.step) {
            Eight v = on ? read_eight(a.weights, cls, first, a.dim) : zeros();
            store_operand(a.out, a.planes, a.out_dtype, share.row * a.padded_dim, first, a.padded_dim, v);
        }
    }
    int columns = ROW_BLOCK / row_threads(a.padded_dim);
    for (int local = warp_id(); local < columns; local += ROW_BLOCK / 32) {
        i64 column = block * columns + local;
        if (column >= a.num_sampled) break;
        float offset = column_offset(a, column);
        if (lane_id() == 0) a.col_add[column] = offset;
    }
}

DEV void pack_body(const PackArgs& a, i64 block) {
    RowShare share = row_share(a.padded_dim, block);
    if (share.row >= a.rows) return;
    float factor = a.factor ? a.factor[share.row] : 1.f, scale = a.scaled ? factor : 1.f;
    for (int first = share.first; first < a.padded_dim; first += share.step) {
        Eight v = zeros();
        if (factor != 0.f) add_scaled(v, scale, read_eight(a.from, share.row, first, a.dim));
        store_operand(a.out, a.planes, a.out_dtype, share.row * a.padded_dim, first, a.padded_dim, v);
    }
}

#define INSTANTIATE_pack() ENTRY(pack, PackArgs, ROW_BLOCK, 4, pack_body(args, blockIdx.x))
