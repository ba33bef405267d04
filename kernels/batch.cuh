// What the caller's batch says of a row and of a label, and how a kernel tells that something is wrong.
#pragma once
#include "convert.cuh"

// SSL_STATUS_* of include/sampled_softmax.h.
constexpr u32 STATUS_INVALID_VALUE = 1000, STATUS_LABEL_RANGE = 1007, STATUS_EXPECTED_COUNT = 1008;

constexpr double LN_2 = 0.69314718055994530942, LOG2_OF_E = 1.4426950408889634074;

DEV void report(Control* control, u32 status) { atomic_max(&control->status, status); }

// Something is wrong with the candidates themselves, so with every row. What a failed draw reported is the
// reason of what kernels then find, and stays.
DEV void report_candidates(Control* control, u32 status) {
    u32 known = control->candidates_status;
    if (known && known != STATUS_LABEL_RANGE && known != STATUS_EXPECTED_COUNT) return;
    report(control, status);
    atomic_max(&control->candidates_status, status);
}

DEV i64 label_at(const void* labels, int dtype, i64 index) {
    return dtype == LABELS_I32 ? (i64) static_cast<const int*>(labels)[index]
                               : static_cast<const i64*>(labels)[index];
}

DEV double count_at(const void* counts, int is_double, i64 index) {
    return is_double ? static_cast<const double*>(counts)[index]
                     : (double)static_cast<const float*>(counts)[index];
}

// An expected count that has a logarithm.
DEV bool is_count(double count) { return count > 0 && count < infinity_double(); }

// 1 where there are no weights.
DEV double row_weight(const Tensor& weights, i64 row) {
    return weights.data ? (double)read_one(weights, row) : 1.0;
}

// The gradient of what follows with respect to the row's own loss. A factor of 0 wins over NaN or infinity
// in the others: the row adds nothing.
DEV double upstream(const float* grad_output, int grad_stride, i64 row, double weight, double normaliser) {
    double gradient = grad_output ? (double)grad_output[row * grad_stride] : 1.0;
    if (gradient == 0 || weight == 0 || normaliser == 0) return 0;
    return gradient * weight * normaliser;
}
