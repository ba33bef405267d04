// The loss as the caller wants it, and the scales of 16-bit probabilities.
#include "tensors.h"
#include "loss.cuh"

INSTANTIATE_reduce()

struct Reduced {
    Exact<float> loss;
    Exact<Control> control;
    u32 status;
};

static Reduced reduce(const std::vector<double>& losses, const std::vector<double>& weights,
                      const std::vector<u8>& states, int reduction, Control before = clean_control(),
                      const std::vector<double>& coefficients = {}, int half = 0) {
    i64 rows = (i64)states.size();
    Reduced r = {Exact<float>(reduction ? 1 : rows), Exact<Control>(1), 0};
    Exact<double> row_loss = Exact<double>::of(losses);
    Exact<u8> state = Exact<u8>::of(states);
    Exact<float> coefficient = Exact<float>::of(coefficients);
    Matrix weight((i64)weights.size(), 1, F32);
    for (size_t n = 0; n < weights.size(); n++) weight.set((i64)n, 0, weights[n]);
    ReduceArgs args = {losses.empty() && rows ? nullptr : row_loss.data(), state.data(), coefficients.empty()
                       ? nullptr : coefficient.data(), weights.empty() ? Tensor{} : weight.tensor(), rows,
                       reduction, half, r.loss.data(), &r.status, r.control.data()};
    SameBits loss, control;
    for (const emu::Mode& mode : emu::modes()) {
        r.control[0] = before;
        emu::launch("reduce", dim3(1), dim3(1024), 0, args, mode);
        loss.check(mode, r.loss), control.check(mode, r.control);
    }
    return r;
}

TEST(reductions_weigh_and_leave_out_what_takes_no_part) {
    for (i64 rows : {0, 1, 3, 1023, 1025, 4000}) {
        Random random((u64)rows);
        std::vector<double> losses, weights;
        std::vector<u8> states;
        double sum = 0;
        for (i64 n = 0; n < rows; n++) {
            bool live = n % 5 != 2;
            losses.push_back(live ? 3 * random.uniform() : NAN);
            weights.push_back(rounded(random.uniform() + 1, F32));
            states.push_back(live ? ROW_LIVE : n % 2 ? ROW_DEAD : ROW_IDLE);
            if (live) sum += losses[n] * weights[n];
        }
        Reduced none = reduce(losses, weights, states, 0);
        for (i64 n = 0; n < rows; n++) {
            double want = states[n] == ROW_LIVE ? losses[n] * weights[n] : 0;
            CHECK(none.loss[n] == (float)want, "loss[%lld] = %g, want %g", n, none.loss[n], want);
        }
        Control control = clean_control();
        CHECK(close(reduce(losses, weights, states, 2).loss[0], sum, 1e-6 * rows), "sum of %lld", rows);
        control.normaliser = 0.25;
        CHECK(close(reduce(losses, weights, states, 1, control).loss[0], sum / 4, 1e-6 * rows),
              "mean of %lld", rows);
        control.normaliser = 0;
        CHECK(reduce(losses, weights, states, 1, control).loss[0] == 0, "nothing to average");
    }
}

TEST(bad_rows_and_bad_candidates_show_in_the_loss_and_the_status) {
    std::vector<double> losses = {1, 2, 3};
    std::vector<u8> states = {ROW_LIVE, ROW_BAD, ROW_DEAD};
    Control control = clean_control();
    control.status = 1007;
    Reduced none = reduce(losses, {}, states, 0, control);
    CHECK(none.loss[0] == 1 && std::isnan(none.loss[1]) && none.loss[2] == 0 && none.status == 1007, "none");
    control.normaliser = 0;
    CHECK(std::isnan(reduce(losses, {}, states, 1, control).loss[0]), "mean with a bad row");
    CHECK(std::isnan(reduce(losses, {}, states, 2).loss[0]), "sum with a bad row");
    control.candidates_status = 1007;
    states[1] = ROW_LIVE;
    for (int reduction : {0, 1, 2})
        for (float loss : reduce(losses, {}, states, reduction, control).loss)
            CHECK(std::isnan(loss), "loss %g", loss);
    CHECK(std::isnan(reduce({}, {}, {}, 2, control).loss[0]), "bad candidates without rows");
}

// So that no product with a probability of 1 overflows, nor its unscaling.
TEST(scale_brings_the_largest_coefficient_below_the_end_of_float16) {
    std::vector<u8> states(3, ROW_LIVE);
    for (double most : {1.0, 0.999, -2.0, 3e-5, 1e-30, 1e-45, 3e38, -7e-39}) {
        for (double other : {0.0, (double)NAN, (double)INFINITY, 0.3 * most}) {
            Control c =
                reduce({1, 1, 1}, {}, states, 2, clean_control(), {other, most, -0.5 * most}, 1).control[0];
            double scaled = std::fabs(rounded(most, F32)) * c.scale_classes;
            CHECK(scaled < 32768 && (scaled >= 16384 || std::fabs(most) < 1e-33), "%g comes to %g", most,
                  scaled);
            CHECK((double)c.scale_classes * c.unscale_classes == 1, "scale %g, inverse %g", c.scale_classes,
                  c.unscale_classes);
        }
    }
    for (int half : {0, 1}) {
        Control c = reduce({}, {}, states, 2, clean_control(), {half ? 0.0 : 4.0, 0, 0}, half).control[0];
        CHECK(c.scale_classes == 0 && c.unscale_classes == 0, "left as begin set it: %g", c.scale_classes);
    }
}
