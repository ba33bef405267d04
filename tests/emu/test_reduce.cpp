// What finish_rows makes of all rows together: the loss as the caller wants it, the scales of 16-bit probabilities,
// and what bad candidates spoil.
#include "tensors.h"
#include "loss.cuh"

INSTANTIATE_finish_rows()

// A row has one label, of logit 0, and one split, whose sum makes its loss log1p(sum).
struct Batch {
    std::vector<double> sums, weights;  // weights empty for none
    std::vector<u8> states;
    std::vector<float> upstream;        // empty for none
    int reduction = REDUCTION_NONE, half = 0, gradients = 0;
    i64 chunk = 1 << 20;                // rows of a launch
    Control control = clean_control();

    double loss(i64 n) const { return std::log1p((double)(float)sums[n]); }
};

struct Reduced {
    Exact<float> loss, coefficient;
    Exact<u8> state;
    Exact<Control> control;
    u32 status;
};

static Reduced reduce(const Batch& b) {
    i64 rows = (i64)b.states.size();
    Reduced r = {Exact<float>(b.reduction ? 1 : rows), Exact<float>(rows), Exact<u8>(rows), Exact<Control>(1), 0};
    std::vector<Exact<float2>> partials;
    for (i64 first = 0; first < std::max<i64>(rows, 1); first += b.chunk) {
        partials.emplace_back(std::min(b.chunk, rows - first));
        for (size_t n = 0; n < partials.back().size(); n++) partials.back()[n] = {0.f, (float)b.sums[first + n]};
    }
    Exact<double> logits(rows), lse(rows);
    for (double& z : logits) z = 0;
    Exact<float> row_add(rows), d_true(rows), upstream = Exact<float>::of(b.upstream);
    Matrix weight((i64)b.weights.size(), 1, F32);
    for (size_t n = 0; n < b.weights.size(); n++) weight.set((i64)n, 0, b.weights[n]);
    i64 total_blocks = 0;
    for (auto& partial : partials) total_blocks += std::max<i64>(1, blocks((i64)partial.size(), 256));
    Exact<RowTotals> totals(total_blocks);
    FinishRowsArgs args = {};
    args.splits = 1, args.true_logits = logits.data(), args.state = r.state.data();
    args.num_true = 1, args.sample_weights = b.weights.empty() ? Tensor{} : weight.tensor();
    args.grad_output = b.upstream.empty() ? nullptr : upstream.data(), args.grad_stride = 1;
    args.gradients = b.gradients, args.reduction = b.reduction, args.half = b.half, args.lse = lse.data();
    args.loss = r.loss.data(), args.row_add = row_add.data(), args.coefficient = r.coefficient.data();
    args.d_true = d_true.data(), args.totals = totals.data(), args.device_status = &r.status;
    args.control = r.control.data();
    SameBits loss, control;
    for (const emu::Mode& mode : emu::modes()) {
        r.control[0] = b.control;
        std::copy(b.states.begin(), b.states.end(), r.state.begin());
        args.first = args.first_block = 0;
        for (auto& partial : partials) {
            args.partial = partial.data(), args.rows = (i64)partial.size();
            args.more = args.first + args.rows < rows;
            unsigned size = (unsigned)std::max<i64>(1, blocks(args.rows, 256));
            emu::launch("finish_rows", dim3(size), dim3(256), 0, args, mode);
            args.first += args.rows, args.first_block += (int)size;
        }
        loss.check(mode, r.loss), control.check(mode, r.control);
    }
    return r;
}

static Batch some_batch(i64 rows) {
    Random random((u64)rows);
    Batch b;
    for (i64 n = 0; n < rows; n++) {
        bool live = n % 5 != 2;
        b.sums.push_back(live ? std::expm1(3 * std::fabs(random.uniform())) : NAN);
        b.weights.push_back(rounded(random.uniform() + 1, F32));
        b.states.push_back(live ? ROW_LIVE : n % 2 ? ROW_DEAD : ROW_IDLE);
    }
    return b;
}

TEST(reductions_weigh_and_leave_out_what_takes_no_part) {
    for (i64 rows : {0, 1, 3, 255, 257, 1023, 70000}) {
        Batch b = some_batch(rows);
        double sum = 0;
        Reduced none = reduce(b);
        for (i64 n = 0; n < rows; n++) {
            double want = b.states[n] == ROW_LIVE ? b.loss(n) * b.weights[n] : 0;
            CHECK(close(none.loss[n], want, 1e-6), "loss[%lld] = %g, want %g", n, none.loss[n], want);
            sum += want;
        }
        b.reduction = 2;
        CHECK(close(reduce(b).loss[0], sum, 1e-7 * std::fabs(sum)), "sum of %lld", rows);
        b.reduction = 1, b.control.normaliser = 0.25;
        CHECK(close(reduce(b).loss[0], sum / 4, 1e-7 * std::fabs(sum)), "mean of %lld", rows);
        b.control.normaliser = 0;
        CHECK(reduce(b).loss[0] == 0, "nothing to average");
    }
}

TEST(rows_by_several_launches_are_those_of_one) {
    for (i64 chunk : {64, 256, 512, 1000})
        for (int reduction : {0, 1, 2}) {
            Batch b = some_batch(1500);
            b.reduction = reduction, b.gradients = 1;
            Reduced whole = reduce(b);
            b.chunk = chunk;
            Reduced parts = reduce(b);
            for (size_t n = 0; n < whole.loss.size(); n++)
                CHECK(close(parts.loss[n], whole.loss[n], 1e-6 * std::fabs(whole.loss[n])), "loss[%zu] = %g, want %g", n,
                      parts.loss[n], whole.loss[n]);
            for (i64 n = 0; n < 1500; n++)
                CHECK(parts.coefficient[n] == whole.coefficient[n] && parts.state[n] == whole.state[n], "row %lld", n);
        }
}

static Batch of_states(std::vector<u8> states) {
    Batch b;
    b.states = states;
    b.sums.assign(states.size(), 2.5);
    return b;
}

TEST(bad_rows_show_in_the_loss_and_the_status) {
    Batch b = of_states({ROW_LIVE, ROW_BAD, ROW_DEAD});
    b.control.status = 1007;
    Reduced none = reduce(b);
    CHECK(close(none.loss[0], std::log(3.5), 1e-6) && std::isnan(none.loss[1]) && none.loss[2] == 0, "none");
    CHECK(none.status == 1007, "status %u", none.status);
    b.control.normaliser = 0, b.reduction = 1;
    CHECK(std::isnan(reduce(b).loss[0]), "mean with a bad row");
    b.control.normaliser = 1, b.reduction = 2;
    CHECK(std::isnan(reduce(b).loss[0]), "sum with a bad row");
}

TEST(bad_candidates_leave_no_row_live) {
    for (int reduction : {0, 1, 2}) {
        Batch b = of_states({ROW_LIVE, ROW_IDLE, ROW_DEAD, ROW_BAD});
        b.reduction = reduction, b.gradients = 1;
        b.control.status = b.control.candidates_status = 1008;
        Reduced r = reduce(b);
        for (float loss : r.loss) CHECK(std::isnan(loss), "loss %g", loss);
        for (float x : r.coefficient) CHECK(x == 0, "coefficient %g", x);
        for (i64 n = 0; n < 4; n++)
            CHECK(r.state[n] == (n == 2 ? ROW_DEAD : ROW_BAD), "row %lld: state %d", n, r.state[n]);
        CHECK(r.status == 1008, "status %u", r.status);
    }
    Batch none = of_states({});
    none.reduction = 2, none.control.candidates_status = 1007;
    CHECK(std::isnan(reduce(none).loss[0]), "bad candidates without rows");
}

// So that no product with a probability of 1 overflows, nor its unscaling.
TEST(scale_brings_the_largest_coefficient_below_the_end_of_float16) {
    for (double most : {1.0, 0.999, -2.0, 3e-5, 1e-30, 1e-45, 3e38, -7e-39})
        for (double other : {0.0, (double)NAN, (double)INFINITY, 0.3 * most}) {
            Batch b = of_states(std::vector<u8>(300, ROW_LIVE));
            b.upstream.assign(300, (float)(-0.5 * most));
            b.upstream[0] = (float)other, b.upstream[299] = (float)most;
            b.half = b.gradients = 1, b.reduction = 2;
            Reduced r = reduce(b);
            Control c = r.control[0];
            double largest = 0;
            for (float x : r.coefficient)
                if (std::isfinite(x)) largest = std::max(largest, (double)std::fabs(x));
            double scaled = largest * c.scale_classes;
            CHECK(scaled < 32768 && (scaled >= 16384 || largest < 1e-33), "%g comes to %g", most, scaled);
            CHECK((double)c.scale_classes * c.unscale_classes == 1, "scale %g, inverse %g", c.scale_classes,
                  c.unscale_classes);
        }
    for (int half : {0, 1}) {
        Batch b = of_states({ROW_LIVE, ROW_LIVE});
        b.half = half, b.gradients = 1, b.upstream.assign(2, half ? 0.f : 4.f);
        Control c = reduce(b).control[0];
        CHECK(c.scale_classes == 0 && c.unscale_classes == 0, "left as begin set it: %g", c.scale_classes);
    }
}
