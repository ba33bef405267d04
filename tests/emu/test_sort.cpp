// Keys of classes and places, and their order.
#include "tensors.h"
#include "sort.cuh"

#include <algorithm>

INSTANTIATE_keys()
INSTANTIATE_sort_block()
INSTANTIATE_sort_step()
INSTANTIATE_sort_merge()

static void sort(Exact<u64>& keys, const emu::Mode& mode) {
    i64 count = (i64)keys.size();
    SortArgs args = {keys.data(), count, 0, 0};
    emu::launch("sort_block", dim3(std::max<i64>(1, count / SORT_BLOCK)), dim3(1024), 0, args, mode);
    for (args.run = SORT_BLOCK; args.run < count; args.run *= 2) {
        for (args.distance = args.run; args.distance >= SORT_BLOCK; args.distance /= 2)
            emu::launch("sort_step", dim3(blocks(count, 512)), dim3(256), 0, args, mode);
        emu::launch("sort_merge", dim3(count / SORT_BLOCK), dim3(1024), 0, args, mode);
    }
}

static std::vector<u64> some_keys(i64 count, u64 seed) {
    Random random(seed);
    std::vector<u64> keys;
    for (i64 i = 0; i < count; i++)
        keys.push_back(random.below(5) ? random.bits() << 8 | (u64)i % 256 : ~0ull);
    return keys;
}

TEST(every_power_of_two_is_sorted_in_every_mode) {
    for (i64 count = 1; count <= 2048; count *= 2) {
        std::vector<u64> want = some_keys(count, (u64)count);
        Exact<u64> given = Exact<u64>::of(want);
        std::sort(want.begin(), want.end());
        for (const emu::Mode& mode : emu::modes()) {
            Exact<u64> keys = Exact<u64>::of(given);
            sort(keys, mode);
            CHECK(std::equal(want.begin(), want.end(), keys.begin()), "%lld keys, %s", count,
                  emu::describe(mode).c_str());
        }
    }
}

TEST(runs_longer_than_a_block_are_merged) {
    for (i64 count : {4096, 8192, 16384, 65536}) {
        for (int shape = 0; shape < 3; shape++) {
            std::vector<u64> want = some_keys(count, (u64)count + 1);
            if (shape == 1) std::sort(want.begin(), want.end());
            if (shape == 2) std::sort(want.rbegin(), want.rend());
            Exact<u64> keys = Exact<u64>::of(want);
            std::sort(want.begin(), want.end());
            sort(keys, emu::modes()[(size_t)shape + 1]);
            CHECK(std::equal(want.begin(), want.end(), keys.begin()), "%lld keys, shape %d", count, shape);
        }
    }
}

// Of both widths, with what is no class next to memory that cannot be read.
TEST(keys_leave_out_what_is_no_class_and_report_ids) {
    for (int dtype : {LABELS_I64, LABELS_I32}) {
        std::vector<i64> classes = {3, 0, 9, 10, -1, 3, 1 << 30, 9};
        Labels labels(classes, dtype);
        Exact<u64> keys(512);
        Exact<Control> control = Exact<Control>::of(std::vector<Control>{clean_control()});
        KeysArgs args = {labels.data(), dtype, 20, 8, 512, 10, nullptr, 1, keys.data(), control.data()};
        emu::launch("keys", dim3(2), dim3(256), 0, args);
        for (size_t i = 0; i < 512; i++) {
            bool is_class = i < 8 && classes[i] >= 0 && classes[i] < 10;
            u64 want = is_class ? (u64)classes[i] << 20 | i : ~0ull;
            CHECK(keys[i] == want, "keys[%zu] = %llx", i, keys[i]);
        }
        CHECK(control[0].status == 1007 && control[0].candidates_status == 1007, "status %u",
              control[0].status);
    }
}

TEST(keys_of_labels_follow_the_rows_states_and_report_nothing) {
    std::vector<i64> classes = {3, 0, -100, -100, 7, 12, 2, 4};
    std::vector<u8> states = {ROW_LIVE, ROW_DEAD, ROW_BAD, ROW_IDLE};
    Labels labels(classes, LABELS_I64);
    Exact<u8> state = Exact<u8>::of(states);
    Exact<u64> keys(64);
    Exact<Control> control = Exact<Control>::of(std::vector<Control>{clean_control()});
    KeysArgs args = {labels.data(), LABELS_I64, 4, 8, 64, 10, state.data(), 2, keys.data(), control.data()};
    emu::launch("keys", dim3(1), dim3(256), 0, args);
    std::vector<u64> want = {3 << 4 | 0, 0 << 4 | 1, ~0ull, ~0ull, ~0ull, ~0ull, 2 << 4 | 6, 4 << 4 | 7};
    want.resize(64, ~0ull);
    CHECK(std::equal(want.begin(), want.end(), keys.begin()), "keys of labels");
    CHECK(control[0].status == 0, "status %u", control[0].status);
}

TEST(classes_beyond_32_bits_keep_their_order) {
    std::vector<i64> classes = {1ll << 40, 5, (1ll << 40) + 1, 5};
    Labels labels(classes, LABELS_I64);
    Exact<u64> keys(4);
    KeysArgs args = {labels.data(), LABELS_I64, 2, 4, 4, 1ll << 41, nullptr, 1, keys.data(), nullptr};
    emu::launch("keys", dim3(1), dim3(256), 0, args);
    sort(keys, emu::Mode());
    std::vector<u64> want = {5 << 2 | 1, 5 << 2 | 3, 1ull << 42, ((1ull << 40) + 1) << 2 | 2};
    CHECK(std::equal(want.begin(), want.end(), keys.begin()), "order of large classes");
}
