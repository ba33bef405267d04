// Candidates drawn on the device: the ids of src/sampler/philox.rs, which says what an attempt is. Attempts are made
// all at once and sorted by class; a class's first attempt is the one that counts, and the sample ends with the
// attempt that brings its S-th class. That is rejection, one attempt after the other, in another order.
//
// Arithmetic is spelt out by operation, so that no compiler fuses two: host and device then get the same bits.
//
// Launches, one after the other:
//   draw_keys    attempts / 256 blocks of 256
//   the sort of sort.cuh, of `attempts` keys
//   draw_firsts  attempts / 256 blocks of 256
//   draw_ids     1 block of 1024
#pragma once
#include "reduction.cuh"
#include "sort.cuh"

// Attempts beyond SSL_SAMPLER_*: class i by attempt i.
enum DrawLaw { DRAW_UNIFORM = 0, DRAW_LOG_UNIFORM = 1, DRAW_EVERYTHING = 2 };

struct Words {
    u64 first, second;
};

// Philox4x32-10.
DEV Words philox(u64 key, u64 index, u64 step) {
    u32 c0 = (u32)index, c1 = (u32)(index >> 32), c2 = (u32)step, c3 = (u32)(step >> 32);
    u32 k0 = (u32)key, k1 = (u32)(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 first = (u64)c0 * 0xd2511f53u, second = (u64)c2 * 0xcd9e8d57u;
        c0 = (u32)(second >> 32) ^ c1 ^ k0;
        c1 = (u32)second;
        c2 = (u32)(first >> 32) ^ c3 ^ k1;
        c3 = (u32)first;
        k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    return {c0 | (u64)c1 << 32, c2 | (u64)c3 << 32};
}

// ---- the log-uniform law: src/sampler/{log_uniform,math}.rs ---------------------------------------------

// sum = z * (sum + x)
DEV double horner(double sum, double z, double x) { return mul_rn(z, add_rn(sum, x)); }

// ln(1 + 1/m)
DEV double ln_1p_reciprocal(double m) {
    if (m == 1) return 0x1.62e42fefa39efp-1;  // ln 2
    if (m == 2) return 0x1.9f323ecbf984cp-2;  // ln 1.5
    double s = 1.0 / add_rn(2.0 * m, 1.0), z = mul_rn(s, s), series;
    if (m >= 64) {
        series = add_rn(1.0, mul_rn(z, add_rn(1.0 / 3.0, mul_rn(z, add_rn(1.0 / 5.0, mul_rn(z, 1.0 / 7.0))))));
    } else {
        series = 0;
        for (int odd = 21; odd >= 3; odd -= 2) series = horner(series, z, 1.0 / odd);
        series = add_rn(series, 1.0);
    }
    return mul_rn(mul_rn(2.0, s), series);
}

DEV bool accepts(double u, u64 octave_start, u64 place) {
    double octave = (double)(i64)octave_start, m = (double)(i64)place;
    double left = mul_rn(u, add_rn(2.0 * m, 1.0)), right = 2.0 * octave;
    double excess = add_rn(left, -right);
    if (mul_rn(mul_rn(mul_rn(12.0, m), m), fabs(excess)) <= right) return u < mul_rn(octave, ln_1p_reciprocal(m));
    return excess < 0;
}

DEV i64 log_uniform_class(Words words, i64 num_classes) {
    u64 octaves = (u64)(64 - __clzll(num_classes));
    int octave = (int)mul_high(words.first, octaves);
    u64 start = 1ull << octave, place = start | (words.second >> 1 >> (63 - octave));
    double u = mul_rn((double)(i64)((words.first * octaves) >> 11), 0x1p-53);
    return place <= (u64)num_classes && accepts(u, start, place) ? (i64)(place - 1) : -1;
}

// ---- attempts ---------------------------------------------------------------------------------------------------------

DEV i64 uniform_class(Words words, i64 num_classes) {
    u64 classes = (u64)num_classes, low = words.first * classes, carry = mul_high(words.second, classes);
    return (i64)(mul_high(words.first, classes) + (low + carry < low ? 1 : 0));
}

// The class of an attempt; -1: none.
DEV i64 attempt(const DrawArgs& a, u64 step, i64 index) {
    if (a.law == DRAW_EVERYTHING) return index < a.num_classes ? index : -1;
    Words words = philox(a.key, (u64)index, step);
    return a.law == DRAW_UNIFORM ? uniform_class(words, a.num_classes) : log_uniform_class(words, a.num_classes);
}

DEV u64 step_of(const DrawArgs& a) { return a.step_pointer ? *a.step_pointer : a.step + a.info->replays; }

DEV void draw_keys_body(const DrawArgs& a) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.attempts) return;
    i64 cls = attempt(a, step_of(a), i);
    a.keys[i] = cls < 0 ? NO_KEY : first_key(cls, a.index_bits) | (u64)i;
    a.marks[i] = 0;
}

// Whether the sorted key's attempt counts: the first of its class, or any where classes may repeat.
DEV bool counts(const DrawArgs& a, i64 at) {
    return a.unique ? is_first(a.keys, at, a.index_bits) : a.keys[at] != NO_KEY;
}

// marks[i]: whether attempt i brings a class.
DEV void draw_firsts_body(const DrawArgs& a) {
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < a.attempts && counts(a, at)) a.marks[index_of(a.keys[at], a.index_bits)] = 1;
}

// Of the ascending numbers, how many are below `value`.
DEV i64 numbers_below(const i64* numbers, i64 count, i64 value) {
    i64 low = 0, high = count;
    while (low < high) {
        i64 middle = (low + high) >> 1;
        if (numbers[middle] < value) low = middle + 1;
        else high = middle;
    }
    return low;
}

// Where all attempts were too few, which they almost never are: goes on, one attempt after the other, until
// `missing` more have come. They ascend in `more`; gives the tries.
DEV i64 draw_more(const DrawArgs& a, i64 missing) {
    i64 tries = 0, step = (i64)step_of(a), found = 0;
    for (i64 index = a.attempts; found < missing; index++) {
        i64 cls = attempt(a, (u64)step, index);
        if (cls < 0) continue;
        tries++;
        i64 place = numbers_below(a.more, found, cls);
        if (a.unique) {
            i64 at = count_below(a.keys, a.attempts, first_key(cls, a.index_bits));
            if (at < a.attempts && class_of(a.keys[at], a.index_bits) == cls) continue;
            if (place < found && a.more[place] == cls) continue;
        }
        for (i64 i = found; i > place; i--) a.more[i] = a.more[i - 1];
        a.more[place] = cls;
        found++;
    }
    return tries;
}

constexpr int DRAW_BLOCK = 1024, DRAW_OWN = 8;

// The attempt with which the sample is complete; `attempts` and how many are missing where none is.
DEV i64 last_attempt(const DrawArgs& a, u32* room, i64* found, i64& missing) {
    if (threadIdx.x == 0) *found = a.attempts;
    u32 done = 0;
    for (i64 start = 0; start < a.attempts && done < (u32)a.num_sampled; start += DRAW_BLOCK * DRAW_OWN) {
        i64 first = start + (i64)threadIdx.x * DRAW_OWN;
        u32 mark[DRAW_OWN], sum = 0, total;
#pragma unroll
        for (int i = 0; i < DRAW_OWN; i++) sum += mark[i] = first + i < a.attempts ? a.marks[first + i] : 0;
        u32 before = done + block_sum_before(sum, room, total);
#pragma unroll
        for (int i = 0; i < DRAW_OWN; i++) {
            before += mark[i];
            if (mark[i] && before == (u32)a.num_sampled) *found = first + i;
        }
        done += total;
    }
    __syncthreads();
    missing = done < (u32)a.num_sampled ? (i64)a.num_sampled - done : 0;
    return *found;
}

DEV void draw_ids_body(const DrawArgs& a) {
    SHARED_ARRAY(u32, room, 32);
    SHARED_ARRAY(i64, found, 2);
    i64 missing, last = last_attempt(a, room, found, missing);
    if (threadIdx.x == 0) found[1] = missing ? draw_more(a, missing) : 0;
    __syncthreads();
    // The marks serve again: how many of the sample there are before each sorted key.
    u32 done = 0, tries = 0;
    for (i64 start = 0; start < a.attempts; start += DRAW_BLOCK * DRAW_OWN) {
        i64 first = start + (i64)threadIdx.x * DRAW_OWN;
        u32 taken[DRAW_OWN], sum = 0, total;
#pragma unroll
        for (int i = 0; i < DRAW_OWN; i++) {
            u64 key = first + i < a.attempts ? a.keys[first + i] : NO_KEY;
            bool in_time = key != NO_KEY && index_of(key, a.index_bits) <= last;
            tries += in_time;
            sum += taken[i] = in_time && counts(a, first + i);
        }
        u32 before = done + block_sum_before(sum, room, total);
#pragma unroll
        for (int i = 0; i < DRAW_OWN; i++) {
            if (first + i < a.attempts) a.marks[first + i] = before;
            if (!taken[i]) continue;
            i64 cls = class_of(a.keys[first + i], a.index_bits);
            a.ids[before + numbers_below(a.more, missing, cls)] = cls;
            before++;
        }
        done += total;
    }
    __syncthreads();
    for (i64 i = threadIdx.x; i < missing; i += DRAW_BLOCK) {
        i64 cls = a.more[i], at = count_below(a.keys, a.attempts, first_key(cls + 1, a.index_bits));
        a.ids[i + (at < a.attempts ? a.marks[at] : done)] = cls;
    }
    u32 all = block_sum(tries, room);
    if (threadIdx.x) return;
    a.info->tries = (i64)all + found[1];
    a.info->replays++;
}

#define INSTANTIATE_draw_keys() ENTRY(draw_keys, DrawArgs, 256, 1, draw_keys_body(args))
#define INSTANTIATE_draw_firsts() ENTRY(draw_firsts, DrawArgs, 256, 1, draw_firsts_body(args))
#define INSTANTIATE_draw_ids() ENTRY(draw_ids, DrawArgs, DRAW_BLOCK, 1, draw_ids_body(args))
