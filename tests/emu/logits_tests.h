// Tests of a kernel that takes LogitsArgs against float64. Before this are to stand: KERNEL, its name; TESTED, its
// arithmetics, the first one Bf16; SHAPES, rows, columns and dim of the random cases; COLS_IN_EVERY_ORDER, some tiles; and
//     void launch_logits(const Instance&, dim3 grid, const LogitsArgs&, const emu::Mode&)
#pragma once
#include "operands.h"

namespace {

constexpr float OFF = -INFINITY;

// One call and what float64 makes of it.
struct Case {
    Case(const Arithmetic& arithmetic, Table q, Table k, unsigned seed = 1)
        : arithmetic(arithmetic), numbers(seed), q(arithmetic, q), k(arithmetic, k), rows((int)q.size()),
          cols((int)k.size()), col_add(numbers.vector(cols, 1)), row_add(rows), row_factor(rows),
          hits(rows) {
        for (int r = 0; r < rows; r++) row_add[r] = (float)-numbers.uniform(), row_factor[r] = (float)numbers.normal();
    }
    static Case random(const Arithmetic& arithmetic, int rows, int cols, int dim) {
        Numbers numbers(rows * 7 + cols);
        return Case(arithmetic, numbers.matrix(rows, dim, 1), numbers.matrix(cols, dim, 1 / std::sqrt(dim)));
    }

    const Instance& instance(const char* mode) const {
        return find_instance(emu::text("%s_%s_%s", KERNEL, arithmetic.name, mode));
    }
    bool is_hit(int r, int c) const { return std::count(hits[r].begin(), hits[r].end(), (u32)c) > 0; }
    // Base 2, and how far it may be off.
    double logit(int r, int c, double* allowed = nullptr) const {
        double sum = 0, size = 0;
        for (size_t i = 0; i < q.values[r].size(); i++) {
            sum += q.values[r][i] * k.values[c][i];
            size += std::fabs(q.values[r][i] * k.values[c][i]);
        }
        double z = sum * LOG2E + col_add[c];
        if (allowed)
            *allowed = size * LOG2E * (2 * arithmetic.rounding + sum_rounding(q.dim())) +
                       4 * FLOAT_ROUNDING * std::fabs(z);
        return is_hit(r, c) ? -INFINITY : z;
    }
    LogitsArgs arguments(const char* mode, int splits, const HitLists* lists) const {
        int tile = instance(mode).cols;
        LogitsArgs args = {};
        args.q = q.operand(), args.k = k.operand();
        args.rows = rows, args.cols = cols, args.dim = q.dim();
        args.cols_per_split = tiles(cols, tile * splits) * tile;
        if (lists) args.hits = lists->hits();
        return args;
    }

    Arithmetic arithmetic;
    Numbers numbers;
    OperandData q, k;
    int rows, cols;
    std::vector<float> col_add, row_add, row_factor;
    std::vector<std::vector<u32>> hits;
};

dim3 grid_of(const Case& c, const Instance& instance, int splits) { return dim3(tiles(c.rows, instance.rows), splits); }

// Runs LSE; [splits, rows].
emu::Array<float2> run_partial(const Case& c, int splits, bool ranges = false, const emu::Mode& mode = emu::Mode()) {
    const Instance& instance = c.instance("LSE");
    HitLists lists(c.hits, ranges);
    auto col_add = emu::Array<float>::of(c.col_add);
    emu::Array<float2> partial((size_t)splits * c.rows);
    LogitsArgs args = c.arguments("LSE", splits, &lists);
    args.col_add = col_add.data(), args.partial = partial.data();
    launch_logits(instance, grid_of(c, instance, splits), args, mode);
    return partial;
}

// Base 2, from the parts.
double joined(const emu::Array<float2>& partial, int rows, int r) {
    double max = -INFINITY, sum = 0;
    for (size_t i = r; i < partial.size(); i += rows) max = std::max(max, (double)partial[i].x);
    for (size_t i = r; i < partial.size(); i += rows)
        if (partial[i].y != 0) sum += partial[i].y * std::exp2(partial[i].x - max);
    return sum == 0 ? -INFINITY : max + std::log2(sum);
}

void check_log_sum_exp(const Case& c, int splits, bool ranges) {
    auto partial = run_partial(c, splits, ranges);
    Comparison comparison;
    for (int r = 0; r < c.rows; r++) {
        double max = -INFINITY, sum = 0, worst = 0, allowed = 0;
        for (int col = 0; col < c.cols; col++) {
            max = std::max(max, c.logit(r, col, &allowed));
            worst = std::max(worst, allowed);
        }
        for (int col = 0; col < c.cols; col++) sum += std::exp2(c.logit(r, col) - (max > -INFINITY ? max : 0));
        double wanted = sum == 0 ? -INFINITY : max + std::log2(sum);
        allowed = worst + LOG2E * (EXPONENTIAL + sum_rounding(c.cols));
        comparison.add(joined(partial, c.rows, r), wanted, allowed, emu::text("row %d", r));
    }
    CHECK_WITHIN(comparison, emu::text("%s %dx%dx%d", c.arithmetic.name, c.rows, c.cols, c.q.dim()).c_str());
}

struct Probabilities {
    emu::Array<unsigned char> plane[2];
    emu::Array<float> col_sums;
    size_t stride;

    double get(const Case& c, int r, int col) const {
        double p = 0;
        for (int i = 0; i < c.arithmetic.planes; i++)
            p += OperandData::get(c.arithmetic, plane[i].data(), r * stride + col);
        return p;
    }
};

// Float16 has no exponentials.
bool has_exponentials(const Arithmetic& arithmetic) { return arithmetic.name != std::string("F16"); }

struct Exponentials {
    Probabilities e;
    emu::Array<float2> partial;
};

Exponentials run_exponentials(const Case& c, int splits, const emu::Mode& mode = emu::Mode()) {
    const Instance& instance = c.instance("EXPONENTIALS");
    HitLists lists(c.hits, false);
    auto col_add = emu::Array<float>::of(c.col_add), row_add = emu::Array<float>::of(c.row_add);
    size_t stride = (c.cols + 7) / 8 * 8 + 8, bytes = c.rows * stride * c.arithmetic.element_bytes;
    Exponentials all{
        {{emu::Array<unsigned char>(bytes), emu::Array<unsigned char>(bytes)}, emu::Array<float>(1), stride},
        emu::Array<float2>((size_t)splits * c.rows)};
    LogitsArgs args = c.arguments("EXPONENTIALS", splits, &lists);
    args.col_add = col_add.data(), args.row_add = row_add.data(), args.partial = all.partial.data();
    args.p[0] = all.e.plane[0].data(), args.p[1] = all.e.plane[1].data(), args.p_stride = (i64)stride;
    launch_logits(instance, grid_of(c, instance, splits), args, mode);
    return all;
}

// Rows whose exponentials leave float32 are for others to look at.
void check_exponentials(const Case& c, int splits) {
    Exponentials all = run_exponentials(c, splits);
    auto alone = run_partial(c, splits);
    Comparison values;
    for (int r = 0; r < c.rows; r++) {
        bool off = c.row_add[r] == OFF;
        for (int col = 0; col < c.cols; col++) {
            double allowed = 0, z = off ? OFF : c.logit(r, col, &allowed), wanted = off ? 0 : std::exp2(z + c.row_add[r]);
            if (wanted > 0x1p100) continue;
            allowed = wanted * (allowed / LOG2E + 2 * EXPONENTIAL + c.arithmetic.probability) + 0x1p-120;
            values.add(all.e.get(c, r, col), wanted, allowed, emu::text("e[%d, %d]", r, col));
        }
        for (int col = c.cols; col < (c.cols + 7) / 8 * 8; col++)
            CHECK(all.e.get(c, r, col) == 0, "padding [%d, %d] = %g", r, col, all.e.get(c, r, col));
        for (int split = 0; split < splits; split++) {
            size_t at = (size_t)split * c.rows + r;
            CHECK(memcmp(&all.partial[at], &alone[at], sizeof(float2)) == 0, "part %d of row %d: (%g, %g), alone (%g, %g)",
                  split, r, all.partial[at].x, all.partial[at].y, alone[at].x, alone[at].y);
        }
    }
    CHECK_WITHIN(values, emu::text("%s %dx%dx%d", c.arithmetic.name, c.rows, c.cols, c.q.dim()).c_str());
}

Probabilities run_probabilities(const Case& c, int splits, float scale, const emu::Mode& mode = emu::Mode()) {
    const Instance& instance = c.instance("PROBABILITIES");
    HitLists lists(c.hits, false);
    auto col_add = emu::Array<float>::of(c.col_add), row_add = emu::Array<float>::of(c.row_add);
    auto row_factor = emu::Array<float>::of(c.row_factor), of_scale = emu::Array<float>::of(std::vector<float>{scale});
    size_t stride = (c.cols + 7) / 8 * 8 + 8, bytes = c.rows * stride * c.arithmetic.element_bytes;
    Probabilities p{{emu::Array<unsigned char>(bytes), emu::Array<unsigned char>(bytes)},
                    emu::Array<float>((size_t)tiles(c.rows, instance.rows) * c.cols), stride};
    LogitsArgs args = c.arguments("PROBABILITIES", splits, &lists);
    args.col_add = col_add.data(), args.row_add = row_add.data(), args.row_factor = row_factor.data();
    args.scale = scale == 1 ? nullptr : of_scale.data();
    args.p[0] = p.plane[0].data(), args.p[1] = p.plane[1].data(), args.p_stride = (i64)stride;
    args.col_sums = p.col_sums.data();
    launch_logits(instance, grid_of(c, instance, splits), args, mode);
    return p;
}

void check_probabilities(const Case& c, int splits, float scale) {
    Probabilities p = run_probabilities(c, splits, scale);
    Comparison values, sums;
    int tile_rows = c.instance("PROBABILITIES").rows;
    for (int col = 0; col < c.cols; col++)
        for (int first = 0; first < c.rows; first += tile_rows) {
            double sum = 0, sum_allowed = 0;
            for (int r = first; r < std::min(first + tile_rows, c.rows); r++) {
                double allowed = 0, z = c.row_factor[r] == 0 ? -INFINITY : c.logit(r, col, &allowed);
                double wanted = c.row_factor[r] == 0 ? 0 : std::exp2(z + c.row_add[r]) * c.row_factor[r] * scale;
                double relative = allowed / LOG2E + EXPONENTIAL;
                sum += wanted;
                sum_allowed += std::fabs(wanted) * (relative + sum_rounding(tile_rows));
                // Of float16, 2^-25 is half the smallest number.
                allowed = std::fabs(wanted) * (relative + c.arithmetic.probability) + 0x1p-25;
                values.add(p.get(c, r, col), wanted, allowed, emu::text("p[%d, %d]", r, col));
            }
            sums.add(p.col_sums[(size_t)(first / tile_rows) * c.cols + col], sum, sum_allowed + 1e-30,
                     emu::text("sum of tile %d, column %d", first / tile_rows, col));
        }
    std::string what = emu::text("%s %dx%dx%d", c.arithmetic.name, c.rows, c.cols, c.q.dim());
    CHECK_WITHIN(values, what.c_str());
    CHECK_WITHIN(sums, what.c_str());
    for (int r = 0; r < c.rows; r++)
        for (int col = c.cols; col < (c.cols + 7) / 8 * 8; col++)
            CHECK(p.get(c, r, col) == 0, "%s: padding [%d, %d] = %g", what.c_str(), r, col, p.get(c, r, col));
}

}  // namespace

TEST(log_sum_exp_as_in_float64) {
    for (const Arithmetic& arithmetic : TESTED)
        for (auto& [rows, cols, dim] : SHAPES) {
            Case c = Case::random(arithmetic, rows, cols, dim);
            check_log_sum_exp(c, 1, false);
            c.hits = some_hits(c.numbers, rows, cols, c.instance("LSE").cols);
            check_log_sum_exp(c, 1, false);
            check_log_sum_exp(c, 2, true);
        }
}

TEST(more_splits_than_columns_leave_empty_parts) {
    Case c = Case::random(ARITHMETICS[0], 3, 20, 16);
    auto partial = run_partial(c, 3);
    for (int r = 0; r < 3; r++)
        for (int split = 1; split < 3; split++)
            CHECK(partial[split * 3 + r].x == -INFINITY && partial[split * 3 + r].y == 0, "split %d row %d", split, r);
    check_log_sum_exp(c, 3, false);
}

TEST(probabilities_and_their_sums_as_in_float64) {
    for (const Arithmetic& arithmetic : TESTED)
        for (auto& [rows, cols, dim] : SHAPES) {
            Case c = Case::random(arithmetic, rows, cols, dim);
            c.hits = some_hits(c.numbers, rows, cols, c.instance("PROBABILITIES").cols);
            check_probabilities(c, 1, 1);
            check_probabilities(c, 2, 128);
        }
}

TEST(a_row_of_factor_zero_is_zero_whatever_it_holds) {
    for (const Arithmetic& arithmetic : TESTED) {
        Numbers numbers(3);
        Table q = numbers.matrix(70, 24, 1), k = numbers.matrix(40, 24, 0.2);
        q[2][5] = NAN, q[64][0] = INFINITY;
        Case c(arithmetic, q, k);
        c.row_factor[2] = c.row_factor[64] = c.row_factor[20] = 0;
        c.row_add[2] = NAN, c.row_add[20] = INFINITY;
        check_probabilities(c, 1, 1);
    }
}

TEST(exponentials_as_in_float64_and_the_sums_that_are_taken_alone) {
    for (const Arithmetic& arithmetic : TESTED) {
        if (!has_exponentials(arithmetic)) continue;
        for (auto& [rows, cols, dim] : SHAPES) {
            Case c = Case::random(arithmetic, rows, cols, dim);
            c.hits = some_hits(c.numbers, rows, cols, c.instance("EXPONENTIALS").cols);
            // Logits far above and far below what they are taken from, and some between that grow from tile to tile.
            for (int r = 0; r < rows; r++) c.row_add[r] = (float)(r % 4 * 30 - 40);
            for (int col = 0; col < cols; col++) c.col_add[col] += col / 128 * 5;
            check_exponentials(c, 1);
            check_exponentials(c, 2);
        }
    }
}

TEST(rows_that_are_off_have_exponentials_of_zero_whatever_they_hold) {
    for (const Arithmetic& arithmetic : TESTED) {
        if (!has_exponentials(arithmetic)) continue;
        Numbers numbers(3);
        Table q = numbers.matrix(70, 24, 1), k = numbers.matrix(40, 24, 0.2);
        q[2][5] = NAN, q[64][0] = INFINITY;
        Case c(arithmetic, q, k);
        c.row_add[2] = c.row_add[64] = c.row_add[20] = OFF;
        for (int col = 0; col < 20; col++) c.col_add[col] = OFF;
        check_exponentials(c, 1);
    }
}

// As where their exponentials could not be stored: the factor stays outside, and rows beside them keep what they have.
TEST(rows_that_are_done_again_are_the_only_ones_written) {
    for (const Arithmetic& arithmetic : TESTED) {
        Case c = Case::random(arithmetic, 300, 70, 40);
        const Instance& instance = c.instance("PROBABILITIES");
        auto col_add = emu::Array<float>::of(c.col_add), row_add = emu::Array<float>::of(c.row_add);
        c.row_factor[5] = 0;
        auto row_factor = emu::Array<float>::of(c.row_factor);
        // None of the tile of rows 128 to 255, nor of the last.
        emu::Array<unsigned char> redo(300);
        for (int r = 0; r < 300; r++) redo[r] = r < 128 && r % 60 == 5;
        size_t stride = 72, bytes = 300 * stride * arithmetic.element_bytes;
        Probabilities p{{emu::Array<unsigned char>(bytes), emu::Array<unsigned char>(bytes)}, emu::Array<float>(1), stride};
        for (auto& plane : p.plane) std::fill(plane.begin(), plane.end(), (unsigned char)0x11);
        LogitsArgs args = c.arguments("PROBABILITIES", 1, nullptr);
        args.col_add = col_add.data(), args.row_add = row_add.data(), args.row_factor = row_factor.data();
        args.p[0] = p.plane[0].data(), args.p[1] = p.plane[1].data(), args.p_stride = (i64)stride;
        args.redo = redo.data();
        launch_logits(instance, grid_of(c, instance, 1), args, emu::Mode());
        Comparison values;
        for (int r = 0; r < 300; r++)
            for (int col = 0; col < 70; col++) {
                if (!redo[r]) {
                    CHECK(p.plane[0][(r * stride + col) * arithmetic.element_bytes] == 0x11, "[%d, %d]", r, col);
                    continue;
                }
                double allowed = 0, wanted = std::exp2(c.logit(r, col, &allowed) + c.row_add[r]);
                allowed = wanted * (allowed / LOG2E + EXPONENTIAL + arithmetic.probability) + 0x1p-25;
                values.add(p.get(c, r, col), r == 5 ? 0 : wanted, allowed, emu::text("p[%d, %d]", r, col));
            }
        CHECK_WITHIN(values, arithmetic.name);
    }
}

TEST(a_row_of_nan_reaches_no_other) {
    for (const Arithmetic& arithmetic : TESTED) {
        Numbers numbers(4);
        Table q = numbers.matrix(20, 24, 1), k = numbers.matrix(40, 24, 0.2);
        q[3][7] = NAN;
        check_log_sum_exp(Case(arithmetic, q, k), 1, false);
    }
}

TEST(columns_that_are_off_and_rows_without_columns) {
    for (const Arithmetic& arithmetic : TESTED) {
        Case c = Case::random(arithmetic, 20, 140, 24);
        for (int col = 0; col < 140; col += 3) c.col_add[col] = OFF;
        for (int col = 0; col < 128; col++) c.col_add[col] = OFF;
        check_log_sum_exp(c, 1, false);
        check_probabilities(c, 1, 1);
        for (int col = 0; col < 140; col++)
            if (col != 130) c.col_add[col] = OFF;
        c.hits[5] = {130, 130};
        check_log_sum_exp(c, 1, false);
        auto partial = run_partial(c, 1);
        CHECK(partial[5].x == -INFINITY && partial[5].y == 0, "%g, %g", partial[5].x, partial[5].y);
    }
}

TEST(an_infinite_logit_makes_the_sum_nan) {
    Case c = Case::random(*std::rbegin(TESTED), 3, 40, 8);
    c.col_add[17] = INFINITY;
    c.hits[1] = {17};
    auto partial = run_partial(c, 1);
    CHECK(std::isnan(partial[0].y) && !std::isnan(partial[1].y), "%g, %g", partial[0].y, partial[1].y);
}

TEST(no_hits_and_no_sums_wanted) {
    Case c = Case::random(ARITHMETICS[0], 5, 20, 16);
    const Instance& instance = c.instance("PROBABILITIES");
    auto col_add = emu::Array<float>::of(c.col_add), row_add = emu::Array<float>::of(c.row_add);
    auto row_factor = emu::Array<float>::of(c.row_factor);
    emu::Array<u16> p(5 * 24);
    LogitsArgs args = c.arguments("PROBABILITIES", 1, nullptr);
    args.col_add = col_add.data(), args.row_add = row_add.data(), args.row_factor = row_factor.data();
    args.p[0] = p.data(), args.p_stride = 24;
    launch_logits(instance, dim3(1), args, emu::Mode());
    double wanted = std::exp2(c.logit(4, 19) + c.row_add[4]) * c.row_factor[4];
    CHECK(std::fabs(to_float(bf16{p[4 * 24 + 19]}) - wanted) <= std::fabs(wanted) * 0x1p-8, "%g", wanted);
}

TEST(the_same_bits_in_every_order) {
    for (const Arithmetic& arithmetic : TESTED) {
        Case c = Case::random(arithmetic, 70, COLS_IN_EVERY_ORDER, 136);
        c.hits = some_hits(c.numbers, 70, COLS_IN_EVERY_ORDER, 128);
        SameBits partial, plane, sums, exponentials;
        for (const emu::Mode& mode : emu::modes()) {
            partial.check(mode, run_partial(c, 2, true, mode));
            Probabilities p = run_probabilities(c, 1, 1, mode);
            plane.check(mode, p.plane[0]);
            sums.check(mode, p.col_sums);
            if (has_exponentials(arithmetic)) exponentials.check(mode, run_exponentials(c, 2, mode).e.plane[0]);
        }
    }
}
