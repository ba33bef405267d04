// Keys of classes and places, and their order.
#include "tensors.h"
#include "begin.cuh"

#include <algorithm>

INSTANTIATE_begin()
INSTANTIATE_sort_step()
INSTANTIATE_sort_merge()

static constexpr size_t SORT_BYTES = SORT_BLOCK * sizeof(u64);

// By `begin`, as candidates or as labels, and what follows it.
static void make_keys(const KeysArgs& keys, bool candidates, const emu::Mode& mode = emu::Mode()) {
    Control control;
    BeginArgs args = {};
    (candidates ? args.candidates : args.label_keys) = keys;
    args.control = &control;
    emu::launch("begin", dim3((unsigned)(1 + key_blocks(keys))), dim3(1024), SORT_BYTES, args, mode);
    SortArgs sort = {keys.keys, keys.padded, SORT_BLOCK, 0};
    for (; !keys.ascending && sort.run < keys.padded; sort.run *= 2) {
        for (sort.distance = sort.run; sort.distance >= SORT_BLOCK; sort.distance /= 2)
            emu::launch("sort_step", dim3(blocks(keys.padded, 512)), dim3(256), 0, sort, mode);
        emu::launch("sort_merge", dim3((unsigned)(keys.padded / SORT_BLOCK)), dim3(1024), SORT_BYTES, sort, mode);
    }
}

static KeysArgs arguments(const Labels& classes, int dtype, i64 count, const Exact<u64>& keys, int index_bits,
                          i64 num_classes) {
    KeysArgs args = {};
    args.classes = classes.data(), args.dtype = dtype, args.index_bits = index_bits, args.count = count;
    args.padded = (i64)keys.size(), args.num_classes = num_classes, args.num_true = 1, args.keys = keys.data();
    return args;
}

// What is no class, next to memory that cannot be read, comes last.
static void check_order(const std::vector<i64>& classes, i64 padded, bool candidates, const emu::Mode& mode) {
    std::vector<u64> want;
    for (size_t i = 0; i < classes.size(); i++)
        want.push_back(classes[i] >= 0 && classes[i] < 1000 ? (u64)classes[i] << 20 | i : ~0ull);
    want.resize(padded, ~0ull);
    std::sort(want.begin(), want.end());
    int dtype = classes.size() % 2 ? LABELS_I32 : LABELS_I64;
    Labels labels(classes, dtype);
    Exact<u64> keys(padded);
    make_keys(arguments(labels, dtype, (i64)classes.size(), keys, 20, 1000), candidates, mode);
    CHECK(std::equal(want.begin(), want.end(), keys.begin()), "%zu classes, %s", classes.size(),
          emu::describe(mode).c_str());
}

static std::vector<i64> some_classes(i64 count, u64 seed) {
    Random random(seed);
    std::vector<i64> classes;
    for (i64 i = 0; i < count; i++) classes.push_back(random.below(5) ? random.below(1000) : random.below(3) * 1500 - 1);
    return classes;
}

TEST(every_power_of_two_is_sorted_in_every_mode) {
    for (i64 padded = 1; padded <= 2048; padded *= 2)
        for (const emu::Mode& mode : emu::modes())
            check_order(some_classes(padded - padded / 3, (u64)padded), padded, padded % 3 == 1, mode);
}

TEST(runs_longer_than_a_block_are_merged) {
    for (i64 count : {4096, 8192, 16384, 65536})
        for (int shape = 0; shape < 3; shape++) {
            std::vector<i64> classes = some_classes(count, (u64)count + 1);
            if (shape == 1) std::sort(classes.begin(), classes.end());
            if (shape == 2) std::sort(classes.rbegin(), classes.rend());
            check_order(classes, count, shape == 0, emu::modes()[(size_t)shape + 1]);
        }
}

TEST(candidates_known_to_ascend_are_taken_as_they_are) {
    for (i64 count : {1, 3000, 20000}) {
        std::vector<i64> classes = some_classes(count, (u64)count);
        for (i64& cls : classes) cls = std::max<i64>(0, cls) % 1000;
        std::sort(classes.begin(), classes.end());
        Labels labels(classes, LABELS_I64);
        i64 padded = 1;
        while (padded < count) padded *= 2;
        Exact<u64> keys(padded);
        KeysArgs args = arguments(labels, LABELS_I64, count, keys, 20, 1000);
        args.ascending = 1;
        make_keys(args, true);
        for (i64 i = 0; i < padded; i++)
            CHECK(keys[i] == (i < count ? (u64)classes[i] << 20 | i : ~0ull), "keys[%lld] = %llx", i, keys[i]);
    }
}

TEST(ignored_labels_have_no_key) {
    Labels labels({3, 7, 9, 7, 0}, LABELS_I64);
    Exact<u64> keys(8);
    KeysArgs args = arguments(labels, LABELS_I64, 5, keys, 4, 10);
    args.has_ignore_index = 1, args.ignore_index = 7;
    make_keys(args, false);
    std::vector<u64> want = {0 << 4 | 4, 3 << 4 | 0, 9 << 4 | 2, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull};
    CHECK(std::equal(want.begin(), want.end(), keys.begin()), "keys of labels");
}

TEST(a_label_at_fault_leaves_out_those_of_its_row) {
    // The last row is all there; of the others one is out of range, one ignored in part, one in whole.
    Labels labels({3, 10, 7, 5, 7, 7, 2, 1}, LABELS_I32);
    Exact<u64> keys(8);
    KeysArgs args = arguments(labels, LABELS_I32, 8, keys, 4, 10);
    args.num_true = 2, args.has_ignore_index = 1, args.ignore_index = 7;
    make_keys(args, false);
    std::vector<u64> want(8, ~0ull);
    want[0] = 1 << 4 | 7, want[1] = 2 << 4 | 6;
    CHECK(std::equal(want.begin(), want.end(), keys.begin()), "keys of rows at fault");
}

TEST(classes_beyond_32_bits_keep_their_order) {
    Labels labels({1ll << 40, 5, (1ll << 40) + 1, 5}, LABELS_I64);
    Exact<u64> keys(4);
    make_keys(arguments(labels, LABELS_I64, 4, keys, 2, 1ll << 41), true);
    std::vector<u64> want = {5 << 2 | 1, 5 << 2 | 3, 1ull << 42, ((1ull << 40) + 1) << 2 | 2};
    CHECK(std::equal(want.begin(), want.end(), keys.begin()), "order of large classes");
}
