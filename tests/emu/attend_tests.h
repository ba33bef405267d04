// Tests of a kernel that takes AttendArgs against float64. Before this are to stand: KERNEL, its name; TESTED, its
// arithmetics; SHAPES, rows, columns and dim of the random cases; and
//     void launch_attend(const Instance&, dim3 grid, const AttendArgs&, const emu::Mode&)
#pragma once
#include "operands.h"

namespace {

// One call and what float64 makes of it.
struct Case {
    Case(const Arithmetic& arithmetic, Table q, Table k, unsigned seed = 1)
        : arithmetic(arithmetic), numbers(seed), q(arithmetic, q), k(arithmetic, k), rows((int)q.size()),
          cols((int)k.size()), col_add(numbers.vector(cols, 1)), row_add(numbers.vector(rows, 1)),
          col_factor(numbers.vector(cols, 1)), hits(rows) {
        for (float& x : row_add) x -= 6;
    }
    static Case random(const Arithmetic& arithmetic, int rows, int cols, int dim) {
        Numbers numbers(rows * 7 + cols);
        return Case(arithmetic, numbers.matrix(rows, dim, 1), numbers.matrix(cols, dim, 1 / std::sqrt(dim)));
    }

    const Instance& instance(const char* mode) const {
        int depth = q.dim() <= 64 ? 64 : q.dim() <= 128 ? 128 : 256;
        return find_instance(emu::text("%s_%s_%d_%s", KERNEL, arithmetic.name, depth, mode));
    }
    bool is_hit(int r, int c) const { return std::count(hits[r].begin(), hits[r].end(), (u32)c) > 0; }
    // Base 2, and how far it may be off.
    double logit(int r, int c, double* allowed) const {
        double sum = 0, size = 0;
        for (size_t i = 0; i < q.values[r].size(); i++) {
            sum += q.values[r][i] * k.values[c][i];
            size += std::fabs(q.values[r][i] * k.values[c][i]);
        }
        double z = sum * LOG2E + col_add[c];
        *allowed = size * LOG2E * (2 * arithmetic.rounding + sum_rounding(q.dim())) + 4 * FLOAT_ROUNDING * std::fabs(z);
        return is_hit(r, c) ? -INFINITY : z;
    }

    Arithmetic arithmetic;
    Numbers numbers;
    OperandData q, k;
    int rows, cols;
    std::vector<float> col_add, row_add, col_factor;  // col_factor empty: NULL
    std::vector<std::vector<u32>> hits;
};

struct Result {
    emu::Array<float> out;       // [splits, rows, dim]
    emu::Array<float2> partial;  // [splits, rows]
    emu::Array<float> row_sums;  // [splits, rows]
};

Result run(const Case& c, const char* kind, int splits, float scale, bool ranges, bool sums = true,
           const emu::Mode& mode = emu::Mode()) {
    const Instance& instance = c.instance(kind);
    HitLists lists(c.hits, ranges);
    auto col_add = emu::Array<float>::of(c.col_add), row_add = emu::Array<float>::of(c.row_add);
    auto col_factor = emu::Array<float>::of(c.col_factor), of_scale = emu::Array<float>::of(std::vector<float>{scale});
    size_t all = (size_t)splits * c.rows;
    Result result{emu::Array<float>(all * c.q.dim()), emu::Array<float2>(all), emu::Array<float>(all)};
    AttendArgs args = {};
    args.q = c.q.operand(), args.k = c.k.operand();
    args.rows = c.rows, args.cols = c.cols, args.dim = c.q.dim();
    args.cols_per_split = tiles(c.cols, instance.cols * splits) * instance.cols;
    args.col_add = col_add.data(), args.hits = lists.hits();
    if (c.hits.empty()) args.hits = Hits();
    args.scale = scale == 1 ? nullptr : of_scale.data();
    args.out = result.out.data();
    if (std::string(kind) == "ONLINE") {
        args.partial = result.partial.data();
    } else {
        args.row_add = row_add.data();
        args.col_factor = c.col_factor.empty() ? nullptr : col_factor.data();
        args.row_sums = sums ? result.row_sums.data() : nullptr;
    }
    dim3 grid(tiles(c.rows, instance.rows), splits);
    launch_attend(instance, grid, args, mode);
    return result;
}

// What a probability p may be off, stored for the product with k: of float16, 2^-25 is half the smallest number.
double stored_error(const Case& c, double p, double relative) {
    double least = c.arithmetic.name == std::string("F16") ? 0x1p-25 : 1e-37;
    return std::fabs(p) * (relative + EXPONENTIAL + c.arithmetic.probability) + least;
}

// Row r against float64, the parts of all splits together.
void compare_row(const Case& c, int r, const std::vector<double>& p, const std::vector<double>& allowed_p,
                 const std::vector<double>& got, Comparison& comparison) {
    for (int i = 0; i < c.q.dim(); i++) {
        double wanted = 0, allowed = 1e-30;
        for (int col = 0; col < c.cols; col++) {
            if (p[col] == 0 && allowed_p[col] == 0) continue;
            double k = i < (int)c.k.values[col].size() ? c.k.values[col][i] : 0;
            wanted += p[col] * k;
            allowed += std::fabs(k) * (allowed_p[col] +
                                       std::fabs(p[col]) * (c.arithmetic.rounding * 2 + sum_rounding(c.cols)));
        }
        comparison.add(got[i], wanted, allowed, emu::text("out[%d, %d]", r, i));
    }
}

std::string describe(const Case& c) {
    return emu::text("%s %dx%dx%d", c.arithmetic.name, c.rows, c.cols, c.q.dim());
}

void check_known(const Case& c, int splits = 1, float scale = 1, bool ranges = false) {
    Result result = run(c, "KNOWN", splits, scale, ranges);
    Comparison out, sums;
    for (int r = 0; r < c.rows; r++) {
        std::vector<double> p(c.cols), allowed(c.cols), got(c.q.dim());
        double sum = 0, sum_allowed = 1e-30, got_sum = 0;
        for (int col = 0; col < c.cols; col++) {
            double factor = c.col_factor.empty() ? 1 : c.col_factor[col], dz;
            double z = c.logit(r, col, &dz);
            if (factor == 0 || z == -INFINITY) continue;
            p[col] = std::exp2(z + c.row_add[r]) * factor * scale;
            dz += 4 * FLOAT_ROUNDING * std::fabs(z + c.row_add[r]);
            allowed[col] = stored_error(c, p[col], dz / LOG2E);
            sum += p[col];
            sum_allowed += std::fabs(p[col]) * (dz / LOG2E + EXPONENTIAL + sum_rounding(c.cols));
        }
        for (int split = 0; split < splits; split++) {
            for (int i = 0; i < c.q.dim(); i++) got[i] += result.out[((size_t)split * c.rows + r) * c.q.dim() + i];
            got_sum += result.row_sums[(size_t)split * c.rows + r];
        }
        compare_row(c, r, p, allowed, got, out);
        sums.add(got_sum, sum, sum_allowed, emu::text("row_sums[%d]", r));
    }
    CHECK_WITHIN(out, describe(c).c_str());
    CHECK_WITHIN(sums, describe(c).c_str());
}

void check_online(const Case& c, int splits = 1, float scale = 1, bool ranges = false) {
    Result result = run(c, "ONLINE", splits, scale, ranges);
    Comparison out, lse;
    for (int r = 0; r < c.rows; r++) {
        double max = -INFINITY, sum = 0, got_max = -INFINITY, got_sum = 0, worst = 0;
        std::vector<double> z(c.cols), dz(c.cols), p(c.cols), allowed(c.cols), got(c.q.dim());
        for (int col = 0; col < c.cols; col++) {
            max = std::max(max, z[col] = c.logit(r, col, &dz[col]));
            worst = std::max(worst, dz[col]);
        }
        for (int split = 0; split < splits; split++)
            got_max = std::max(got_max, (double)result.partial[(size_t)split * c.rows + r].x);
        double shift = got_max > -INFINITY ? got_max : 0;
        for (int col = 0; col < c.cols; col++) {
            // Taken from the kernel's own maximum, as `out` is; the sum is compared below.
            sum += p[col] = std::exp2(z[col] - shift);
            p[col] *= scale;
            double relative = dz[col] / LOG2E + 2 * FLOAT_ROUNDING * std::fabs(shift);
            allowed[col] = p[col] == 0 ? 0 : stored_error(c, p[col], relative);
        }
        for (int split = 0; split < splits; split++) {
            float2 part = result.partial[(size_t)split * c.rows + r];
            double by = part.x > -INFINITY ? std::exp2(part.x - shift) : part.y == 0 ? 0 : 1;
            if (by != 0) got_sum += part.y * by;
            for (int i = 0; i < c.q.dim(); i++) {
                float value = result.out[((size_t)split * c.rows + r) * c.q.dim() + i];
                if (by == 0) CHECK(value == 0, "row %d without columns: out %g", r, value);
                else got[i] += value * by;
            }
        }
        compare_row(c, r, p, allowed, got, out);
        lse.add(std::log2(got_sum) + shift, std::log2(sum) + shift,
                worst + LOG2E * (EXPONENTIAL + sum_rounding(c.cols)), emu::text("log-sum-exp %d", r));
    }
    CHECK_WITHIN(out, describe(c).c_str());
    CHECK_WITHIN(lse, describe(c).c_str());
}

}  // namespace

TEST(online_form_as_in_float64) {
    for (const Arithmetic& arithmetic : TESTED)
        for (auto& [rows, cols, dim] : SHAPES) {
            Case c = Case::random(arithmetic, rows, cols, dim);
            c.hits = some_hits(c.numbers, rows, cols, c.instance("ONLINE").cols);
            check_online(c, 1, 1);
            check_online(c, 2, 32768, true);
        }
}

TEST(known_form_as_in_float64) {
    for (const Arithmetic& arithmetic : TESTED)
        for (auto& [rows, cols, dim] : SHAPES) {
            Case c = Case::random(arithmetic, rows, cols, dim);
            c.hits = some_hits(c.numbers, rows, cols, c.instance("KNOWN").cols);
            check_known(c, 1, 1, true);
            c.col_factor.clear();
            check_known(c, 2, 64);
        }
}

TEST(logits_that_grow_from_tile_to_tile_are_rescaled) {
    for (const Arithmetic& arithmetic : TESTED) {
        Case c = Case::random(arithmetic, 20, 200, 24);
        for (int col = 0; col < 200; col++) c.col_add[col] = (float)col * 0.3f - 40;
        check_online(c);
        std::reverse(c.col_add.begin(), c.col_add.end());
        check_online(c);
    }
}

TEST(all_columns_of_factor_zero_leave_zeros_even_in_a_row_of_nan) {
    for (const Arithmetic& arithmetic : TESTED) {
        Numbers numbers(6);
        Table q = numbers.matrix(5, 24, 1), k = numbers.matrix(70, 24, 1);
        q[2][0] = NAN, q[3][1] = INFINITY;
        Case c(arithmetic, q, k);
        c.row_add[1] = INFINITY, c.row_add[2] = NAN;
        c.col_factor.assign(70, 0);
        Result result = run(c, "KNOWN", 1, 1, false);
        for (float x : result.out) CHECK(x == 0, "%s %g", arithmetic.name, x);
        for (float x : result.row_sums) CHECK(x == 0, "%s %g", arithmetic.name, x);
    }
}

TEST(a_row_of_nan_reaches_no_other) {
    for (const Arithmetic& arithmetic : TESTED)
        for (int dim : {24, 100, 136}) {
            Numbers numbers(7);
            Table q = numbers.matrix(20, dim, 1), k = numbers.matrix(40, dim, 0.1);
            q[3][7] = NAN;
            Case c(arithmetic, q, k);
            check_online(c);
            check_known(c);
        }
}

TEST(columns_that_are_off_and_rows_without_columns) {
    for (const Arithmetic& arithmetic : TESTED) {
        Case c = Case::random(arithmetic, 20, 140, 24);
        for (int col = 0; col < 140; col++)
            if (col < 70 || col % 3) c.col_add[col] = -INFINITY;
        check_online(c);
        check_online(c, 2);
        check_known(c);
        for (int col = 0; col < 140; col++)
            if (col != 130) c.col_add[col] = -INFINITY;
        c.hits[5] = {130, 130};
        check_online(c);
        Result result = run(c, "ONLINE", 1, 1, false);
        CHECK(result.partial[5].x == -INFINITY && result.partial[5].y == 0, "%g", result.partial[5].y);
        for (int i = 0; i < 24; i++) CHECK(result.out[5 * 24 + i] == 0, "%g", result.out[5 * 24 + i]);
    }
}

TEST(more_splits_than_columns_leave_empty_parts) {
    Case c = Case::random(ARITHMETICS[0], 3, 20, 16);
    Result online = run(c, "ONLINE", 3, 1, false), known = run(c, "KNOWN", 3, 1, false);
    for (int r = 0; r < 3; r++)
        for (int split = 1; split < 3; split++) {
            CHECK(online.partial[split * 3 + r].x == -INFINITY && online.partial[split * 3 + r].y == 0, "%d", r);
            CHECK(known.row_sums[split * 3 + r] == 0, "%d", r);
            for (int i = 0; i < 16; i++)
                CHECK(online.out[(split * 3 + r) * 16 + i] == 0 && known.out[(split * 3 + r) * 16 + i] == 0, "%d", i);
        }
}

TEST(no_hits_and_no_row_sums_wanted) {
    Case c = Case::random(ARITHMETICS[0], 5, 20, 16);
    Result with = run(c, "KNOWN", 1, 1, false);
    c.hits.clear();
    Result without = run(c, "KNOWN", 1, 1, false, false);
    CHECK(!memcmp(with.out.data(), without.out.data(), with.out.size() * 4), "other bits");
}

TEST(the_same_bits_in_every_order) {
    for (const Arithmetic& arithmetic : TESTED)
        for (int dim : {56, 104, 168}) {
            Case c = Case::random(arithmetic, 36, 200, dim);
            c.hits = some_hits(c.numbers, 36, 200, 64);
            c.col_factor[100] = 0;
            SameBits partial, online, known, sums;
            for (const emu::Mode& mode : emu::modes()) {
                Result result = run(c, "ONLINE", 1, 1, true, true, mode);
                partial.check(mode, result.partial);
                online.check(mode, result.out);
                Result of_known = run(c, "KNOWN", 2, 1, false, true, mode);
                known.check(mode, of_known.out);
                sums.check(mode, of_known.row_sums);
            }
        }
}
