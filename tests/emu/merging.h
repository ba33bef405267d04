// What is merged into one row for each class, for tests of merge.cuh and of what follows it: candidates' parts and
// labels' shares, and their sums in float64.
#pragma once
#include "tensors.h"
#include "prepare.cuh"
#include "shares.cuh"

#include <map>

struct Problem {
    std::vector<i64> ids, labels;  // negative: none
    i64 classes = 60, dim = 20, padded = 24, num_true = 1, spare = 0, spare_rows = 3;
    int splits = 2, sum_parts = 3, inputs_dtype = F32, weights_dtype = F32, biases_dtype = F32;
    bool sparse = true, weights = true, biases = true, scaled = false;
    size_t modes = 6;
};

inline Problem some_problem(i64 sampled, i64 labels, u64 seed) {
    Random random(seed);
    Problem p;
    for (i64 j = 0; j < sampled; j++) p.ids.push_back(random.below(12) ? random.below(p.classes) : -1);
    for (i64 i = 0; i < labels; i++) p.labels.push_back(random.below(9) ? random.below(p.classes) : -1);
    return p;
}

struct Inputs {
    Inputs(const Problem& p, Random& random)
        : sampled((i64)p.ids.size()),
          labels((i64)p.labels.size()),
          rows((labels + p.num_true - 1) / p.num_true),
          keys(sorted_keys(p.ids, 12)),
          label_keys(sorted_keys(p.labels, 16)),
          inputs(Matrix::random(rows, p.dim, p.inputs_dtype, random, p.spare)),
          parts(p.splits * sampled * p.padded),
          sums(p.sum_parts * sampled),
          d_true(labels),
          unscale(1),
          heads(sampled + 1),
          news(labels + 1),
          heads_before(rank_blocks(sampled)),
          news_before(rank_blocks(labels)) {
        for (float& x : parts) x = (float)random.uniform();
        for (float& x : sums) x = (float)random.uniform();
        for (float& x : d_true) x = (float)random.uniform();
        unscale[0] = p.scaled ? 0.125f : 1.f;
        // A row whose shares are all 0 may hold anything.
        for (i64 n = 0; n < rows; n += 6) {
            inputs.fill(n, NAN);
            for (i64 i = n * p.num_true; i < std::min(labels, (n + 1) * p.num_true); i++) d_true[i] = 0;
        }
        for (int split = 0; split < p.splits; split++)
            for (i64 j = 0; j < sampled; j++)
                for (i64 k = p.dim; k < p.padded; k++) parts[(split * sampled + j) * p.padded + k] = NAN;
    }
    i64 sampled, labels, rows;
    Exact<u64> keys, label_keys;
    Matrix inputs;
    Exact<float> parts, sums, d_true, unscale;
    Exact<u32> heads, news, heads_before, news_before;

    IndexArgs index(const Problem& p, Control* control, i64* num_rows) const {
        return {keys.data(), label_keys.data(), labels, p.num_true, (int)sampled, 12, 16, 0, nullptr, nullptr, nullptr,
                {heads.data(), heads_before.data()}, {news.data(), news_before.data()}, control, num_rows};
    }
};

// Of one class: d elements, then the bias.
using Sums = std::map<i64, std::vector<double>>;

inline Sums solve(const Problem& p, const Inputs& in) {
    Sums sums;
    auto of = [&](i64 cls) -> std::vector<double>& {
        return sums.emplace(cls, std::vector<double>(p.dim + 1)).first->second;
    };
    for (i64 j = 0; j < in.sampled; j++) {
        bool first = in.keys[j] != ~0ull && (j == 0 || in.keys[j - 1] >> 12 != in.keys[j] >> 12);
        if (!first) continue;
        std::vector<double>& sum = of((i64)(in.keys[j] >> 12));
        for (int split = 0; split < p.splits; split++)
            for (i64 k = 0; k < p.dim; k++)
                sum[k] += (double)in.parts[(split * in.sampled + j) * p.padded + k] * in.unscale[0];
        for (int i = 0; i < p.sum_parts; i++)
            sum[p.dim] += (double)in.sums[i * in.sampled + j] * in.unscale[0];
    }
    for (i64 i = 0; i < in.labels; i++) {
        if (p.labels[i] < 0) continue;
        std::vector<double>& sum = of(p.labels[i]);
        for (i64 k = 0; in.d_true[i] != 0 && k < p.dim; k++)
            sum[k] += in.d_true[i] * in.inputs.get(i / p.num_true, k);
        sum[p.dim] += in.d_true[i];
    }
    return sums;
}

// The arguments that both ways to end have in common. `index` is what they look classes up in.
inline MergeRowsArgs merge_args(const Problem& p, const Inputs& in, const Exact<float>& pieces,
                                const IndexArgs& index) {
    MergeRowsArgs args = {};
    args.keys = index.keys, args.label_keys = index.label_keys, args.labels = index.labels;
    args.num_true = p.num_true, args.num_sampled = index.num_sampled, args.index_bits = index.index_bits,
    args.label_bits = index.label_bits;
    args.sparse = p.sparse, args.heads = index.heads, args.news = index.news;
    args.parts = p.weights ? in.parts.data() : nullptr, args.sums = p.biases ? in.sums.data() : nullptr;
    args.pieces = p.weights ? pieces.data() : nullptr, args.splits = p.splits, args.sum_parts = p.sum_parts;
    args.dim = (int)p.dim, args.padded_dim = (int)p.padded, args.unscale = p.scaled ? in.unscale.data() : nullptr;
    args.inputs = in.inputs.tensor(), args.d_true = in.d_true.data(), args.control = index.control;
    return args;
}

// All before the last kernel, which takes `args`.
inline void merge_up_to_rows(const IndexArgs& index, const MergeRowsArgs& args, emu::Mode mode) {
    PrepareArgs prepare = {};
    prepare.index = index;
    emu::launch("prepare", dim3((unsigned)index_blocks(index.num_sampled, index.labels)), dim3(256), 0, prepare, mode);
    SharesArgs shares = {};
    shares.index = index, shares.merge = args, shares.rank_blocks = 1;
    shares.piece_blocks = args.pieces ? index.labels / MERGE_PIECE : 0;
    emu::launch("shares", dim3((unsigned)(1 + shares.piece_blocks)), dim3(256), 0, shares, mode);
}

// Blocks of the last kernel.
inline dim3 merge_blocks(const MergeRowsArgs& args) {
    return dim3(blocks(args.num_sampled + args.labels, std::min<i64>(8, rows_of_block(args.dim))));
}
