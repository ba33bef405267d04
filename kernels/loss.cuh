// From the splits' maxima and sums to the loss and what the gradients need (finish_rows), and the loss as the
// caller wants it (reduce). All in float64: then a loss near 0 keeps its relative precision. Formulas and
// special cases are those of forward_row and scale_row in src/backend/cpu/rows.rs.
//
// Launches:
//   finish_rows  L = finish_lanes(splits, num_true) threads a row: ceil(rows * L / 256) blocks of 256
//   reduce       1 block of 1024
#pragma once
#include "batch.cuh"
#include "reduction.cuh"

// SSL_REDUCTION_NONE.
constexpr int REDUCTION_NONE = 0;

// A warp a row where a row has much to add up: then there are few rows, or many labels.
DEV int finish_lanes(int splits, i64 num_true) { return splits > 4 || num_true > 4 ? 32 : 1; }

// Runs `use` on this lane's share of 0 .. count.
template <class Use> DEV void each_of(i64 count, int lanes, Use use) {
    for (i64 i = lanes == 1 ? 0 : lane_id(); i < count; i += lanes) use(i);
}
DEV double lanes_sum(double value, int lanes) { return lanes == 1 ? value : warp_sum(value); }
DEV double lanes_max(double value, int lanes) { return lanes == 1 ? value : warp_max(value); }

// exp(z - lse), 0 in a row of nothing but classes that are off.
DEV double probability(double logit, double lse) { return lse == -infinity_double() ? 0 : exp(logit - lse); }

// p / (p + floor): 1 without a floor, also where p underflows.
DEV double kept_ratio(double p, double floor) { return floor == 0 ? 1 : p / (p + floor); }

struct RowLoss {
    double lse, loss;
};

DEV RowLoss row_loss(const FinishRowsArgs& a, i64 row, int lanes) {
    const double* logits = a.true_logits + row * a.num_true;
    const double off = -infinity_double();
    double most = off, mean = 0;
    // A comparison with NaN is false: NaN is left to the sums.
    each_of(a.num_true, lanes, [&](i64 t) {
        mean += logits[t];
        if (logits[t] > most) most = logits[t];
    });
    each_of(a.splits, lanes, [&](i64 split) {
        float2 part = a.partial[split * a.rows + row];
        if (part.y != 0.f && part.x * LN_2 > most) most = part.x * LN_2;
    });
    mean = lanes_sum(mean, lanes) / a.num_true;
    most = lanes_max(most, lanes);
    double sampled = 0, labels = 0;
    each_of(a.splits, lanes, [&](i64 split) {
        float2 part = a.partial[split * a.rows + row];
        if (part.y != 0.f) sampled += part.y * exp(part.x * LN_2 - most);
    });
    sampled = lanes_sum(sampled, lanes);
    each_of(a.num_true, lanes, [&](i64 t) { labels += exp(logits[t] - most); });
    labels = lanes_sum(labels, lanes);
    // log1p keeps what is below the precision of 1 + x.
    bool confident = a.num_true == 1 && logits[0] == most && most < infinity_double();
    double log_total = confident ? log1p(sampled) : log(sampled + labels);
    RowLoss result = {most + log_total, (most - mean) + log_total};
    // Every class of the row is switched off, the true ones too.
    if (most == off && !is_nan(mean) && !is_nan(sampled)) result = {off, infinity_double()};
    if (a.floor == 0) return result;
    double sum = 0;
    each_of(a.num_true, lanes, [&](i64 t) { sum += log(probability(logits[t], result.lse) + a.floor); });
    result.loss = -lanes_sum(sum, lanes) / a.num_true;
    return result;
}

// The gradient of logit j is g (A p_j - [j is label t] r_t / T).
DEV void finish_gradients(const FinishRowsArgs& a, i64 row, int lanes, bool live, double lse) {
    const double* logits = a.true_logits + row * a.num_true;
    double weight = live ? row_weight(a.sample_weights, row) : 0;
    double gradient = live ? upstream(a.grad_output, a.grad_stride, row, weight, a.control->normaliser) : 0;
    bool counts = gradient != 0;
    double ratio = 0;
    if (counts)
        each_of(a.num_true, lanes, [&](i64 t) { ratio += kept_ratio(probability(logits[t], lse), a.floor); });
    ratio = lanes_sum(ratio, lanes) / a.num_true;
    each_of(a.num_true, lanes, [&](i64 t) {
        double p = counts ? probability(logits[t], lse) : 0;
        double share = ratio * p - kept_ratio(p, a.floor) / a.num_true;
        a.d_true[row * a.num_true + t] = counts ? (float)(gradient * share) : 0.f;
    });
    // With every class off there is no normaliser; exp2(-inf + 0) is the 0 wanted.
    double lse2 = !counts || lse == -infinity_double() ? 0 : lse * LOG2_OF_E;
    float row_add = (float)-lse2;
    double left = is_finite(row_add) ? -lse2 - (double)row_add : 0;
    if (lanes == 1 || lane_id() == 0) {
        a.row_add[row] = row_add;
        a.coefficient[row] = counts ? (float)(gradient * ratio * exp2(left)) : 0.f;
    }
    if (!a.online) return;
    each_of(a.splits, lanes, [&](i64 split) {
        i64 at = split * a.rows + row;
        a.part_factor[at] = counts ? (float)(gradient * ratio * exp2(a.partial[at].x - lse2)) : 0.f;
    });
}

DEV void finish_rows_body(const FinishRowsArgs& a) {
    int lanes = finish_lanes(a.splits, a.num_true);
    i64 row = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / lanes;
    // Whole warps leave where a row is a warp's.
    if (row >= a.rows) return;
    int state = a.state[row];
    RowLoss result = {0, 0};
    if (state == ROW_LIVE) result = a.partial ? row_loss(a, row, lanes) : RowLoss{a.lse[row], 0};
    if (state == ROW_BAD) result = {not_a_number_double(), not_a_number_double()};
    if (a.row_loss && (lanes == 1 || lane_id() == 0)) {
        a.row_loss[row] = result.loss;
        if (a.lse) a.lse[row] = result.lse;
    }
    if (a.gradients) finish_gradients(a, row, lanes, state == ROW_LIVE, result.lse);
}

// Loss times weight of one row; a row that does not take part adds nothing, not even NaN.
DEV double weighted_loss(const ReduceArgs& a, i64 row) {
    if (a.state[row] == ROW_BAD) return not_a_number_double();
    if (a.state[row] != ROW_LIVE) return 0;
    return row_weight(a.sample_weights, row) * a.row_loss[row];
}

DEV void reduce_loss(const ReduceArgs& a, double* room) {
    bool spoilt = a.control->candidates_status != 0;
    double sum = 0;
    u32 bad = 0;
    for (i64 row = threadIdx.x; row < a.rows; row += REDUCTION_BLOCK) {
        double loss = spoilt ? not_a_number_double() : weighted_loss(a, row);
        if (a.reduction == REDUCTION_NONE) a.loss[row] = (float)loss;
        bad |= a.state[row] == ROW_BAD;
        sum += loss;
    }
    if (a.reduction == REDUCTION_NONE) return;
    sum = block_sum(sum, room);
    bad = block_max(bad, reinterpret_cast<u32*>(room));
    double normaliser = a.control->normaliser;
    double loss = normaliser == 0 && !bad ? 0 : sum * normaliser;
    if (threadIdx.x == 0) a.loss[0] = (float)(spoilt ? not_a_number_double() : loss);
}

// The power of two that takes the largest |coefficient| to [2^14, 2^15), so that no probability times a
// coefficient overflows float16; both it and its inverse are normal floats.
DEV void reduce_scale(const ReduceArgs& a, float* room) {
    float most = 0;
    for (i64 row = threadIdx.x; row < a.rows; row += REDUCTION_BLOCK) {
        float size = fabsf(a.coefficient[row]);
        if (is_finite(size) && size > most) most = size;
    }
    most = block_max(most, room);
    if (threadIdx.x || most == 0) return;
    int exponent = (int)(float_bits(most) >> 23) - 127;
    int shift = max(-126, min(126, 14 - exponent));
    a.control->scale_classes = bits_float((u32)(127 + shift) << 23);
    a.control->unscale_classes = bits_float((u32)(127 - shift) << 23);
}

DEV void reduce_body(const ReduceArgs& a) {
    SHARED_ARRAY(double, room, 32);
    if (a.row_loss) reduce_loss(a, room);
    if (a.half && a.coefficient) reduce_scale(a, reinterpret_cast<float*>(room));
    if (threadIdx.x == 0 && a.device_status) *a.device_status = a.control->status;
}

#define INSTANTIATE_finish_rows() ENTRY(finish_rows, FinishRowsArgs, 256, 3, finish_rows_body(args))
#define INSTANTIATE_reduce() ENTRY(reduce, ReduceArgs, REDUCTION_BLOCK, 1, reduce_body(args))
