// Q of the labels against the formulas in long double.
#include "tensors.h"
#include "sampling.cuh"

INSTANTIATE_true_counts()

struct Problem {
    i64 classes, sampled;
    int sampler, rule;
    i64 tries;
};

static long double probability_of(const Problem& p, i64 cls, const Exact<double>& table) {
    if (p.sampler == 2) return table[cls];
    if (p.sampler == 1) return std::log1p(1 / (cls + 1.0L)) / std::log1p((long double)p.classes);
    return 1.0L / p.classes;
}

static void check_counts(const Problem& p, int labels_dtype) {
    std::vector<i64> classes = {0,         1,  2,   62, 63, p.classes / 2, p.classes - 2, p.classes - 1,
                                p.classes, -1, -100};
    for (i64& cls : classes)
        if (labels_dtype == LABELS_I32 && cls > 2000000000) cls = 5;
    Exact<double> table(p.sampler == 2 ? p.classes : 0);
    for (size_t k = 0; k < table.size(); k++) table[k] = k == 0 ? 0 : k == 1 ? 1 : std::pow(0.5, (double)k);
    Labels labels(classes, labels_dtype);
    DrawInfo info = {p.tries, 0, 0, 0};
    i64 count = (i64)classes.size();
    for (int is_double : {0, 1}) {
        Matrix narrow(count, 1, F32);
        Exact<double> wide(count);
        TrueCountsArgs args = {labels.data(), labels_dtype, 1, -100, count, p.classes, p.sampled, p.sampler,
                               p.rule, 0.75, p.sampler == 2 ? table.data() : nullptr, p.rule == 1 ? &info :
                               nullptr, is_double ? (void*)wide.data() : narrow.data(), is_double, 0};
        emu::launch("true_counts", dim3(1), dim3(256), 0, args);
        for (i64 i = 0; i < count; i++) {
            i64 cls = classes[i];
            bool is_class = cls >= 0 && cls < p.classes;
            long double prob = is_class ? probability_of(p, cls, table) : 0, want = prob * p.sampled;
            if (p.rule == 1 && p.tries != p.sampled)
                want = -std::expm1((long double)p.tries * std::log1p(-prob));
            if (p.rule == 2) want = 0.75L;
            if (!is_class) want = 0;
            double got = is_double ? wide[i] : narrow.get(i, 0);
            double bound = is_double ? 1e-12 : 1e-7;
            bool tiny = !is_double && want > 0 && want < 1e-38L;
            if (tiny) CHECK(got > 0 && got < 1e-37, "Q of %lld = %g", cls, got);
            else
                CHECK(std::fabs(got - (double)want) <= bound * (double)want, "Q of %lld = %.17g, want %.17Lg",
                      cls, got, want);
        }
    }
}

TEST(counts_keep_their_relative_precision_for_any_number_of_classes) {
    for (i64 classes : {100ll, 793471ll, 10000000ll, 4000000000ll, 1ll << 60}) {
        for (int sampler : {0, 1, 4}) {
            for (int dtype : {LABELS_I64, LABELS_I32}) {
                check_counts({classes, 64, sampler, 0, 0}, dtype);
                check_counts({classes, 64, sampler, 1, 64}, dtype);
                check_counts({classes, 64, sampler, 1, 90}, dtype);
                check_counts({classes, 64, sampler, 1, 3000000}, dtype);
                check_counts({classes, 64, sampler, 2, 0}, dtype);
            }
        }
    }
}

TEST(counts_of_a_table_with_its_zeros_ones_and_tiny_probabilities) {
    for (i64 tries : {7, 50}) {
        check_counts({400, 7, 2, 0, 0}, LABELS_I64);
        check_counts({400, 7, 2, 1, tries}, LABELS_I64);
    }
}
