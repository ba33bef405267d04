// The optimizers' steps against float64, on the sums that test_merge.cpp knows to be right.
#include "merging.h"
#include "update.cuh"

INSTANTIATE_prepare()
INSTANTIATE_shares()
INSTANTIATE_update_rows()

constexpr int RULES[] = {UPDATE_SGD, UPDATE_ADAGRAD, UPDATE_ROW_ADAGRAD};

struct Wish {
    int rule = UPDATE_SGD;
    double decay = 0, epsilon = 0.01;
    bool by_pointer = false, listed = true;
    i64 poisoned = -1;  // a class whose gradient is NaN
    u32 status = 0;     // of the candidates
};

static i64 state_cols(const Problem& p, int rule) { return rule == UPDATE_ADAGRAD ? p.dim : 1; }

// One element, or a row by rows: what rate * gradient is divided by.
static double divisor(const Wish& wish, double state) { return std::sqrt(state) + wish.epsilon; }

static void check_update(Problem p, const Wish& wish) {
    Random random((u64)(p.dim + p.ids.size()));
    Inputs in(p, random);
    if (wish.poisoned >= 0)
        for (i64 i = 0; i < in.labels; i++)
            if (p.labels[i] == wish.poisoned) in.d_true[i] = NAN;
    Sums sums = solve(p, in);
    p.sparse = wish.listed;
    i64 cols = state_cols(p, wish.rule), count = (i64)sums.size();
    Exact<float> pieces(in.labels / MERGE_PIECE * p.padded), rate(1);
    rate[0] = 0.25f;
    Exact<i64> row_ids(wish.listed ? count : 0);
    Exact<Control> control(1);
    IndexArgs index = in.index(p, control.data(), nullptr);
    auto first = [](i64 cls, i64 k) { return 0.05 * (double)((cls * 7 + k) % 11 - 5); };
    SameBits same;
    for (size_t m = 0; m < p.modes; m++) {
        emu::Mode mode = emu::modes()[m];
        Matrix weights(p.classes, p.dim, p.weights_dtype, p.spare), biases(p.classes, 1, p.biases_dtype);
        Matrix states(p.classes, cols, F32, cols > 1 ? 1 : 0), bias_states(p.classes, 1, F32);
        for (i64 cls = 0; cls < p.classes; cls++) {
            for (i64 k = 0; k < p.dim; k++) weights.set(cls, k, first(cls, k));
            for (i64 k = 0; k < cols; k++) states.set(cls, k, 0.125 * (double)((cls + k) % 3));
            biases.set(cls, 0, first(cls, -1)), bias_states.set(cls, 0, 0.125 * (double)(cls % 3));
        }
        control[0] = clean_control();
        control[0].candidates_status = wish.status;
        UpdateRowsArgs args = {};
        args.merge = merge_args(p, in, pieces, index);
        args.merge.row_ids = row_ids.data(), args.merge.capacity = (i64)row_ids.size();
        args.rule = wish.rule, args.rate = wish.by_pointer ? 77.f : 0.25f, args.epsilon = (float)wish.epsilon;
        args.decay = (float)wish.decay, args.rate_pointer = wish.by_pointer ? rate.data() : nullptr;
        if (p.weights) args.weights = weights.data(), args.weights_state = static_cast<float*>(states.data());
        if (p.biases) args.biases = biases.data(), args.biases_state = static_cast<float*>(bias_states.data());
        args.weights_stride = weights.stride, args.weights_dtype = p.weights_dtype;
        args.biases_dtype = p.biases_dtype, args.weights_state_stride = states.stride;
        merge_up_to_rows(index, args.merge, mode);
        emu::launch("update_rows", merge_blocks(args.merge), dim3(256), 0, args, mode);

        std::vector<double> bits;
        auto check = [&](const Matrix& got, i64 cls, i64 k, double want, const char* what) {
            double bound = 3e-5 + std::fabs(want) * (got.dtype == F32 ? 3e-6 : got.dtype == F16 ? 0x1p-11 : 0x1p-8);
            CHECK(close(got.get(cls, k), want, bound), "%s of class %lld, %lld: %g, want %g", what, cls, k,
                  got.get(cls, k), want);
            bits.push_back(got.get(cls, k));
        };
        i64 place = 0;
        for (i64 cls = 0; cls < p.classes; cls++) {
            auto found = sums.find(cls);
            bool moves = found != sums.end() && !wish.status;
            if (found != sums.end() && wish.listed) {
                CHECK(row_ids[place] == cls, "row_ids[%lld] = %lld, want %lld", place, row_ids[place], cls);
                place++;
            }
            std::vector<double> g(p.dim + 1), s(p.dim + 1);
            double mean = 0;
            for (i64 k = 0; k <= p.dim; k++) {
                double decay = k < p.dim ? wish.decay * rounded(first(cls, k), p.weights_dtype) : 0;
                g[k] = moves ? found->second[k] + decay : 0;
                if (k < p.dim) mean += g[k] * g[k] / (double)p.dim;
            }
            for (i64 k = 0; k <= p.dim; k++) {
                bool is_bias = k == p.dim, by_rows = cols == 1 && !is_bias;
                double old = 0.125 * (double)((is_bias || by_rows ? cls : cls + k) % 3);
                s[k] = wish.rule == UPDATE_SGD ? old : old + (by_rows ? mean : g[k] * g[k]);
            }
            for (i64 k = 0; k < p.dim; k++) {
                double step = 0.25 * g[k], size = divisor(wish, s[k]);
                if (wish.rule != UPDATE_SGD) step = size == 0 ? 0 : step / size;
                check(weights, cls, k, rounded(first(cls, k), p.weights_dtype) - (p.weights ? step : 0), "weight");
                if (k < cols) {
                    double old = 0.125 * (double)((cls + k) % 3);
                    check(states, cls, k, p.weights ? s[k] : old, "state");
                }
            }
            double step = 0.25 * g[p.dim], size = divisor(wish, s[p.dim]);
            if (wish.rule != UPDATE_SGD) step = size == 0 ? 0 : step / size;
            check(biases, cls, 0, rounded(first(cls, -1), p.biases_dtype) - (p.biases ? step : 0), "bias");
            check(bias_states, cls, 0, p.biases ? s[p.dim] : 0.125 * (double)(cls % 3), "bias state");
        }
        same.check(mode, bits);
    }
}

TEST(rows_of_every_dtype_and_length_move_by_every_rule) {
    int dtypes[] = {F32, F16, BF16};
    std::vector<i64> dims = {1, 3, 8, 20, 33, 64, 250, 256, 300};
    for (int i = 0; i < 27; i++) {
        Problem p = some_problem(40, 50, (u64)i);
        p.dim = dims[i % 9], p.padded = (p.dim + 7) / 8 * 8, p.scaled = i % 2, p.modes = 4;
        p.inputs_dtype = dtypes[i % 3], p.weights_dtype = dtypes[(i / 3 + 1) % 3],
        p.biases_dtype = dtypes[i / 2 % 3];
        p.num_true = 1 + i % 4, p.spare = i % 4 * 2 % 5;
        Wish wish;
        wish.rule = RULES[i / 9], wish.decay = i % 4 ? 0 : 0.3, wish.by_pointer = i % 5 == 0;
        wish.listed = i % 7 != 0;
        check_update(p, wish);
    }
}

TEST(rows_longer_than_a_block_move) {
    for (int rule : RULES) {
        Problem p = some_problem(4, 200, 1);
        p.dim = 2100, p.padded = 2104, p.modes = 4, p.classes = 5;
        for (i64& id : p.ids) id %= 5;
        for (i64& label : p.labels) label = label < 40 ? 3 : label % 5;
        Wish wish;
        wish.rule = rule, wish.decay = 0.5;
        check_update(p, wish);
    }
}

TEST(only_weights_or_only_biases_move) {
    for (int rule : RULES) {
        for (bool weights : {false, true}) {
            Problem p = some_problem(30, 150, 3);
            p.weights = weights, p.biases = !weights, p.modes = 2;
            Wish wish;
            wish.rule = rule;
            check_update(p, wish);
        }
    }
}

TEST(a_gradient_that_is_nan_reaches_no_other_class) {
    for (int rule : RULES) {
        for (i64 dim : {12, 300}) {
            Problem p = some_problem(30, 150, 3);
            p.dim = dim, p.padded = (dim + 7) / 8 * 8, p.modes = 2;
            Wish wish;
            wish.rule = rule, wish.poisoned = p.labels[70] = 7;
            check_update(p, wish);
        }
    }
}

TEST(nothing_moves_where_a_candidate_is_at_fault) {
    for (int rule : RULES) {
        Problem p = some_problem(30, 70, 4);
        p.modes = 2;
        Wish wish;
        wish.rule = rule, wish.decay = 0.5, wish.status = 1007;
        check_update(p, wish);
    }
}

TEST(no_gradient_and_no_state_is_no_step_without_an_epsilon) {
    for (int rule : RULES) {
        Problem p = some_problem(0, 12, 5);
        // Two rows of zero shares: see Inputs.
        for (i64 i = 0; i < 12; i++) p.labels[i] = i % 6 ? -1 : 3 * i;
        p.modes = 2;
        Wish wish;
        wish.rule = rule, wish.epsilon = 0;
        check_update(p, wish);
    }
}
