// d_inputs from parts and labels, sums over chunks.
#include "tensors.h"
#include "gradients.cuh"

#include <algorithm>

// As a part of shares.cuh runs it.
ENTRY(d_inputs, DInputsArgs, 256, 4, d_inputs_body(args, blockIdx.x))
INSTANTIATE_add_sums()

struct Problem {
    i64 all_rows = 14, first = 0, rows = 14, dim = 24, padded = 24, num_true = 1, classes = 30, spare = 0;
    int splits = 2, weights_dtype = F32, out_dtype = F32, labels_dtype = LABELS_I64;
    bool factors = true, one_factor = false, scaled = false;
};

// Rows 3 and 9 take no part, row 5 has no upstream gradient; what is not to be read holds NaN.
static void check_d_inputs(const Problem& p) {
    Random random((u64)(p.dim * 7 + p.num_true));
    Matrix weights = Matrix::random(p.classes, p.dim, p.weights_dtype, random, p.spare);
    weights.fill(0, NAN);
    std::vector<i64> classes;
    for (i64 i = 0; i < p.all_rows * p.num_true; i++) classes.push_back(1 + random.below(p.classes - 1));
    std::vector<u8> states(p.all_rows, ROW_LIVE);
    states[3] = ROW_DEAD, states[9] = ROW_BAD;
    for (i64 t = 0; t < p.num_true; t++)
        classes[3 * p.num_true + t] = -100, classes[9 * p.num_true + t] = 1 << 30;
    Exact<float> parts(p.splits * p.rows * p.padded), factor(p.splits * p.all_rows),
        d_true(p.all_rows * p.num_true);
    for (float& x : parts) x = (float)random.uniform();
    for (float& x : factor) x = (float)random.uniform();
    for (float& x : d_true) x = (float)random.uniform();
    for (i64 t = 0; t < p.num_true; t++) d_true[5 * p.num_true + t] = 0, classes[5 * p.num_true + t] = 0;
    for (int split = 0; split < p.splits; split++) {
        for (i64 k = 0; p.factors && p.first <= 5 && k < p.padded; k++)
            parts[(split * p.rows + 5 - p.first) * p.padded + k] = NAN;
        factor[split * p.all_rows + 5] = 0;
    }
    Labels labels(classes, p.labels_dtype);
    Exact<u8> state = Exact<u8>::of(states);
    Exact<float> unscale = Exact<float>::of(std::vector<float>{0.25f});
    i64 factor_stride = p.one_factor ? 0 : p.all_rows;
    Matrix out(p.all_rows, p.dim, p.out_dtype, p.spare);
    DInputsArgs args = {parts.data(), p.splits, (int)p.padded, p.factors ? factor.data() : nullptr,
                        factor_stride, p.scaled ? unscale.data() : nullptr, weights.tensor(), labels.data(),
                        p.labels_dtype, (int)p.dim, p.first, p.rows, p.num_true, d_true.data(), state.data(),
                        out.data(), out.stride, p.out_dtype, 0};
    for (const emu::Mode& mode : emu::modes())
        emu::launch("d_inputs", dim3(blocks(p.rows, rows_of_block(p.dim))), dim3(256), 0, args, mode);
    for (i64 n = 0; n < p.all_rows; n++) {
        for (i64 k = 0; k < p.dim; k++) {
            if (n < p.first || n >= p.first + p.rows) {
                CHECK(out.untouched(n, k), "row %lld of another chunk", n);
                continue;
            }
            double want = 0;
            for (int split = 0; split < p.splits && states[n] == ROW_LIVE; split++) {
                double f = !p.factors ? 1 : factor[split * factor_stride + n];
                float part = parts[(split * p.rows + n - p.first) * p.padded + k];
                if (f != 0) want += f * part * (p.scaled ? 0.25 : 1);
            }
            for (i64 t = 0; t < p.num_true && states[n] == ROW_LIVE; t++)
                if (n != 5) want += d_true[n * p.num_true + t] * weights.get(classes[n * p.num_true + t], k);
            double bound = 1e-5 + std::fabs(want) * (p.out_dtype == F32   ? 0
                                                     : p.out_dtype == F16 ? 0x1p-11
                                                                          : 0x1p-8);
            CHECK(close(out.get(n, k), want, bound), "[%lld, %lld] = %g, want %g", n, k, out.get(n, k), want);
        }
    }
}

TEST(d_inputs_of_every_dtype_and_length) {
    int dtypes[] = {F32, F16, BF16};
    std::vector<i64> dims = {1, 3, 8, 20, 33, 64, 250, 256, 2100};
    for (int i = 0; i < 9; i++) {
        Problem p;
        p.dim = dims[i], p.padded = (p.dim + 7) / 8 * 8 - (i % 2 ? 0 : p.dim % 8 && p.dim % 8 <= 4 ? 4 : 0);
        p.weights_dtype = dtypes[i % 3], p.out_dtype = dtypes[i / 3], p.spare = i % 4;
        p.num_true = 1 + i % 3, p.labels_dtype = i % 2, p.scaled = i % 2;
        check_d_inputs(p);
    }
}

TEST(d_inputs_with_one_factor_or_none_or_no_parts) {
    for (int i = 0; i < 3; i++) {
        Problem p;
        p.one_factor = i == 0, p.factors = i != 1, p.splits = i == 2 ? 0 : 3;
        check_d_inputs(p);
    }
}

TEST(d_inputs_by_chunks_of_rows) {
    for (i64 first : {0, 4, 8}) {
        Problem p;
        p.first = first, p.rows = first == 8 ? 6 : 4, p.factors = first == 4, p.splits = 1;
        check_d_inputs(p);
    }
}

TEST(d_inputs_overflow_to_infinity_in_float16) {
    Problem p;
    Matrix out(1, 8, F16), weights(1, 8, F32);
    weights.fill(0, 70000);
    Labels labels({0}, LABELS_I64);
    float d_true = 1;
    u8 state = ROW_LIVE;
    DInputsArgs args = {};
    args.weights = weights.tensor(), args.labels = labels.data(), args.dim = args.padded_dim = 8,
    args.rows = 1;
    args.num_true = 1, args.d_true = &d_true, args.state = &state, args.out = out.data(), args.out_stride = 8;
    args.out_dtype = F16;
    emu::launch("d_inputs", dim3(1), dim3(256), 0, args);
    CHECK(out.get(0, 3) == INFINITY, "%g", out.get(0, 3));
}

TEST(sums_of_chunks_are_added_in_order) {
    for (int count : {1, 3, 64}) {
        Random random((u64)count);
        Exact<float> parts(count * 300), total(300);
        for (float& x : parts) x = (float)random.uniform();
        for (int accumulate : {0, 1}) {
            emu::launch("add_sums", dim3(2), dim3(256), 0,
                        AddSumsArgs{parts.data(), total.data(), count, 300, accumulate, 0});
            for (int c = 0; c < 300; c++) {
                double want = 0;
                for (int i = 0; i < count; i++) want += (1 + accumulate) * (double)parts[i * 300 + c];
                CHECK(close(total[c], want, 1e-5), "total[%d] = %g, want %g", c, total[c], want);
            }
        }
    }
}
