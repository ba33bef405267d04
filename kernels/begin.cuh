// The first kernel of a call: what depends on nothing but the caller's arrays. Blocks of 1024, in this order:
//   1                                     clears Control, finds the normaliser
//   key_blocks(candidates)                the candidates' keys, sorted (sort.cuh)
//   key_blocks(labels)                    the labels' keys, where gradients of parameters are wanted
//   ceil(true_counts.count / 1024)        the labels' expected counts, after a draw (sampling.cuh)
#pragma once
#include "reduction.cuh"
#include "sampling.cuh"
#include "sort.cuh"

DEV double normaliser(const BeginArgs& a, double* room) {
    if (!a.mean) return 1;
    double total = 0;
    for (i64 row = threadIdx.x; row < a.rows; row += SORT_THREADS) {
        // A row's labels are all ignored or none, else the row is bad.
        bool ignored = a.has_ignore_index &&
                       label_at(a.labels, a.labels_dtype, row * a.num_true) == a.ignore_index;
        if (!ignored) total += row_weight(a.sample_weights, row);
    }
    total = block_sum(total, room);
    return total == 0 ? 0 : 1 / total;
}

DEV void begin_control(const BeginArgs& a, double* room) {
    double of_call = normaliser(a, room);
    if (threadIdx.x) return;
    u32 drawn = a.info ? a.info->status : 0;
    Control& control = *a.control;
    control.normaliser = of_call;
    control.status = drawn;
    control.candidates_status = drawn;
    control.scale_rows = 32768.f;
    control.unscale_rows = 1 / 32768.f;
    control.scale_classes = 1;
    control.unscale_classes = 1;
    control.num_heads = 0;
    control.num_new = 0;
    control.finished_blocks = 0;
}

DEV void begin_body(const BeginArgs& a, u64* shared) {
    i64 block = blockIdx.x;
    if (block == 0) return begin_control(a, reinterpret_cast<double*>(shared));
    block -= 1;
    if (block < key_blocks(a.candidates)) return keys_body(a.candidates, block, shared);
    block -= key_blocks(a.candidates);
    if (block < key_blocks(a.label_keys)) return keys_body(a.label_keys, block, shared);
    block -= key_blocks(a.label_keys);
    true_counts_body(a.true_counts, block * SORT_THREADS + threadIdx.x);
}

#define INSTANTIATE_begin()                                                                               \
    ENTRY(begin, BeginArgs, SORT_THREADS, 1, DYN_SMEM(u64, shared); begin_body(args, shared))
