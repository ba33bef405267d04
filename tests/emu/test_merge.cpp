// The gradients of the parameters against a map from class to its sum in float64.
#include "merging.h"

INSTANTIATE_prepare()
INSTANTIATE_shares()
INSTANTIATE_merge_rows()

static void check_value(double got, double want, double old, int dtype, const char* what, i64 cls, i64 k) {
    double size = std::max(std::fabs(want), std::fabs(old + want));
    double bound = 3e-5 + size * (dtype == F32 ? 0 : dtype == F16 ? 0x1p-11 : 0x1p-8);
    CHECK(close(got, old + want, bound), "%s of class %lld, %lld: %g, want %g", what, cls, k, got,
          old + want);
}

static void check_merge(const Problem& p) {
    Random random((u64)(p.dim + p.ids.size()));
    Inputs in(p, random);
    Sums want = solve(p, in);
    i64 count = (i64)want.size(), capacity = count + p.spare_rows, out_rows = p.sparse ? capacity : p.classes;
    Exact<float> pieces(in.labels / MERGE_PIECE * p.padded);
    Exact<i64> row_ids(p.sparse ? capacity : 0), num_rows(1);
    Exact<Control> control(1);
    IndexArgs index = in.index(p, control.data(), p.sparse ? num_rows.data() : nullptr);
    SameBits same_weights, same_biases;
    for (size_t m = 0; m < p.modes; m++) {
        emu::Mode mode = emu::modes()[m];
        Matrix d_weights(out_rows, p.dim, p.weights_dtype, p.spare), d_biases(out_rows, 1, p.biases_dtype);
        for (i64 r = 0; !p.sparse && r < p.classes; r++)
            for (i64 k = 0; k <= p.dim; k++)
                if (k < p.dim) d_weights.set(r, k, 0.01 * (double)(r + k));
                else d_biases.set(r, 0, 0.02 * (double)r);
        control[0] = clean_control();
        for (i64& id : row_ids) id = 77;
        MergeRowsArgs args = merge_args(p, in, pieces, index);
        args.row_ids = row_ids.data(), args.capacity = p.sparse ? capacity : 0;
        if (p.weights) args.d_weights = d_weights.data();
        if (p.biases) args.d_biases = d_biases.data();
        args.d_weights_stride = d_weights.stride, args.d_weights_dtype = p.weights_dtype;
        args.d_biases_dtype = p.biases_dtype;
        merge_up_to_rows(index, args, mode);
        emu::launch("merge_rows", merge_blocks(args), dim3(256), 0, args, mode);

        CHECK(control[0].num_heads + control[0].num_new == count, "%lld + %lld classes, want %lld",
              control[0].num_heads, control[0].num_new, count);
        CHECK(!p.sparse || num_rows[0] == count, "num_rows = %lld", num_rows[0]);
        std::vector<double> bits;
        i64 place = 0;
        for (auto& [cls, sum] : want) {
            i64 row = p.sparse ? place : cls;
            CHECK(!p.sparse || row_ids[place] == cls, "row_ids[%lld] = %lld, want %lld", place,
                  row_ids[place], cls);
            for (i64 k = 0; p.weights && k < p.dim; k++) {
                double old = p.sparse ? 0 : rounded(0.01 * (double)(cls + k), p.weights_dtype);
                check_value(d_weights.get(row, k), sum[k], old, p.weights_dtype, "weight", cls, k);
                bits.push_back(d_weights.get(row, k));
            }
            double old = p.sparse ? 0 : rounded(0.02 * (double)cls, p.biases_dtype);
            if (p.biases) check_value(d_biases.get(row, 0), sum[p.dim], old, p.biases_dtype, "bias", cls, 0);
            if (p.biases) bits.push_back(d_biases.get(row, 0));
            place++;
        }
        if (!bits.empty()) same_weights.check(mode, bits);
        for (i64 r = count; p.sparse && r < capacity; r++) {
            CHECK(row_ids[r] == -1, "row_ids[%lld] = %lld", r, row_ids[r]);
            for (i64 k = 0; k < p.dim; k++) CHECK(d_weights.untouched(r, k), "row %lld behind the last", r);
            CHECK(d_biases.untouched(r, 0), "bias %lld behind the last", r);
        }
        for (i64 r = 0; !p.sparse && r < p.classes; r++)
            if (!want.count(r) && p.dim > 2)
                CHECK(d_weights.get(r, 2) == rounded(0.01 * (double)(r + 2), p.weights_dtype),
                      "class %lld was touched", r);
    }
}

TEST(rows_of_every_dtype_length_and_layout) {
    int dtypes[] = {F32, F16, BF16};
    std::vector<i64> dims = {1, 3, 8, 20, 33, 64, 250, 256, 300};
    for (int i = 0; i < 18; i++) {
        Problem p = some_problem(50, 40, (u64)i);
        p.dim = dims[i % 9], p.padded = (p.dim + 7) / 8 * 8, p.sparse = i < 9, p.scaled = i % 2;
        p.inputs_dtype = dtypes[i % 3], p.weights_dtype = dtypes[(i / 3 + 1) % 3],
        p.biases_dtype = dtypes[i / 2 % 3];
        p.num_true = 1 + i % 4, p.spare = i % 4 * 2 % 5;
        check_merge(p);
    }
}

TEST(rows_longer_than_a_block_are_summed) {
    for (bool sparse : {false, true}) {
        Problem p = some_problem(4, 200, 1);
        p.dim = 2100, p.padded = 2104, p.sparse = sparse, p.modes = 2, p.classes = 5;
        for (i64& id : p.ids) id %= 5;
        for (i64& label : p.labels) label = label < 40 ? 3 : label % 5;
        check_merge(p);
    }
}

// Runs that begin and end inside of pieces, at their ends, and in the same piece.
TEST(thousands_of_equal_labels_are_summed) {
    for (i64 dim : {4, 40, 300}) {
        for (i64 run : {63, 64, 65, 127, 128, 129, 1000, 2500}) {
            for (i64 before : {0, 1, 63, 64}) {
                Problem p = some_problem(9, 0, 2);
                p.dim = dim, p.padded = (dim + 3) / 4 * 4, p.modes = run == 1000 ? 4 : 1;
                for (i64 i = 0; i < before + run + 30; i++)
                    p.labels.push_back(i < before ? 2 : i < before + run ? 7 : 8 + i % 9);
                std::reverse(p.labels.begin() + before, p.labels.end());
                check_merge(p);
            }
        }
    }
}

// Whole pieces of labels that are none stand at the end.
TEST(hundreds_of_rows_may_take_no_part) {
    for (i64 labels : {1, 70}) {
        Problem p = some_problem(20, labels, 7);
        p.labels.resize(labels + 300, -1);
        check_merge(p);
    }
}

TEST(only_weights_or_only_biases_are_written) {
    for (bool weights : {false, true}) {
        for (bool sparse : {false, true}) {
            Problem p = some_problem(30, 150, 3);
            p.weights = weights, p.biases = !weights, p.sparse = sparse;
            check_merge(p);
        }
    }
}

TEST(neither_labels_nor_rows_to_spare_are_needed) {
    Problem p = some_problem(30, 0, 4);
    p.spare_rows = 0;
    check_merge(p);
    p = some_problem(1, 1, 5);
    p.spare_rows = 0;
    check_merge(p);
    p.ids[0] = p.labels[0] = -1;
    check_merge(p);
}

TEST(many_classes_keep_their_ranks) {
    Problem p = some_problem(4000, 9000, 6);
    Random random(8);
    p.classes = 60000, p.dim = 2, p.padded = 4, p.modes = 2;
    for (i64& id : p.ids) id = random.below(p.classes);
    for (i64& label : p.labels) label = random.below(p.classes);
    check_merge(p);
}

// The host promises room for all; less must not be written past.
TEST(rows_beyond_the_capacity_are_not_written) {
    Exact<u64> keys = sorted_keys({1, 2, 3, 4}, 4);
    Exact<u32> heads(5), news(1), heads_before(1), news_before(1);
    Ranks of_heads = {heads.data(), heads_before.data()}, of_news = {news.data(), news_before.data()};
    Exact<float> sums(4);
    for (float& x : sums) x = 1;
    Exact<i64> row_ids(2), num_rows(1);
    Control control = clean_control();
    Matrix d_biases(2, 1, F32);
    PrepareArgs prepare = {};
    SharesArgs shares = {};
    prepare.index = {keys.data(), nullptr, 0, 1, 4, 4, 4, 0, nullptr, nullptr, nullptr, of_heads, of_news, &control,
                     num_rows.data()};
    shares.index = prepare.index, shares.rank_blocks = 1;
    emu::launch("prepare", dim3(1), dim3(256), 0, prepare);
    emu::launch("shares", dim3(1), dim3(256), 0, shares);
    MergeRowsArgs args = {};
    args.keys = keys.data(), args.num_true = 1, args.num_sampled = 4, args.index_bits = args.label_bits = 4;
    args.sparse = 1, args.heads = of_heads, args.news = of_news, args.sums = sums.data(),
    args.sum_parts = 1;
    args.dim = args.padded_dim = 8, args.row_ids = row_ids.data(), args.capacity = 2,
    args.d_biases = d_biases.data();
    args.control = &control;
    emu::launch("merge_rows", dim3(1), dim3(256), 0, args);
    CHECK(row_ids[0] == 1 && row_ids[1] == 2 && num_rows[0] == 4, "row_ids %lld, %lld", row_ids[0],
          row_ids[1]);
    CHECK(d_biases.get(1, 0) == 1, "d_biases[1] = %g", d_biases.get(1, 0));
}

TEST(columns_find_the_rows_that_have_their_class_as_label) {
    for (i64 labels : {0, 1, 40, 700}) {
        for (i64 num_true : {1, 3}) {
            Random random((u64)(labels + num_true));
            std::vector<i64> ids, classes;
            for (int j = 0; j < 60; j++) ids.push_back(j == 7 ? -1 : random.below(50));
            for (i64 i = 0; i < labels; i++) classes.push_back(i % 5 ? random.below(50) : -1);
            Exact<u64> keys = sorted_keys(ids, 8), label_keys = sorted_keys(classes, 20);
            Exact<u32> list(labels), begin(60), end(60);
            Exact<u32> heads(61), news(labels + 1), before(1), news_before(rank_blocks(labels));
            PrepareArgs args = {};
            args.index = {keys.data(), label_keys.data(), labels, num_true, 60, 8, 20, 0, list.data(), begin.data(),
                          end.data(), {heads.data(), before.data()}, {news.data(), news_before.data()}, nullptr,
                          nullptr};
            for (const emu::Mode& mode : emu::modes())
                emu::launch("prepare", dim3((unsigned)index_blocks(60, labels)), dim3(256), 0, args, mode);
            for (int j = 0; j < 60; j++) {
                std::vector<u32> want;
                bool first = keys[j] != ~0ull && (j == 0 || keys[j - 1] >> 8 != keys[j] >> 8);
                for (i64 i = 0; first && i < labels; i++)
                    if (classes[i] == (i64)(keys[j] >> 8)) want.push_back((u32)(i / num_true));
                bool inside = begin[j] <= end[j] && end[j] <= (u32)labels;
                CHECK(inside, "range of column %d", j);
                std::vector<u32> got(list.begin() + begin[j], list.begin() + (inside ? end[j] : begin[j]));
                CHECK(got == want, "column %d has %zu rows, want %zu", j, got.size(), want.size());
            }
        }
    }
}
