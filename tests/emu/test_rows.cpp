// The reduction's normaliser, and what is found of each row before the matrix work.
#include "tensors.h"
#include "begin.cuh"
#include "rows.cuh"

#include <algorithm>
#include <set>

INSTANTIATE_begin()
// As a part of prepare.cuh runs it.
ENTRY(rows, RowsArgs, 256, 4, rows_body(args, blockIdx.x))

struct Problem {
    i64 rows = 13, classes = 50, dim = 20, num_true = 1, spare = 0;
    int inputs_dtype = F32, weights_dtype = F32, labels_dtype = LABELS_I64, counts_double = 1;
    bool adds = true, biased = true, mask_hits = true, has_ignore_index = false, backward = false;
    i64 ignore_index = -100;
    std::vector<i64> labels, ids;
    std::vector<double> counts, weights;  // of the labels; of the rows, empty for none
    std::vector<float> grad_output;       // empty for none
    std::vector<i64> nan_rows;
};

static Problem some_problem(i64 num_true, u64 seed, i64 sampled = 30) {
    Random random(seed);
    Problem p;
    p.num_true = num_true;
    for (i64 i = 0; i < p.rows * num_true; i++) {
        p.labels.push_back(random.below(p.classes));
        p.counts.push_back(0.01 + std::fabs(random.uniform()));
    }
    for (i64 j = 0; j < sampled; j++) p.ids.push_back(random.below(p.classes));
    return p;
}

struct Found {
    std::vector<int> state;
    Control control;
};

// Runs it in every mode; true logits against float64, hits against a set.
static Found check_rows(const Problem& p, const Control& before = clean_control()) {
    Random random(77);
    Matrix inputs = Matrix::random(p.rows, p.dim, p.inputs_dtype, random, p.spare);
    Matrix weights = Matrix::random(p.classes, p.dim, p.weights_dtype, random, p.spare);
    Matrix biases = Matrix::random(p.classes, 1, F16, random);
    for (i64 row : p.nan_rows) inputs.fill(row, NAN);
    Matrix sample_weights(p.weights.empty() ? 0 : p.rows, 1, F32);
    for (size_t n = 0; n < p.weights.size(); n++) sample_weights.set((i64)n, 0, p.weights[n]);
    Labels labels(p.labels, p.labels_dtype);
    Counts counts(p.counts, p.counts_double);
    Exact<u64> keys = sorted_keys(p.ids, 12);
    Exact<float> grad_output = Exact<float>::of(p.grad_output);
    i64 places = p.rows * p.num_true;
    Exact<u8> state(p.rows);
    Exact<double> logits(places);
    Exact<u32> hits(p.mask_hits ? places : 0);
    Exact<Control> control(1);
    Exact<float> row_add(p.rows);
    RowsArgs args = {};
    args.inputs = inputs.tensor(), args.weights = weights.tensor(), args.row_add = p.adds ? row_add.data() : nullptr;
    if (p.biased) args.biases = biases.tensor();
    if (!p.weights.empty()) args.sample_weights = sample_weights.tensor();
    args.labels = labels.data(), args.labels_dtype = p.labels_dtype;
    args.has_ignore_index = p.has_ignore_index, args.ignore_index = p.ignore_index;
    args.rows = p.rows, args.num_true = p.num_true, args.num_classes = p.classes, args.dim = (int)p.dim;
    args.true_counts = counts.data(), args.counts_double = p.counts_double;
    args.keys = keys.data(), args.index_bits = 12, args.num_sampled = (int)p.ids.size(),
    args.mask_hits = p.mask_hits;
    args.grad_output = p.grad_output.empty() ? nullptr : grad_output.data();
    args.grad_stride = (i64)p.grad_output.size() == p.rows, args.backward = p.backward;
    args.state = state.data(), args.true_logits = logits.data(), args.hits = hits.data(),
    args.control = control.data();
    SameBits same_state, same_logits, same_hits;
    for (const emu::Mode& mode : emu::modes()) {
        control[0] = before;
        emu::launch("rows", dim3(blocks(p.rows, 8)), dim3(256), 0, args, mode);
        same_state.check(mode, state), same_logits.check(mode, logits);
        if (p.mask_hits) same_hits.check(mode, hits);
    }
    for (i64 n = 0; n < p.rows; n++) {
        std::set<u32> wanted;
        for (i64 t = 0; t < p.num_true; t++) {
            i64 place = n * p.num_true + t, label = p.labels[place];
            double want = 0;
            if (state[n] == ROW_LIVE) {
                want = (p.biased ? biases.get(label, 0) : 0) - std::log(counts.get(place));
                for (i64 k = 0; k < p.dim; k++) want += inputs.get(n, k) * weights.get(label, k);
                for (size_t j = 0; j < keys.size(); j++)
                    if ((i64)(keys[j] >> 12) == label && wanted.insert((u32)j).second) break;
                    else if ((i64)(keys[j] >> 12) == label) break;
            }
            CHECK(close(logits[place], want, 1e-12), "logit %lld: %.17g, want %.17g", place, logits[place],
                  want);
        }
        double most = logits[n * p.num_true];
        for (i64 t = 1; t < p.num_true; t++) most = std::max(most, logits[n * p.num_true + t]);
        double add = state[n] != ROW_LIVE ? -INFINITY : std::isfinite(most) ? -most * LOG2_OF_E : 0;
        if (p.adds) CHECK(row_add[n] == (float)add, "row_add[%lld] = %g, want %g", n, row_add[n], add);
        std::vector<u32> list(wanted.begin(), wanted.end());
        list.resize(p.num_true, NO_HIT);
        for (i64 t = 0; p.mask_hits && t < p.num_true; t++)
            CHECK(hits[n * p.num_true + t] == list[t], "hit %lld of row %lld: %u, want %u", t, n,
                  hits[n * p.num_true + t], list[t]);
    }
    return {std::vector<int>(state.begin(), state.end()), control[0]};
}

static void check_all_live(const Problem& p) {
    Found found = check_rows(p);
    for (int state : found.state) CHECK(state == ROW_LIVE, "state %d", state);
    CHECK(found.control.status == 0, "status %u", found.control.status);
}

TEST(logits_and_hits_of_every_dtype_and_length) {
    int dtypes[] = {F32, F16, BF16};
    for (int i = 0; i < 9; i++) {
        Problem p = some_problem(1 + i % 3, (u64)i);
        p.inputs_dtype = dtypes[i % 3], p.weights_dtype = dtypes[i / 3];
        p.dim = std::vector<i64>{1, 7, 8, 31, 64, 100, 255, 256, 600}[i], p.spare = i % 4;
        p.labels_dtype = i % 2, p.counts_double = i / 2 % 2, p.biased = i != 4;
        check_all_live(p);
    }
}

TEST(hits_of_many_labels_ascend_and_are_listed_once) {
    for (i64 num_true : {2, 5, 31, 32, 33, 64, 100})
        check_all_live(some_problem(num_true, (u64)num_true, 40));
}

TEST(hits_are_found_among_many_candidates) {
    for (i64 sampled : {1, 31, 32, 33, 1023, 1024, 1025, 3000}) {
        Problem p = some_problem(2, (u64)sampled, sampled);
        p.classes = 4000;
        Random random((u64)sampled);
        for (i64& id : p.ids) id = random.below(4000);
        for (size_t i = 0; i < p.labels.size(); i++)
            p.labels[i] = i % 2 ? random.below(4000) : p.ids[i % p.ids.size()];
        check_all_live(p);
    }
}

TEST(without_masking_no_hits_are_written) {
    Problem p = some_problem(2, 9);
    p.mask_hits = false;
    check_all_live(p);
}

TEST(ignored_and_weightless_rows_are_not_looked_at) {
    Problem p = some_problem(3, 10);
    p.has_ignore_index = true;
    for (i64 t = 0; t < 3; t++) p.labels[4 * 3 + t] = -100, p.counts[4 * 3 + t] = 0;
    p.weights.assign(13, 2.0);
    p.weights[7] = 0;
    p.nan_rows = {4, 7};
    Found found = check_rows(p);
    for (i64 n = 0; n < 13; n++)
        CHECK(found.state[n] == (n == 4   ? ROW_DEAD
                                 : n == 7 ? ROW_IDLE
                                          : ROW_LIVE),
              "row %lld: %d", n, found.state[n]);
    CHECK(found.control.status == 0, "status %u", found.control.status);
}

TEST(upstream_gradients_of_0_count_in_backward_alone) {
    for (bool backward : {false, true}) {
        Problem p = some_problem(1, 11);
        p.backward = backward;
        p.grad_output.assign(13, 1.f);
        p.grad_output[2] = 0, p.grad_output[3] = NAN;
        Found found = check_rows(p);
        CHECK(found.state[2] == (backward ? ROW_IDLE : ROW_LIVE), "state %d", found.state[2]);
        CHECK(found.state[3] == ROW_LIVE, "state %d", found.state[3]);
        p.grad_output.assign(1, 0.f);
        CHECK(check_rows(p).state[5] == (backward ? ROW_IDLE : ROW_LIVE), "one gradient for all rows");
        p.grad_output.clear();
        Control nothing = clean_control();
        nothing.normaliser = 0;
        CHECK(check_rows(p, nothing).state[5] == (backward ? ROW_IDLE : ROW_LIVE), "normaliser 0");
    }
}

// Each at the very ends of the arrays, where a read outside of them would be a fault.
TEST(bad_labels_and_counts_make_bad_rows) {
    struct Bad {
        i64 label;
        double count;
        u32 status;
    };
    for (Bad bad : std::vector<Bad>{{50, 1, 1007},
                                    {-1, 1, 1007},
                                    {1 << 30, 1, 1007},
                                    {3, 0, 1008},
                                    {3, NAN, 1008},
                                    {3, INFINITY, 1008},
                                    {3, -1, 1008},
                                    {-100, 1, 1000}}) {
        for (i64 num_true : {1, 3, 40}) {
            if (bad.status == 1000 && num_true == 1) continue;
            for (i64 row : {0, 12}) {
                Problem p = some_problem(num_true, 12);
                p.has_ignore_index = true;
                i64 place = row * num_true + (row ? num_true - 1 : 0);
                p.labels[place] = bad.label, p.counts[place] = bad.count;
                p.weights.assign(13, row ? 1.0 : 0.0);
                Found found = check_rows(p);
                CHECK(found.state[row] == ROW_BAD, "label %lld: state %d", bad.label, found.state[row]);
                CHECK(found.state[5] == (row ? ROW_LIVE : ROW_IDLE), "other row: %d", found.state[5]);
                CHECK(found.control.status == bad.status, "status %u", found.control.status);
                CHECK(found.control.candidates_status == 0, "candidates %u", found.control.candidates_status);
            }
        }
    }
}

TEST(a_label_that_overflows_float32_is_infinite) {
    Exact<double> logits(2);
    Exact<u8> state(2);
    Exact<Control> control = Exact<Control>::of(std::vector<Control>{clean_control()});
    Matrix inputs(2, 1, F32), weights(1, 1, F32);
    inputs.set(0, 0, 1e20), inputs.set(1, 0, -1e20), weights.set(0, 0, 1e20);
    Labels labels({0, 0}, LABELS_I32);
    Counts counts({1, 1}, 0);
    RowsArgs args = {};
    args.inputs = inputs.tensor(), args.weights = weights.tensor(), args.labels = labels.data();
    args.labels_dtype = LABELS_I32, args.rows = 2, args.num_true = 1, args.num_classes = 1, args.dim = 1;
    args.true_counts = counts.data(), args.state = state.data(), args.true_logits = logits.data();
    args.control = control.data();
    emu::launch("rows", dim3(1), dim3(256), 0, args);
    CHECK(logits[0] == INFINITY && logits[1] == -INFINITY, "logits %g, %g", logits[0], logits[1]);
}

TEST(normaliser_is_one_over_the_weights_of_rows_not_ignored) {
    for (i64 rows : {0, 1, 2, 1000, 5000}) {
        Random random((u64)rows);
        Matrix weights = Matrix::random(rows, 1, F32, random);
        std::vector<i64> values;
        for (i64 n = 0; n < rows; n++) {
            values.push_back(n % 3 ? n : -7), values.push_back(n % 3 ? 1 : -7);
            weights.set(n, 0, n % 3 ? 1 + weights.get(n, 0) : NAN);
        }
        for (bool mean : {false, true}) {
            for (bool weighted : {false, true}) {
                double total = 0;
                for (i64 n = 0; n < rows; n++) total += n % 3 == 0 ? 0 : weighted ? weights.get(n, 0) : 1;
                Labels labels(values, LABELS_I32);
                Exact<Control> control(1);
                DrawInfo drawn = {9, 1007, 0, 0};
                BeginArgs args = {weighted ? weights.tensor() : Tensor{}, labels.data(), LABELS_I32, 1, -7,
                                  rows, 2, mean, 0, weighted ? &drawn : nullptr, {}, {}, {}, control.data()};
                SameBits same;
                for (const emu::Mode& mode : emu::modes()) {
                    emu::launch("begin", dim3(1), dim3(1024), 65536, args, mode);
                    same.check(mode, control);
                }
                double want = !mean ? 1 : total == 0 ? 0 : 1 / total;
                CHECK(close(control[0].normaliser, want, 1e-14), "normaliser %g, want %g",
                      control[0].normaliser, want);
                u32 status = weighted ? 1007 : 0;
                CHECK(control[0].status == status && control[0].candidates_status == status,
                      "status of the draw");
                CHECK(control[0].scale_rows == 32768 && control[0].unscale_rows * 32768 == 1,
                      "scale of rows");
                CHECK(control[0].scale_classes == 1 && control[0].unscale_classes == 1, "scale of classes");
            }
        }
    }
}
