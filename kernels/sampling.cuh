// Q of every label under the distribution that the candidates were drawn from. The rules are those of
// src/sampler/expected_count.rs; how many tries a draw took is known on the device alone, so that a captured
// graph can be replayed with fresh draws.
//
// A part of begin.cuh; where candidates are only drawn, a launch: true_counts  ceil(count / 256) blocks of 256.
// `info` may be NULL where rule is not 1.
#pragma once
#include "batch.cuh"

// SSL_SAMPLER_*; _ALL is a uniform sample of all classes.
constexpr int SAMPLER_LOG_UNIFORM = 1, SAMPLER_FIXED_UNIGRAM = 2;
enum CountRule { PROPORTIONAL = 0, BY_TRIES = 1, CONSTANT = 2 };

DEV double class_probability(const TrueCountsArgs& a, i64 cls) {
    if (a.sampler == SAMPLER_FIXED_UNIGRAM) return a.probabilities[cls];
    if (a.sampler == SAMPLER_LOG_UNIFORM) return log1p(1.0 / (cls + 1.0)) / log1p((double)a.num_classes);
    return 1.0 / a.num_classes;
}

DEV double expected_count(const TrueCountsArgs& a, i64 cls) {
    double p = class_probability(a, cls);
    // A class of weight 0 is not drawn where all others are, either.
    if (p == 0) return 0;
    if (a.rule == CONSTANT) return a.constant;
    // No draw was rejected where there were as many tries as draws.
    if (a.rule == PROPORTIONAL || a.info->tries == a.num_sampled) return p * a.num_sampled;
    return -expm1(a.info->tries * log1p(-p));
}

// A positive count that float32 would round to 0 becomes its smallest number, for the logarithm's sake.
DEV float narrow_count(double count) {
    float narrow = (float)count;
    return count > 0 && narrow == 0.f ? bits_float(1) : narrow;
}

// 0 for ignored labels, and for what is no class: `rows` reports those.
DEV void true_counts_body(const TrueCountsArgs& a, i64 i) {
    if (i >= a.count) return;
    i64 label = label_at(a.labels, a.labels_dtype, i);
    bool ignored = a.has_ignore_index && label == a.ignore_index;
    double count = ignored || label < 0 || label >= a.num_classes ? 0 : expected_count(a, label);
    if (a.counts_double) static_cast<double*>(a.counts)[i] = count;
    else static_cast<float*>(a.counts)[i] = narrow_count(count);
}

#define INSTANTIATE_true_counts()                                                                         \
    ENTRY(true_counts, TrueCountsArgs, 256, 1, true_counts_body(args, (i64)blockIdx.x * 256 + threadIdx.x))
