// What belongs to single rows before the matrix work: each row's state, true logits and accidental hits. As
// src/backend/cpu/rows.rs has it; here bad labels and counts are found by the kernel, since the host cannot look at
// them.
//
// A part of prepare.cuh: ceil(rows / 8) blocks of 256.
#pragma once
#include "reduction.cuh"
#include "sort.cuh"

// What is wrong with a row's labels and their counts, 0 if nothing is.
DEV u32 labels_status(const RowsArgs& a, i64 row, bool ignored) {
    u32 status = 0;
    for (i64 t = lane_id(); t < a.num_true; t += 32) {
        i64 place = row * a.num_true + t;
        i64 label = label_at(a.labels, a.labels_dtype, place);
        u32 found = 0;
        if ((a.has_ignore_index && label == a.ignore_index) != ignored) found = STATUS_INVALID_VALUE;
        else if (ignored) found = 0;
        else if (label < 0 || label >= a.num_classes) found = STATUS_LABEL_RANGE;
        else if (!is_count(count_at(a.true_counts, a.counts_double, place))) found = STATUS_EXPECTED_COUNT;
        status = max(status, found);
    }
    return warp_max(status);
}

DEV RowState row_state(const RowsArgs& a, i64 row) {
    bool ignored =
        a.has_ignore_index && label_at(a.labels, a.labels_dtype, row * a.num_true) == a.ignore_index;
    u32 status = labels_status(a, row, ignored);
    if (status) {
        if (lane_id() == 0) report(a.control, status);
        return ROW_BAD;
    }
    if (ignored) return ROW_DEAD;
    double weight = row_weight(a.sample_weights, row);
    if (weight == 0) return ROW_IDLE;
    bool idle = a.backward && upstream(a.grad_output, a.grad_stride, row, weight, a.control->normaliser) == 0;
    return idle ? ROW_IDLE : ROW_LIVE;
}

// <inputs[row], weights[label]> in float64, summed in an order that depends on d alone.
DEV double true_product(const RowsArgs& a, i64 row, i64 label) {
    double sum = 0;
    for (int first = lane_id() * 8; first < a.dim; first += 32 * 8) {
        Eight x = read_eight(a.inputs, row, first, a.dim), w = read_eight(a.weights, label, first, a.dim);
#pragma unroll
        for (int i = 0; i < 8; i++) sum += (double)x.x[i] * (double)w.x[i];
    }
    return warp_sum(sum);
}

// A true logit beyond float32 counts as infinite, since a sampled one would be.
DEV double true_logit(const RowsArgs& a, i64 row, i64 place, i64 label) {
    double bias = a.biases.data ? (double)read_one(a.biases, label) : 0.0;
    double logit = true_product(a, row, label) + bias - log(count_at(a.true_counts, a.counts_double, place));
    return fabs(logit) > 3.4028235677973366e38 ? (logit > 0 ? infinity_double() : -infinity_double()) : logit;
}

// Sorts a row's hits in place. Every pair of this bitonic network leaves the smaller in front, so places
// behind the end may be left out: they would hold what is larger than all.
DEV void sort_hits(u32* hits, i64 count) {
    for (i64 run = 2; run < 2 * count; run *= 2) {
        for (i64 distance = run / 2; distance > 0; distance /= 2) {
            __syncwarp();
            for (i64 i = lane_id(); i < count; i += 32) {
                // The first step of a merge pairs the runs' ends, the others what is `distance` apart.
                i64 j = distance == run / 2 ? i ^ (run - 1) : i ^ distance;
                if (j <= i || j >= count || hits[i] <= hits[j]) continue;
                u32 kept = hits[i];
                hits[i] = hits[j];
                hits[j] = kept;
            }
        }
    }
    __syncwarp();
}

// Keeps one of each of the sorted hits.
DEV void remove_copies(u32* hits, i64 count) {
    i64 kept = 0;
    u32 last = NO_HIT;
    for (i64 start = 0; start < count; start += 32) {
        i64 i = start + lane_id();
        u32 hit = i < count ? hits[i] : NO_HIT;
        u32 before = shuffle_up(hit, 1);
        bool keep = hit != NO_HIT && hit != (lane_id() ? before : last);
        u32 keepers = warp_ballot(keep);
        // What is written lies in front of what is still to be read.
        if (keep) hits[kept + __popc(keepers & ((1u << lane_id()) - 1))] = hit;
        kept += __popc(keepers);
        last = shuffle(hit, 31);
        __syncwarp();
    }
    for (i64 i = kept + lane_id(); i < count; i += 32) hits[i] = NO_HIT;
}

// The column of a class, NO_HIT if it is no candidate; by a whole warp.
DEV u32 column_of(const u64* keys, int count, int index_bits, i64 cls) {
    i64 column = warp_count_below(keys, count, first_key(cls, index_bits));
    bool found = column < count && class_of(keys[column], index_bits) == cls;
    return found ? (u32)column : NO_HIT;
}

DEV void rows_body(const RowsArgs& a, i64 block) {
    i64 row = block * 8 + warp_id();
    if (row >= a.rows) return;
    RowState state = row_state(a, row);
    if (lane_id() == 0) a.state[row] = (unsigned char)state;
    u32* hits = a.mask_hits ? a.hits + row * a.num_true : nullptr;
    double largest = -infinity_double();
    for (i64 t = 0; t < a.num_true; t++) {
        i64 place = row * a.num_true + t;
        double logit = 0;
        u32 hit = NO_HIT;
        if (state == ROW_LIVE) {
            i64 label = label_at(a.labels, a.labels_dtype, place);
            logit = true_logit(a, row, place, label);
            if (logit > largest) largest = logit;
            if (hits) hit = column_of(a.keys, a.num_sampled, a.index_bits, label);
        }
        if (lane_id() == 0) {
            a.true_logits[place] = logit;
            if (hits) hits[t] = hit;
        }
    }
    if (a.row_add && lane_id() == 0) {
        bool infinite = fabs(largest) == infinity_double();
        a.row_add[row] = state != ROW_LIVE ? -infinity() : infinite ? 0.f : (float)(-largest * LOG2_OF_E);
    }
    if (!hits || a.num_true == 1) return;
    sort_hits(hits, a.num_true);
    remove_copies(hits, a.num_true);
}
