// From the splits' maxima and sums to the loss and what the gradients need: of each row, and from the rows the loss
// as the caller wants it, the scales of 16-bit probabilities and the device status. All in float64: then a loss near 0
// keeps its relative precision. Formulas and special cases are those of forward_row and scale_row in
// src/backend/cpu/rows.rs.
//
// Launch: finish_rows  L = finish_lanes(splits, num_true) threads a row: max(1, ceil(rows * L / 256)) blocks of 256; all
// rows at once, or parts of them one after the other.
// The last of them to be done, of the last launch, adds up what each has left, in the order of the rows.
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
        float2 part = a.partial[split * a.rows + row - a.first];
        if (part.y != 0.f && part.x * LN_2 > most) most = part.x * LN_2;
    });
    mean = lanes_sum(mean, lanes) / a.num_true;
    most = lanes_max(most, lanes);
    double sampled = 0, labels = 0;
    each_of(a.splits, lanes, [&](i64 split) {
        float2 part = a.partial[split * a.rows + row - a.first];
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

// Stored exponentials are 2^x of their probabilities. Up to this x they stand for them: products with weights, and
// of factors with inputs, are far from the ends of float32. With x below 0, of which -1 allows for rounding, an
// exponential might be lost where its probability is not.
constexpr double STORED_RANGE = 48;
DEV bool stands_for_probabilities(double x) { return x >= -1 && x <= STORED_RANGE; }

// The gradient of logit j is g (A p_j - [j is label t] r_t / T). Gives the row's coefficient.
DEV float finish_gradients(const FinishRowsArgs& a, i64 row, int lanes, bool live, double lse) {
    const double* logits = a.true_logits + row * a.num_true;
    double weight = live ? row_weight(a.sample_weights, row) : 0;
    double gradient = live ? upstream(a.grad_output, a.grad_stride, row, weight, a.control->normaliser) : 0;
    bool counts = gradient != 0;
    float stored_add = a.redo ? a.row_add[row] : 0.f;
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
    bool off = stored_add == -infinity();
    bool stored = a.redo && (off || stands_for_probabilities(lse * LOG2_OF_E + (double)stored_add));
    if (stored) row_add = stored_add;
    double left = is_finite(row_add) ? -lse2 - (double)row_add : 0;
    float coefficient = counts ? (float)(gradient * ratio * exp2(left)) : 0.f;
    if (lanes == 1 || lane_id() == 0) {
        a.row_add[row] = row_add;
        a.coefficient[row] = coefficient;
        if (a.redo) a.redo[row - a.first] = !stored;
    }
    if (!a.online) return coefficient;
    each_of(a.splits, lanes, [&](i64 split) {
        i64 at = split * a.rows + row - a.first;
        a.part_factor[at] = counts ? (float)(gradient * ratio * exp2(a.partial[at].x - lse2)) : 0.f;
    });
    return coefficient;
}

// Loss times weight; a row that does not take part adds nothing, not even NaN.
DEV double weighted_loss(const FinishRowsArgs& a, i64 row, int state, double loss) {
    if (state == ROW_BAD) return not_a_number_double();
    return state == ROW_LIVE ? row_weight(a.sample_weights, row) * loss : 0;
}

// Leaves all that belongs to one row, and gives what it adds to the batch.
DEV RowTotals finish_row(const FinishRowsArgs& a, i64 row, int lanes) {
    bool first = lanes == 1 || lane_id() == 0, spoilt = a.control->candidates_status != 0;
    int state = a.state[row];
    // Candidates that are bad spoil every row that would have looked at them.
    if (spoilt && state != ROW_DEAD) state = ROW_BAD;
    RowLoss result = {0, 0};
    if (state == ROW_LIVE) result = a.partial ? row_loss(a, row, lanes) : RowLoss{a.lse[row], 0};
    if (state == ROW_BAD) result = {not_a_number_double(), not_a_number_double()};
    float coefficient = a.gradients ? finish_gradients(a, row, lanes, state == ROW_LIVE, result.lse) : 0.f;
    if (!first) return {0, 0, 0};
    a.state[row] = (unsigned char)state;
    double loss = a.loss ? weighted_loss(a, row, state, result.loss) : 0;
    if (a.loss && a.lse) a.lse[row] = result.lse;
    if (a.loss && a.reduction == REDUCTION_NONE) a.loss[row] = (float)(spoilt ? not_a_number_double() : loss);
    float size = fabsf(coefficient);
    return {loss, is_finite(size) ? size : 0.f, state == ROW_BAD};
}

// ---- the batch ----------------------------------------------------------------------------------

DEV RowTotals add_totals(const RowTotals& x, const RowTotals& y) {
    return {x.loss + y.loss, fmaxf(x.largest, y.largest), x.bad | y.bad};
}

DEV RowTotals block_totals(RowTotals own, double* room) {
    own.loss = block_sum(own.loss, room);
    own.largest = block_max(own.largest, reinterpret_cast<float*>(room));
    own.bad = block_max(own.bad, reinterpret_cast<u32*>(room));
    return own;
}

// The power of two that takes the largest |coefficient| to [2^14, 2^15), so that no probability times a
// coefficient overflows float16; both it and its inverse are normal floats.
DEV void set_scale(Control& control, float largest) {
    if (largest == 0) return;
    int exponent = (int)(float_bits(largest) >> 23) - 127;
    int shift = max(-126, min(126, 14 - exponent));
    control.scale_classes = bits_float((u32)(127 + shift) << 23);
    control.unscale_classes = bits_float((u32)(127 - shift) << 23);
}

DEV void finish_batch(const FinishRowsArgs& a, const RowTotals& all) {
    if (a.loss && a.reduction != REDUCTION_NONE) {
        double normaliser = a.control->normaliser;
        double loss = normaliser == 0 && !all.bad ? 0 : all.loss * normaliser;
        a.loss[0] = (float)(a.control->candidates_status ? not_a_number_double() : loss);
    }
    if (a.half && a.gradients) set_scale(*a.control, all.largest);
    if (a.device_status) *a.device_status = a.control->status;
}

DEV void finish_rows_body(const FinishRowsArgs& a) {
    SHARED_ARRAY(double, room, 32);
    int lanes = finish_lanes(a.splits, a.num_true);
    i64 row = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / lanes;
    // Whole warps pass by where a row is a warp's.
    RowTotals own = {0, 0, 0};
    if (row < a.rows) own = finish_row(a, a.first + row, lanes);
    own = block_totals(own, room);
    if (threadIdx.x == 0) a.totals[a.first_block + blockIdx.x] = own;
    if (a.more || !is_last_block(&a.control->finished_blocks)) return;
    RowTotals all = {0, 0, 0};
    for (i64 i = threadIdx.x; i < a.first_block + gridDim.x; i += blockDim.x) all = add_totals(all, a.totals[i]);
    all = block_totals(all, room);
    if (threadIdx.x == 0) finish_batch(a, all);
}

#define INSTANTIATE_finish_rows() ENTRY(finish_rows, FinishRowsArgs, 256, 3, finish_rows_body(args))
