// Draws on the device against the same attempts taken one after the other.
#include "tensors.h"
#include "draw.cuh"

#include <set>

INSTANTIATE_draw_keys()
INSTANTIATE_draw_firsts()
INSTANTIATE_draw_ids()
INSTANTIATE_sort_block()
INSTANTIATE_sort_merge()
INSTANTIATE_sort_step()

struct Problem {
    i64 classes, sampled, attempts;
    int law;
    bool unique;
    u64 step = 5, replays = 0;
};

static constexpr size_t SORT_BYTES = SORT_BLOCK * sizeof(u64);

static void sort_all(const DrawArgs& a, emu::Mode mode) {
    auto args = [&](i64 run, i64 distance) { return SortArgs{a.keys, a.attempts, run, distance}; };
    dim3 all((unsigned)std::max<i64>(1, a.attempts / SORT_BLOCK));
    emu::launch("sort_block", all, dim3(1024), SORT_BYTES, args(0, 0), mode);
    for (i64 run = SORT_BLOCK; run < a.attempts; run *= 2) {
        for (i64 distance = run; distance >= SORT_BLOCK; distance /= 2)
            emu::launch("sort_step", dim3((unsigned)(a.attempts / 512)), dim3(256), 0, args(run, distance), mode);
        emu::launch("sort_merge", all, dim3(1024), SORT_BYTES, args(run, 0), mode);
    }
}

static void check_draw(const Problem& p, size_t modes = 4) {
    int bits = 0;
    while (1ll << bits < p.attempts) bits++;
    Exact<u64> keys(p.attempts);
    Exact<u32> marks(p.attempts);
    Exact<i64> more(p.sampled), ids(p.sampled);
    DrawInfo info = {};
    Exact<u64> step(1);
    step[0] = p.step + p.replays;
    DrawArgs args = {0x0123456789abcdefull, p.step, nullptr, p.classes, p.attempts, (int)p.sampled, bits, p.law, p.unique,
                     keys.data(), marks.data(), more.data(), ids.data(), &info};
    std::multiset<i64> want;
    i64 tries = 0;
    for (i64 index = 0; (i64)want.size() < p.sampled; index++) {
        i64 cls = attempt(args, p.step + p.replays, index);
        if (cls < 0) continue;
        CHECK(cls < p.classes, "class %lld", cls);
        tries++;
        if (!p.unique || !want.count(cls)) want.insert(cls);
    }
    for (size_t m = 0; m < modes; m++) {
        emu::Mode mode = emu::modes()[m];
        // The same draw, whichever way the step comes.
        args.step_pointer = m % 2 ? step.data() : nullptr;
        for (i64& id : ids) id = -7;
        info = {-1, 0, 0, p.replays};
        dim3 grid(blocks(p.attempts, 256));
        emu::launch("draw_keys", grid, dim3(256), 0, args, mode);
        sort_all(args, mode);
        emu::launch("draw_firsts", grid, dim3(256), 0, args, mode);
        emu::launch("draw_ids", dim3(1), dim3(1024), 0, args, mode);
        i64 place = 0;
        for (i64 cls : want) {
            CHECK(ids[place] == cls, "ids[%lld] = %lld, want %lld", place, ids[place], cls);
            place++;
        }
        CHECK(info.tries == tries, "%lld tries, want %lld", info.tries, tries);
        CHECK(info.replays == p.replays + 1, "%llu replays", info.replays);
    }
}

TEST(the_generator_gives_the_published_answers) {
    // kat_vectors of Random123 1.14, philox4x32 10.
    Words zeros = philox(0, 0, 0), ones = philox(~0ull, ~0ull, ~0ull);
    Words pi = philox(0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x0370734413198a2eull);
    CHECK(zeros.first == 0xe169c58d6627e8d5ull && zeros.second == 0x9b00dbd8bc57ac4cull, "%llx", zeros.first);
    CHECK(ones.first == 0x41c83b0e408f276dull && ones.second == 0x6d5451fda20bc7c6ull, "%llx", ones.first);
    CHECK(pi.first == 0x94fdccebd16cfe09ull && pi.second == 0x24126ea15001e420ull, "%llx", pi.first);
}

TEST(a_draw_is_its_attempts_one_after_the_other) {
    for (int law : {DRAW_UNIFORM, DRAW_LOG_UNIFORM}) {
        for (bool unique : {true, false}) {
            check_draw({100, 20, 128, law, unique});
            check_draw({100, 60, 512, law, unique, 0, 3});
            check_draw({1000, 1, 64, law, unique, ~0ull, 2});
            check_draw({1ll << 40, 300, 1024, law, unique});
            check_draw({50000, 3000, 8192, law, unique}, 2);
            check_draw({50000, 9000, 32768, law, unique}, 1);
        }
    }
}

TEST(attempts_that_do_not_suffice_are_followed_by_more) {
    for (int law : {DRAW_UNIFORM, DRAW_LOG_UNIFORM}) {
        for (bool unique : {true, false}) {
            check_draw({100, 60, 64, law, unique});
            check_draw({40, 25, 64, law, unique, 9});
            check_draw({1000, 500, 64, law, unique});
            check_draw({30, 29, 64, law, unique});
        }
    }
}

TEST(all_classes_come_at_once) {
    check_draw({100, 100, 128, DRAW_EVERYTHING, true});
    check_draw({64, 64, 64, DRAW_EVERYTHING, true});
    check_draw({1, 1, 64, DRAW_EVERYTHING, true});
}

TEST(every_class_of_an_octave_is_as_likely_as_it_should_be) {
    // 2^e ln(1 + 1/m) at and around what decides.
    for (u64 place : {1ull, 2ull, 3ull, 5ull, 63ull, 64ull, 100ull, 1000003ull}) {
        u64 octave = 1;
        while (2 * octave <= place) octave *= 2;
        double limit = (double)octave * std::log1p(1.0 / (double)place);
        CHECK(accepts(limit - 1e-13, octave, place), "%llu below", place);
        CHECK(!accepts(limit + 1e-13, octave, place), "%llu above", place);
        CHECK(accepts(0, octave, place) && !accepts(1, octave, place), "%llu ends", place);
    }
}
