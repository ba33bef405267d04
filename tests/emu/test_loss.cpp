// Of each row loss, log-sum-exp and the factors of the gradients, against float64 over the very logits that the splits'
// maxima and sums were made of.
#include "tensors.h"
#include "loss.cuh"

INSTANTIATE_finish_rows()

static const double OFF = -INFINITY;

struct Problem {
    i64 rows = 11, num_true = 1, sampled = 40;
    int splits = 3, grad_stride = 1;
    double floor = 0, normaliser = 1;
    bool online = true, spoilt = false;
    std::vector<double> true_logits, sampled_logits;  // [N, T], [N, S]
    std::vector<u8> state;
    std::vector<double> weights, grad_output;  // empty for none
};

static Problem some_problem(i64 num_true, int splits, u64 seed) {
    Random random(seed);
    Problem p;
    p.num_true = num_true, p.splits = splits;
    for (i64 i = 0; i < p.rows * num_true; i++) p.true_logits.push_back(8 * random.uniform());
    for (i64 i = 0; i < p.rows * p.sampled; i++)
        p.sampled_logits.push_back((double)(float)(8 * random.uniform()));
    p.state.assign(p.rows, ROW_LIVE);
    return p;
}

// exp(z - lse), as src/reference.rs has it.
static double share(double logit, double lse) { return logit == OFF ? 0 : std::exp(logit - lse); }
static double kept(double p, double floor) { return floor == 0 ? 1 : p / (p + floor); }

struct Row {
    double lse, loss, upstream, ratio;
    std::vector<double> d_true;
};

static Row solve(const Problem& p, i64 n) {
    const double* labels = &p.true_logits[n * p.num_true];
    const double* sampled = &p.sampled_logits[n * p.sampled];
    std::vector<double> all(labels, labels + p.num_true);
    all.insert(all.end(), sampled, sampled + p.sampled);
    double most = OFF, sum = 0;
    for (double z : all) most = z <= most ? most : z;
    for (double z : all) sum += std::exp(z - most);
    Row row = {most == OFF ? OFF : most + std::log(sum), 0, 1, 0, {}};
    for (i64 t = 0; t < p.num_true; t++) {
        double prob = share(labels[t], row.lse);
        if (p.floor != 0) row.loss -= std::log(prob + p.floor) / p.num_true;
        else row.loss += (labels[t] == OFF ? INFINITY : row.lse - labels[t]) / p.num_true;
        row.ratio += kept(prob, p.floor) / p.num_true;
    }
    double gradient = p.grad_output.empty() ? 1 : p.grad_output[n * p.grad_stride];
    double weight = p.weights.empty() ? 1 : p.weights[n];
    row.upstream = gradient == 0 || weight == 0 || p.normaliser == 0 ? 0 : gradient * weight * p.normaliser;
    for (i64 t = 0; t < p.num_true; t++) {
        double prob = share(labels[t], row.lse);
        double slope = row.upstream * (row.ratio * prob - kept(prob, p.floor) / p.num_true);
        row.d_true.push_back(row.upstream == 0 ? 0 : slope);
    }
    return row;
}

// Maximum and sum of a split in base 2, as `logits` leaves them.
static float2 partial(const Problem& p, i64 n, int split) {
    i64 each = (p.sampled + p.splits - 1) / p.splits;
    float most = -INFINITY, sum = 0;
    for (i64 j = split * each; j < std::min(p.sampled, (split + 1) * each); j++)
        most = fmaxf(most, (float)(p.sampled_logits[n * p.sampled + j] * LOG2_OF_E));
    for (i64 j = split * each; j < std::min(p.sampled, (split + 1) * each); j++) {
        double z = p.sampled_logits[n * p.sampled + j] * LOG2_OF_E;
        if (z != OFF) sum += (float)std::exp2(z - most);
    }
    return {most, sum};
}

struct Outputs {
    Exact<float2> partial;
    Exact<double> lse;
    Exact<float> loss;
    Exact<float> row_add, coefficient, part_factor, d_true;
    Exact<u8> redo;
};

// With `stored`, exponentials are, taken with these row_add.
static Outputs run(const Problem& p, bool backward, const std::vector<double>& kept_lse,
                   bool gradients = true, const std::vector<float>& stored = {}) {
    i64 places = p.rows * p.num_true;
    Outputs o = {Exact<float2>(p.rows * p.splits),
                 Exact<double>(p.rows),
                 Exact<float>(p.rows),
                 Exact<float>(p.rows),
                 Exact<float>(p.rows),
                 Exact<float>(p.rows * p.splits),
                 Exact<float>(places),
                 Exact<u8>((i64)stored.size())};
    for (int split = 0; split < p.splits; split++)
        for (i64 n = 0; n < p.rows; n++) o.partial[split * p.rows + n] = partial(p, n, split);
    for (size_t n = 0; n < kept_lse.size(); n++) o.lse[n] = kept_lse[n];
    Matrix weights((i64)p.weights.size(), 1, F32);
    for (size_t n = 0; n < p.weights.size(); n++) weights.set((i64)n, 0, p.weights[n]);
    Exact<float> grad_output = Exact<float>::of(p.grad_output);
    Exact<double> logits = Exact<double>::of(p.true_logits);
    Exact<u8> state = Exact<u8>::of(p.state);
    Control control = clean_control();
    control.normaliser = p.normaliser, control.candidates_status = p.spoilt ? 1007 : 0;
    FinishRowsArgs args = {};
    args.partial = backward ? nullptr : o.partial.data(), args.splits = backward ? 0 : p.splits;
    args.online = p.online && !backward;
    args.true_logits = logits.data(), args.state = state.data(), args.rows = p.rows, args.reduction = REDUCTION_NONE,
    args.num_true = p.num_true;
    args.floor = p.floor, args.sample_weights = p.weights.empty() ? Tensor{} : weights.tensor();
    args.grad_output = p.grad_output.empty() ? nullptr : grad_output.data();
    args.grad_stride = p.grad_stride, args.gradients = gradients, args.lse = o.lse.data();
    args.loss = backward ? nullptr : o.loss.data(), args.row_add = o.row_add.data();
    args.coefficient = o.coefficient.data(), args.part_factor = o.part_factor.data(),
    args.d_true = o.d_true.data(), args.redo = stored.empty() ? nullptr : o.redo.data();
    i64 lanes = finish_lanes(args.splits, args.num_true);
    Exact<RowTotals> totals(blocks(p.rows * lanes, 256));
    args.totals = totals.data(), args.control = &control;
    SameBits loss, lse, d_true, coefficient, factor;
    for (const emu::Mode& mode : emu::modes()) {
        control.finished_blocks = 0;
        std::copy(stored.begin(), stored.end(), o.row_add.begin());
        emu::launch("finish_rows", dim3(totals.size()), dim3(256), 0, args, mode);
        loss.check(mode, o.loss), lse.check(mode, o.lse), d_true.check(mode, o.d_true);
        coefficient.check(mode, o.coefficient), factor.check(mode, o.part_factor);
    }
    return o;
}

// Relative to the larger of 1 and the value.
static void near(const char* what, i64 n, double got, double want, double bound) {
    CHECK(close(got, want, bound * std::max(1.0, std::fabs(want))), "%s of row %lld: %.9g, want %.9g", what,
          n, got, want);
}

// Forward with gradients, then backward from its log-sum-exp.
static void check_rows(const Problem& p) {
    Outputs forward = run(p, false, {});
    std::vector<double> lses(forward.lse.begin(), forward.lse.end());
    Outputs backward = run(p, true, lses);
    for (i64 n = 0; n < p.rows; n++) {
        if (p.state[n] != ROW_LIVE) continue;
        Row want = solve(p, n);
        near("lse", n, forward.lse[n], want.lse, 1e-6);
        near("loss", n, forward.loss[n], (p.weights.empty() ? 1 : p.weights[n]) * want.loss, 1e-6);
        for (const Outputs* o : {&forward, &backward}) {
            for (i64 t = 0; t < p.num_true; t++)
                near("d_true", n, o->d_true[n * p.num_true + t], want.d_true[t],
                     2e-6 * std::fabs(want.upstream));
            for (i64 j = 0; j < p.sampled; j += 7) {
                double z2 = p.sampled_logits[n * p.sampled + j] * LOG2_OF_E;
                double slope = want.upstream == 0 ? 0 : std::exp2(z2 + o->row_add[n]) * o->coefficient[n];
                double wanted =
                    want.upstream == 0 ? 0 : want.upstream * want.ratio * share(z2 / LOG2_OF_E, want.lse);
                near("sampled gradient", n, slope, wanted, 2e-6 * std::fabs(want.upstream));
            }
        }
        if (!p.online || std::isnan(want.lse)) continue;
        double mass = 0, wanted = 0;
        for (int split = 0; split < p.splits; split++)
            mass += (double)forward.part_factor[split * p.rows + n] * forward.partial[split * p.rows + n].y;
        for (i64 j = 0; j < p.sampled; j++)
            wanted += want.upstream * want.ratio * share(p.sampled_logits[n * p.sampled + j], want.lse);
        near("mass of the parts", n, mass, wanted, 2e-6 * std::fabs(want.upstream));
    }
}

TEST(losses_and_factors_agree_with_float64) {
    for (i64 num_true : {1, 2, 5, 40})
        for (int splits : {1, 3, 4, 5, 37})
            for (double floor : {0.0, 1e-20, 0.3}) {
                Problem p = some_problem(num_true, splits, (u64)(num_true * 100 + splits));
                p.floor = floor;
                check_rows(p);
            }
}

// What float32 cannot hold of the log-sum-exp is in the coefficient.
TEST(large_logits_keep_the_precision_of_the_gradients) {
    for (double shift : {-5000.0, 700.0, 30000.0}) {
        Problem p = some_problem(2, 3, 11);
        for (double& z : p.true_logits) z += shift;
        for (double& z : p.sampled_logits) z += shift;
        check_rows(p);
    }
}

TEST(weights_and_upstream_gradients_enter_every_factor) {
    for (int grad_stride : {0, 1}) {
        Problem p = some_problem(2, 3, 1);
        p.grad_stride = grad_stride, p.normaliser = 0.125;
        Random random(3);
        for (i64 n = 0; n < p.rows; n++) p.weights.push_back(rounded(2 * random.uniform(), F32));
        for (i64 n = 0; n < (grad_stride ? p.rows : 1); n++)
            p.grad_output.push_back(rounded(3 * random.uniform(), F32));
        check_rows(p);
    }
}

// A factor of 0 wins, whatever the others and the row hold.
TEST(row_without_upstream_gradient_has_none) {
    for (int splits : {2, 9}) {
        Problem p = some_problem(1, splits, 2);
        p.grad_output.assign(p.rows, INFINITY);
        p.grad_output[4] = 0;
        p.weights.assign(p.rows, 0);
        p.true_logits[3] = NAN;
        Outputs o = run(p, false, {});
        for (i64 n = 0; n < p.rows; n++) {
            CHECK(o.coefficient[n] == 0 && o.d_true[n] == 0, "row %lld: %g, %g", n, o.coefficient[n],
                  o.d_true[n]);
            CHECK(o.part_factor[n] == 0 && std::isfinite(o.row_add[n]), "row %lld: %g", n, o.part_factor[n]);
        }
    }
}

// p - 1 of a label near certainty; 1 + x in float32 would lose it, 1 + x in float64 nearly.
TEST(confident_rows_keep_their_relative_precision) {
    for (double margin : {20.0, 40.0, 80.0}) {
        Problem p = some_problem(1, 3, 4);
        for (i64 n = 0; n < p.rows; n++) p.true_logits[n] = 8 + margin;
        Outputs o = run(p, false, {});
        for (i64 n = 0; n < p.rows; n++) {
            double sum = 0;
            for (i64 j = 0; j < p.sampled; j++)
                sum += std::exp(p.sampled_logits[n * p.sampled + j] - p.true_logits[n]);
            double want = std::log1p(sum);
            CHECK(std::fabs(o.loss[n] - want) <= 1e-5 * want, "loss %g, want %g", o.loss[n], want);
        }
    }
}

TEST(switched_off_classes_leave_or_end_the_row) {
    for (int splits : {2, 9}) {
        Problem p = some_problem(2, splits, 5);
        auto sampled_off = [&](i64 n) { std::fill_n(&p.sampled_logits[n * p.sampled], p.sampled, OFF); };
        sampled_off(0);
        p.true_logits[2 * 1] = OFF;
        sampled_off(2), p.true_logits[2 * 2] = p.true_logits[2 * 2 + 1] = OFF;
        std::fill_n(&p.sampled_logits[3 * p.sampled], p.sampled / 2, OFF);
        p.true_logits[2 * 4] = p.true_logits[2 * 4 + 1] = OFF;
        check_rows(p);
        Outputs o = run(p, false, {});
        CHECK(o.lse[2] == OFF && o.loss[2] == INFINITY, "all off: %g, %g", o.lse[2], o.loss[2]);
        CHECK(o.loss[1] == INFINITY && std::isfinite(o.lse[1]), "label off: %g, %g", o.lse[1],
              o.loss[1]);
        CHECK(o.d_true[4] == -0.5f && o.d_true[5] == -0.5f, "all off: %g", o.d_true[4]);
        p.floor = 0.1;
        check_rows(p);
    }
}

TEST(equal_labels_and_nothing_sampled_have_loss_ln_t) {
    for (i64 num_true : {1, 2, 3, 7}) {
        Problem p = some_problem(num_true, 2, 6);
        p.true_logits.assign(p.true_logits.size(), 5e4);
        p.sampled_logits.assign(p.sampled_logits.size(), OFF);
        Outputs o = run(p, false, {});
        for (i64 n = 0; n < p.rows; n++)
            CHECK(std::fabs(o.loss[n] - std::log((double)num_true)) < 1e-7, "loss %.17g", o.loss[n]);
    }
}

TEST(nan_and_infinity_stay_in_their_row) {
    for (int splits : {2, 9}) {
        Problem p = some_problem(2, splits, 7);
        Outputs clean = run(p, false, {});
        p.true_logits[2 * 1] = NAN;
        p.sampled_logits[3 * p.sampled + 11] = NAN;
        p.true_logits[2 * 5] = INFINITY;
        p.sampled_logits[6 * p.sampled] = INFINITY;
        std::fill_n(&p.sampled_logits[8 * p.sampled], p.sampled, NAN);
        p.true_logits[2 * 8] = p.true_logits[2 * 8 + 1] = OFF;
        Outputs o = run(p, false, {});
        for (i64 n = 0; n < p.rows; n++) {
            if (n == 1 || n == 3 || n == 5 || n == 6 || n == 8)
                CHECK(std::isnan(o.loss[n]), "row %lld: %g", n, o.loss[n]);
            else CHECK(o.loss[n] == clean.loss[n], "row %lld: %g", n, o.loss[n]);
        }
    }
}

TEST(dead_idle_and_bad_rows_hold_zeros_and_nan) {
    for (int splits : {2, 9}) {
        Problem p = some_problem(2, splits, 8);
        p.state[1] = ROW_DEAD, p.state[2] = ROW_BAD, p.state[3] = ROW_IDLE;
        p.true_logits.assign(p.true_logits.size(), NAN);
        Outputs o = run(p, false, {});
        for (i64 n : {1, 2, 3}) {
            bool bad = n == 2;
            CHECK(bad ? std::isnan(o.loss[n]) : o.loss[n] == 0, "loss %g", o.loss[n]);
            CHECK(bad ? std::isnan(o.lse[n]) : o.lse[n] == 0, "lse %g", o.lse[n]);
            CHECK(o.coefficient[n] == 0 && o.row_add[n] == 0 && o.d_true[2 * n + 1] == 0, "gradient %g",
                  o.d_true[2 * n]);
            CHECK(o.part_factor[n] == 0 && o.part_factor[p.rows + n] == 0, "factor %g", o.part_factor[n]);
        }
    }
}

// Of every row 2^(z + row_add) coefficient is the slope of a sampled logit z, whether its exponentials can be stored with
// the row_add given or the row is to be done again with another.
TEST(stored_exponentials_and_rows_done_again_have_the_gradients_of_float64) {
    for (i64 num_true : {1, 2})
        for (int splits : {3, 9})
            for (double distance : {-4.0, -0.5, 0.0, 20.0, 47.5, 48.5, 200.0, -200.0}) {
                Problem p = some_problem(num_true, splits, 21);
                p.online = false, p.normaliser = 0.25, p.floor = num_true == 2 ? 1e-3 : 0;
                p.state[4] = ROW_DEAD, p.state[5] = ROW_IDLE;
                p.sampled_logits[6 * p.sampled + 3] = NAN, p.sampled_logits[7 * p.sampled] = INFINITY;
                std::vector<float> stored;
                for (i64 n = 0; n < p.rows; n++) {
                    double lse2 = solve(p, n).lse * LOG2_OF_E;
                    bool off = p.state[n] != ROW_LIVE;
                    stored.push_back(off ? -INFINITY : (float)(std::isnan(lse2) ? 0 : distance - lse2));
                }
                Outputs o = run(p, false, {}, true, stored);
                for (i64 n = 0; n < p.rows; n++) {
                    bool live = p.state[n] == ROW_LIVE, finite = n != 6 && n != 7;
                    bool kept = !live || (finite && distance > -1 && distance < 48);
                    CHECK(o.redo[n] == !kept, "row %lld at %g: %d", n, distance, o.redo[n]);
                    CHECK(!kept || o.row_add[n] == stored[n], "row %lld: row_add %g", n, o.row_add[n]);
                    CHECK(live || o.coefficient[n] == 0, "row %lld: %g", n, o.coefficient[n]);
                    if (!live || !finite) continue;
                    Row want = solve(p, n);
                    for (i64 j = 0; j < p.sampled; j += 7) {
                        double z = p.sampled_logits[n * p.sampled + j];
                        double slope = std::exp2(z * LOG2_OF_E + o.row_add[n]) * o.coefficient[n];
                        double wanted = want.upstream * want.ratio * share(z, want.lse);
                        CHECK(std::fabs(slope - wanted) <= 2e-6 * std::fabs(wanted), "row %lld at %g: %g, want %g", n,
                              distance, slope, wanted);
                    }
                }
            }
}

// Bad candidates leave rows bad that were live as their exponentials were stored.
TEST(rows_that_candidates_spoil_are_done_again) {
    Problem p = some_problem(1, 3, 22);
    p.state[2] = ROW_DEAD, p.state[3] = ROW_IDLE;
    std::vector<float> stored(p.rows, -8.f);
    stored[2] = stored[3] = -INFINITY;
    p.spoilt = true;
    Outputs o = run(p, false, {}, true, stored);
    for (i64 n = 0; n < p.rows; n++)
        CHECK(o.redo[n] == (n != 2 && n != 3) && o.coefficient[n] == 0, "row %lld: %d, %g", n, o.redo[n], o.coefficient[n]);
}

TEST(without_gradients_their_arrays_are_not_touched) {
    Outputs o = run(some_problem(2, 2, 9), false, {}, false);
    for (float x : o.d_true) CHECK(float_bits(x) == 0xffffffffu, "d_true %g", x);
    for (float x : o.coefficient) CHECK(float_bits(x) == 0xffffffffu, "coefficient %g", x);
}
