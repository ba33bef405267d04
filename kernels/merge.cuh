// The gradients of weights and biases: candidates' and labels' rows summed into one row for each class,
// written in ascending order or added into the parameters' own shape; update.cuh does something else with the
// sums. The last kernels of a call that computes them (src/backend/cuda/gradients.rs), by the ranks of index.cuh.
//
// A class's labels are cut at the multiples of MERGE_PIECE of the sorted list: whole pieces are summed by blocks of
// their own, what is left at both ends by the class's own threads.
//
// Launches (P = row_threads(dim), see convert.cuh):
//   merge_pieces  a part of shares.cuh: labels / MERGE_PIECE blocks of 256; none where d_weights is NULL
//   merge_rows    ceil((num_sampled + labels) / (256 / max(P, 32))) blocks of 256
#pragma once
#include "convert.cuh"
#include "index.cuh"

// ---- the labels' shares -------------------------------------------------------------------------

// Adds the shares of sorted labels begin, begin + step, .. before `end` to eight elements. Two rows are on
// their way at a time. A share of 0 adds nothing, not even NaN.
template <class T>
DEV void add_shares(const MergeRowsArgs& a, i64 begin, i64 end, int step, int first, Eight& sum) {
    constexpr int AHEAD = 2;
    const T* inputs = static_cast<const T*>(a.inputs.data);
    for (i64 i = begin; i < end; i += AHEAD * step) {
        float share[AHEAD];
        Eight input[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            i64 at = i + k * step;
            i64 place = at < end ? index_of(a.label_keys[at], a.label_bits) : 0;
            share[k] = at < end ? a.d_true[place] : 0.f;
            i64 row = a.num_true == 1 ? place : place / a.num_true;
            input[k] = share[k] != 0.f ? load_eight(inputs + row * a.inputs.stride, first, a.dim) : zeros();
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) add_scaled(sum, share[k], input[k]);
    }
}

DEV void add_shares(const MergeRowsArgs& a, i64 begin, i64 end, int step, int first, Eight& sum) {
    if (a.inputs.dtype == F32) add_shares<float>(a, begin, end, step, first, sum);
    else if (a.inputs.dtype == F16) add_shares<f16>(a, begin, end, step, first, sum);
    else add_shares<bf16>(a, begin, end, step, first, sum);
}

// One block a piece: groups of threads take every so many labels of it, and their sums are added up.
DEV void merge_pieces_body(const MergeRowsArgs& a, i64 block) {
    SHARED_ARRAY(float, sums, ROW_BLOCK * 8);
    i64 begin = block * MERGE_PIECE, end = begin + MERGE_PIECE;
    u64 last = a.label_keys[end - 1];
    if (last == NO_KEY || class_of(a.label_keys[begin], a.label_bits) != class_of(last, a.label_bits)) return;
    int threads = row_threads(a.dim), groups = ROW_BLOCK / threads, group = (int)threadIdx.x / threads;
    int start = ((int)threadIdx.x & (threads - 1)) * 8;
    for (int base = 0; base < a.dim; base += threads * 8) {
        int first = base + start;
        Eight sum = zeros();
        add_shares(a, begin + group, end, groups, first, sum);
#pragma unroll
        for (int i = 0; i < 8; i++) sums[threadIdx.x * 8 + i] = sum.x[i];
        __syncthreads();
        if (group == 0) {
            for (int other = 1; other < groups; other++)
#pragma unroll
                for (int i = 0; i < 8; i++) sum.x[i] += sums[(other * threads + threadIdx.x) * 8 + i];
            store_eight(a.pieces + block * a.padded_dim, first, a.dim, sum);
        }
        // Where there is another round, one group has all threads, and nobody reads what others left.
    }
}

// ---- one class ----------------------------------------------------------------------------------

// A class that has a gradient: its column, or -1, its sorted labels, its row in the outputs.
struct Entry {
    i64 cls, column, begin, end, row;
};

// The class that number `item` stands for: a column, or behind all columns a sorted label. Only what
// the ranks count stands for one. By a whole warp.
DEV bool find_entry(const MergeRowsArgs& a, i64 item, Entry& entry) {
    const u64* labels = a.label_keys;
    bool is_column = item < a.num_sampled;
    i64 i = is_column ? item : item - a.num_sampled;
    i64 rank = rank_of(is_column ? a.heads : a.news, i);
    if (rank_of(is_column ? a.heads : a.news, i + 1) == rank) return false;
    if (is_column) {
        entry.cls = class_of(a.keys[i], a.index_bits);
        entry.column = i;
        entry.begin = warp_count_below(labels, a.labels, first_key(entry.cls, a.label_bits));
        entry.row = rank + rank_of(a.news, entry.begin);
    } else {
        entry.cls = class_of(labels[i], a.label_bits);
        entry.column = -1;
        entry.begin = i;
        i64 column = warp_count_below(a.keys, a.num_sampled, first_key(entry.cls, a.index_bits));
        entry.row = rank + rank_of(a.heads, column);
    }
    u64 behind = first_key(entry.cls + 1, a.label_bits);
    entry.end = entry.begin + warp_count_below(labels + entry.begin, a.labels - entry.begin, behind);
    if (!a.sparse) entry.row = entry.cls;
    return true;
}

// This group's share of an entry's eight elements: parts, whole pieces, labels in front of these and behind.
DEV Eight entry_sum(const MergeRowsArgs& a, const Entry& entry, int group, int groups, int first) {
    Eight sum = zeros();
    if (entry.column >= 0) {
        float unscale = a.unscale ? *a.unscale : 1.f;
        for (i64 split = group; split < a.splits; split += groups) {
            const float* part = a.parts + (split * a.num_sampled + entry.column) * a.padded_dim;
            add_scaled(sum, unscale, load_eight(part, first, a.dim));
        }
    }
    i64 first_piece = (entry.begin + MERGE_PIECE - 1) / MERGE_PIECE, last_piece = entry.end / MERGE_PIECE;
    bool cut = first_piece < last_piece;
#pragma unroll 1
    for (i64 piece = first_piece + group; piece < last_piece; piece += groups)
        add_scaled(sum, 1.f, load_eight(a.pieces + piece * a.padded_dim, first, a.dim));
#pragma unroll 1
    for (int side = 0; side < (cut ? 2 : 1); side++) {
        i64 begin = side ? last_piece * MERGE_PIECE : entry.begin;
        i64 end = side || !cut ? entry.end : first_piece * MERGE_PIECE;
        add_shares(a, begin + group, end, groups, first, sum);
    }
    return sum;
}

// Eight elements of an entry's sum, each thread's own and the same for all groups. By `threads` threads, at least
// a warp, of which thread `own` calls: where a row needs fewer, groups of them share the labels.
DEV Eight whole_sum(const MergeRowsArgs& a, const Entry& entry, int own, int threads, int first) {
    int row_own = row_threads(a.dim);
    Eight sum = entry_sum(a, entry, own / row_own, threads / row_own, first);
    for (int mask = row_own; mask < 32; mask <<= 1)
#pragma unroll
        for (int i = 0; i < 8; i++) sum.x[i] += shuffle_xor(sum.x[i], mask);
    return sum;
}

DEV void write_weights(const MergeRowsArgs& a, const Entry& entry, int own, int threads) {
    int row_own = row_threads(a.dim);
    for (int base = 0; base < a.dim; base += row_own * 8) {
        int first = base + (own & (row_own - 1)) * 8;
        Eight sum = whole_sum(a, entry, own, threads, first);
        if (own < row_own)
            write_eight(a.d_weights, a.d_weights_dtype, entry.row * a.d_weights_stride, first, a.dim, sum,
                        !a.sparse);
    }
}

// By one warp.
DEV float bias_sum(const MergeRowsArgs& a, const Entry& entry) {
    float sampled = 0, labels = 0;
    if (entry.column >= 0)
        for (i64 i = lane_id(); i < a.sum_parts; i += 32) sampled += a.sums[i * a.num_sampled + entry.column];
#pragma unroll 4
    for (i64 i = entry.begin + lane_id(); i < entry.end; i += 32)
        labels += a.d_true[index_of(a.label_keys[i], a.label_bits)];
    return warp_sum(fmaf(sampled, a.unscale ? *a.unscale : 1.f, labels));
}

DEV void write_bias(const MergeRowsArgs& a, const Entry& entry) {
    float sum = bias_sum(a, entry);
    if (lane_id() == 0) write_one(a.d_biases, a.d_biases_dtype, entry.row, sum, !a.sparse);
}

DEV void clear_row_ids(const MergeRowsArgs& a) {
    i64 step = (i64)gridDim.x * blockDim.x;
    i64 rows = a.control->num_heads + a.control->num_new;
    for (i64 i = rows + (i64)blockIdx.x * blockDim.x + threadIdx.x; i < a.capacity; i += step)
        a.row_ids[i] = -1;
}

DEV void merge_rows_body(const MergeRowsArgs& a) {
    if (a.sparse) clear_row_ids(a);
    int threads = max(row_threads(a.dim), 32);
    int own = (int)threadIdx.x & (threads - 1);
    i64 item = (i64)blockIdx.x * (ROW_BLOCK / threads) + (int)threadIdx.x / threads;
    Entry entry;
    if (item >= a.num_sampled + a.labels || !find_entry(a, item, entry)) return;
    if (a.sparse && entry.row >= a.capacity) return;
    if (a.sparse && own == 0) a.row_ids[entry.row] = entry.cls;
    if (a.d_weights) write_weights(a, entry, own, threads);
    if (a.d_biases && own < 32) write_bias(a, entry);
}

#define INSTANTIATE_merge_rows() ENTRY(merge_rows, MergeRowsArgs, ROW_BLOCK, 3, merge_rows_body(args))
