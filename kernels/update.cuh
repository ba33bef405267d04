// The step of an optimizer, taken on the sums of merge.cuh in the place of writing them. The formulas stand beside
// SSL_UPDATE_* in src/abi.rs; src/backend/cpu/update.rs is the same on the host.
//
// Launch (P = row_threads(dim), see convert.cuh):
//   update_rows  as merge_rows: ceil((num_sampled + labels) / (256 / max(P, 32))) blocks of 256
#pragma once
#include "merge.cuh"

// SSL_UPDATE_*.
enum UpdateRule { UPDATE_SGD = 0, UPDATE_ADAGRAD = 1, UPDATE_ROW_ADAGRAD = 2 };

// The sum over the `threads` threads of an entry, a power of two, at least a warp; by the whole block. `room` is
// one number a warp.
DEV float team_sum(float value, float* room, int threads) {
    value = warp_sum(value);
    if (lane_id() == 0) room[warp_id()] = value;
    __syncthreads();
    int warps = threads / 32, first = warp_id() / warps * warps;
    float sum = 0;
    for (int i = 0; i < warps; i++) sum += room[first + i];
    return sum;
}

// rate g / (sqrt(state) + epsilon), 0 where that is 0 / 0.
DEV float scaled_step(const UpdateRowsArgs& a, float rate, float gradient, float state) {
    float size = sqrtf(state) + a.epsilon;
    return size == 0.f ? 0.f : rate * gradient / size;
}

DEV Eight read_weights(const UpdateRowsArgs& a, i64 cls, int first) {
    return read_eight(Tensor{a.weights, a.weights_stride, a.weights_dtype, 0}, cls, first, a.merge.dim);
}

// Eight elements of the gradient that the rule sees.
DEV Eight gradient_of(const UpdateRowsArgs& a, const Entry& entry, int own, int threads, int first) {
    Eight sum = whole_sum(a.merge, entry, own, threads, first);
    if (a.decay != 0.f) add_scaled(sum, a.decay, read_weights(a, entry.cls, first));
    return sum;
}

// Moves eight elements; `state` is the row's where the rule has one for a row.
DEV void move_eight(const UpdateRowsArgs& a, i64 cls, int first, Eight g, float rate, float state) {
    if (a.rule == UPDATE_ADAGRAD) {
        float* states = a.weights_state + cls * a.weights_state_stride;
        Eight s = load_eight(states, first, a.merge.dim);
#pragma unroll
        for (int i = 0; i < 8; i++) s.x[i] = fmaf(g.x[i], g.x[i], s.x[i]);
        store_eight(states, first, a.merge.dim, s);
#pragma unroll
        for (int i = 0; i < 8; i++) g.x[i] = scaled_step(a, rate, g.x[i], s.x[i]);
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++)
            g.x[i] = a.rule == UPDATE_SGD ? rate * g.x[i] : scaled_step(a, rate, g.x[i], state);
    }
    Eight w = read_weights(a, cls, first);
    add_scaled(w, -1.f, g);
    write_eight(a.weights, a.weights_dtype, cls * a.weights_stride, first, a.merge.dim, w, false);
}

// By the whole block, for barriers: `moves` says whether these threads have an entry. A state of the row takes a
// pass of its own before anything moves; of a short row the gradient is kept for the second.
DEV void move_weights(const UpdateRowsArgs& a, const Entry& entry, bool moves, int own, int threads, float rate,
                      float* room) {
    int row_own = row_threads(a.merge.dim), own_first = (own & (row_own - 1)) * 8;
    bool by_rows = a.rule == UPDATE_ROW_ADAGRAD, is_short = a.merge.dim <= row_own * 8;
    // Threads of other warps read the state here, before the barrier behind which it is written.
    float state = by_rows && moves ? a.weights_state[entry.cls] : 0.f, squares = 0;
    Eight g = zeros();
#pragma unroll 1
    for (int pass = by_rows ? 0 : 1; pass < 2; pass++) {
#pragma unroll 1
        for (int base = 0; moves && base < a.merge.dim; base += row_own * 8) {
            if (pass == 0 || !by_rows || !is_short) g = gradient_of(a, entry, own, threads, base + own_first);
            // All groups hold the same sums; one of them counts.
            if (own >= row_own) continue;
            if (pass == 1) move_eight(a, entry.cls, base + own_first, g, rate, state);
#pragma unroll
            for (int i = 0; i < 8; i++) squares = fmaf(g.x[i], g.x[i], squares);
        }
        if (pass == 1) continue;
        state += team_sum(squares, room, threads) / a.merge.dim;
        if (moves && own == 0) a.weights_state[entry.cls] = state;
    }
}

// By one warp.
DEV void move_bias(const UpdateRowsArgs& a, const Entry& entry, float rate) {
    float step = bias_sum(a.merge, entry);
    if (lane_id()) return;
    if (a.rule == UPDATE_SGD) {
        step *= rate;
    } else {
        float state = fmaf(step, step, a.biases_state[entry.cls]);
        a.biases_state[entry.cls] = state;
        step = scaled_step(a, rate, step, state);
    }
    write_one(a.biases, a.biases_dtype, entry.cls, -step, true);
}

DEV void update_rows_body(const UpdateRowsArgs& a) {
    SHARED_ARRAY(float, room, ROW_BLOCK / 32);
    const MergeRowsArgs& m = a.merge;
    if (m.sparse) clear_row_ids(m);
    int threads = max(row_threads(m.dim), 32);
    int own = (int)threadIdx.x & (threads - 1);
    i64 item = (i64)blockIdx.x * (ROW_BLOCK / threads) + (int)threadIdx.x / threads;
    Entry entry;
    bool moves = item < m.num_sampled + m.labels && find_entry(m, item, entry);
    if (moves && m.sparse && own == 0 && entry.row < m.capacity) m.row_ids[entry.row] = entry.cls;
    moves = moves && !m.control->candidates_status;
    float rate = a.rate_pointer ? *a.rate_pointer : a.rate;
    if (a.weights) move_weights(a, entry, moves, own, threads, rate, room);
    if (moves && a.biases && own < 32) move_bias(a, entry, rate);
}

#define INSTANTIATE_update_rows() ENTRY(update_rows, UpdateRowsArgs, ROW_BLOCK, 2, update_rows_body(args))
