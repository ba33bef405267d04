// Candidates gathered into an operand, with their offsets; and inputs packed into one.
#include "tensors.h"
#include "columns.cuh"

#include <algorithm>
#include <map>

// As a part of prepare.cuh runs it.
ENTRY(columns, ColumnsArgs, 256, 4, columns_body(args, blockIdx.x))
INSTANTIATE_pack()

struct Form {
    int planes, dtype;
};
static const std::vector<Form> FORMS = {{0, F32}, {1, F16}, {1, BF16}, {2, BF16}};

// What an operand of the arithmetic's own type holds.
class Packed {
public:
    Packed(i64 rows, i64 dim, Form form)
        : form(form), padded((dim + step(form) - 1) / step(form) * step(form)),
          high(rows, padded, form.planes ? form.dtype : F32), low(rows, padded, BF16) {}
    double value(i64 row, i64 col) const {
        return high.get(row, col) + (form.planes == 2 ? low.get(row, col) : 0);
    }
    void clear(i64 row) {
        high.fill(row, NAN);
        low.fill(row, NAN);
    }
    Form form;
    i64 padded;
    Matrix high, low;

private:
    // 16 bytes.
    static i64 step(Form form) { return form.planes ? 8 : 4; }
};

static void check_row(const Packed& out, i64 row, const Matrix& from, i64 from_row, bool on) {
    for (i64 k = 0; k < out.padded; k++) {
        double x = on && k < from.cols ? from.get(from_row, k) : 0;
        double got = out.value(row, k);
        double want = out.form.planes == 1 ? rounded(x, out.form.dtype) : x;
        double bound = out.form.planes == 2 ? std::fabs(x) * 0x1p-16 : 0;
        CHECK(close(got, want, bound), "row %lld, element %lld: %.9g, want %.9g", row, k, got, want);
    }
}

struct Problem {
    std::vector<i64> ids;
    std::vector<double> counts;
    int counts_double = 1;
    i64 classes = 40, dim = 24, spare = 0;
    int dtype = F32;
    bool biased = true;
    Form form = {0, F32};
};

static Problem some_problem(i64 sampled, u64 seed) {
    Random random(seed);
    Problem p;
    for (i64 i = 0; i < sampled; i++) {
        p.ids.push_back(random.below(p.classes));
        p.counts.push_back(0.01 + 2 * std::fabs(random.uniform()));
    }
    return p;
}

// Runs it in every mode and compares with a map from class to sum of 1/Q. Gives what was reported.
static Control check_columns(const Problem& p) {
    Random random(5);
    Matrix weights = Matrix::random(p.classes, p.dim, p.dtype, random, p.spare);
    Matrix biases = Matrix::random(p.classes, 1, BF16, random);
    biases.set(1, 0, -INFINITY);
    i64 sampled = (i64)p.ids.size();
    std::vector<i64> classes;
    for (i64 id : p.ids) classes.push_back(id < p.classes ? id : -1);
    Exact<u64> keys = sorted_keys(classes, 16);
    Counts counts(p.counts, p.counts_double);
    std::map<i64, double> inverse;
    for (i64 j = 0; j < sampled; j++)
        if (classes[j] >= 0) inverse[classes[j]] += 1 / counts.get(j);
    Packed out(sampled, p.dim, p.form);
    Exact<float> col_add(sampled);
    Exact<Control> control(1);
    SameBits same;
    for (const emu::Mode& mode : emu::modes()) {
        control[0] = clean_control();
        ColumnsArgs args = {weights.tensor(), p.biased ? biases.tensor() : Tensor{}, keys.data(), 16,
                            (int)sampled, p.classes, counts.data(), p.counts_double, (int)p.dim,
                            (int)out.padded, p.form.planes, p.form.dtype, 0, {out.high.data(),
                            out.low.data()}, col_add.data(), control.data()};
        emu::launch("columns", dim3(blocks(sampled, rows_of_block(out.padded))), dim3(256), 0, args, mode);
        same.check(mode, col_add);
        for (i64 j = 0; j < sampled; j++) {
            bool on = keys[j] != ~0ull && (j == 0 || keys[j - 1] >> 16 != keys[j] >> 16);
            check_row(out, j, weights, on ? (i64)(keys[j] >> 16) : 0, on);
            out.clear(j);
        }
    }
    for (i64 j = 0; j < sampled; j++) {
        i64 cls = (i64)(keys[j] >> 16);
        bool on = keys[j] != ~0ull && (j == 0 || (i64)(keys[j - 1] >> 16) != cls);
        double bias = p.biased && on ? biases.get(cls, 0) : 0;
        double want = on ? (bias + std::log(inverse[cls])) / std::log(2.0) : -INFINITY;
        if (on && !std::isfinite(inverse[cls])) want = -INFINITY;
        CHECK(close(col_add[j], want, 1e-6 * std::max(1.0, std::fabs(want))), "col_add[%lld] = %g, want %g",
              j, col_add[j], want);
    }
    return control[0];
}

TEST(every_dtype_and_form_is_gathered) {
    for (Form form : FORMS) {
        for (int dtype : {F32, F16, BF16}) {
            for (i64 dim : {1, 7, 8, 20, 64, 250}) {
                Problem p = some_problem(19, (u64)dim);
                p.form = form, p.dtype = dtype, p.dim = dim, p.spare = dim % 4 * 3, p.biased = dim != 8;
                Control control = check_columns(p);
                CHECK(control.status == 0, "status %u", control.status);
            }
        }
    }
}

TEST(rows_longer_than_a_block_are_gathered) {
    Problem p = some_problem(3, 1);
    p.dim = 2500, p.form = {2, BF16};
    check_columns(p);
}

TEST(copies_of_a_class_are_one_column) {
    Problem p = some_problem(2000, 2);
    p.dim = 4;
    for (i64 j = 0; j < 1500; j++) p.ids[j] = 7;
    for (int counts_double : {0, 1}) {
        p.counts_double = counts_double;
        check_columns(p);
    }
}

TEST(one_candidate_is_enough) {
    Problem p = some_problem(1, 3);
    check_columns(p);
}

// The counts of the others still make their columns.
TEST(ids_out_of_range_are_off_and_reported) {
    Problem p = some_problem(30, 4);
    p.ids[3] = p.ids[20] = p.classes;
    Control control = check_columns(p);
    CHECK(control.status == 1007 && control.candidates_status == 1007, "status %u", control.status);
}

TEST(counts_without_a_logarithm_are_reported) {
    for (double count : {0.0, -1.0, (double)INFINITY, (double)NAN}) {
        for (i64 copies : {1, 3, 70}) {
            Problem p = some_problem(100, 6);
            for (i64 j = 0; j < 100; j++) p.ids[j] = j < copies ? 5 : 6 + j % 30;
            p.counts[copies - 1] = count;
            Random random(5);
            Matrix weights = Matrix::random(p.classes, p.dim, F32, random);
            Exact<u64> keys = sorted_keys(p.ids, 16);
            Counts counts(p.counts, 0);
            Packed out(100, p.dim, p.form);
            Exact<float> col_add(100);
            Exact<Control> control = Exact<Control>::of(std::vector<Control>{clean_control()});
            ColumnsArgs args = {weights.tensor(), Tensor{}, keys.data(), 16, 100, p.classes, counts.data(), 0,
                                (int)p.dim, (int)out.padded, 0, F32, 0, {out.high.data(), nullptr},
                                col_add.data(), control.data()};
            emu::launch("columns", dim3(blocks(100, rows_of_block(out.padded))), dim3(256), 0, args);
            CHECK(control[0].status == 1008 && control[0].candidates_status == 1008, "status %u for %g",
                  control[0].status, count);
            CHECK(col_add[0] == -INFINITY, "col_add[0] = %g", col_add[0]);
            CHECK(std::isfinite(col_add[copies]), "col_add[%lld] = %g", copies, col_add[copies]);
        }
    }
}

static void pack(const Matrix& from, Packed& out, const float* factor, const emu::Mode& mode, int scaled = 0) {
    PackArgs args = {from.tensor(), (int)from.rows, (int)from.cols, (int)out.padded, out.form.planes,
                     out.form.dtype, scaled, factor, {out.high.data(), out.low.data()}};
    emu::launch("pack", dim3(blocks(from.rows, rows_of_block(out.padded))), dim3(256), 0, args, mode);
}

TEST(inputs_are_packed_and_rows_of_factor_0_left_out) {
    for (Form form : FORMS) {
        for (int dtype : {F32, F16, BF16}) {
            for (i64 dim : {1, 12, 33, 128, 300}) {
                Random random((u64)dim);
                Matrix from = Matrix::random(37, dim, dtype, random, dim % 3);
                Exact<float> factor(37);
                for (i64 row = 0; row < 37; row++) {
                    factor[row] = row % 5 ? 1e-30f : 0.f;
                    if (row % 5 == 0) from.fill(row, NAN);
                }
                Packed out(37, dim, form);
                pack(from, out, factor.data(), emu::modes()[dim % 6]);
                for (i64 row = 0; row < 37; row++) check_row(out, row, from, row, row % 5 != 0);
            }
        }
    }
}

TEST(inputs_are_packed_times_their_factors) {
    for (Form form : FORMS)
        for (int dtype : {F32, F16, BF16}) {
            Random random(8);
            Matrix from = Matrix::random(20, 41, dtype, random, 3), scaled(20, 41, F32);
            Exact<float> factor(20);
            for (i64 row = 0; row < 20; row++) {
                factor[row] = row % 5 ? (float)random.uniform() : 0.f;
                if (row % 5 == 0) from.fill(row, NAN);
                for (i64 k = 0; k < 41; k++) scaled.set(row, k, row % 5 ? (float)from.get(row, k) * factor[row] : 0);
            }
            Packed out(20, 41, form);
            pack(from, out, factor.data(), emu::Mode(), 1);
            for (i64 row = 0; row < 20; row++) check_row(out, row, scaled, row, row % 5 != 0);
        }
}

TEST(rounding_is_to_nearest_even_and_overflow_of_float16_infinite) {
    std::vector<double> values = {1 + 0x1p-11, 1 + 3 * 0x1p-11, 65519,      65520,
                                  -65520,      0x1p-25,         1 + 0x1p-8, 1 + 3 * 0x1p-8};
    Matrix from(1, 8, F32);
    for (i64 k = 0; k < 8; k++) from.set(0, k, values[k]);
    Packed half(1, 8, {1, F16}), brain(1, 8, {1, BF16});
    pack(from, half, nullptr, emu::Mode());
    pack(from, brain, nullptr, emu::Mode());
    std::vector<double> halves = {1, 1 + 0x1p-9, 65504, INFINITY, -INFINITY, 0};
    for (i64 k = 0; k < 6; k++) CHECK(half.high.get(0, k) == halves[k], "float16 %g", half.high.get(0, k));
    CHECK(brain.high.get(0, 6) == 1 && brain.high.get(0, 7) == 1 + 0x1p-6, "bfloat16 %g",
          brain.high.get(0, 7));
}

TEST(planes_add_up_at_the_ends_of_the_range) {
    std::vector<double> values = {
        3.4028234663852886e38, -3.4028234663852886e38, 1e-38, 0, INFINITY, -INFINITY, NAN, 1e38};
    Matrix from(1, 8, F32);
    for (i64 k = 0; k < 8; k++) from.set(0, k, values[k]);
    Packed out(1, 8, {2, BF16});
    pack(from, out, nullptr, emu::Mode());
    for (i64 k = 0; k < 8; k++) {
        CHECK(close(out.value(0, k), values[k], std::fabs(values[k]) * 0x1p-15 + 1e-40), "%g from %g",
              out.value(0, k), values[k]);
        CHECK(std::isfinite(out.low.get(0, k)), "low part %g of %g", out.low.get(0, k), values[k]);
    }
}
