// Classes with their place as one number, in ascending order: equal classes stand together by place, and a
// class is found by bisection. Built for the candidates (src/backend/cuda/prepare.rs) and for the labels
// (src/backend/cuda/gradients.rs).
//
// Launches:
//   keys        ceil(padded / 256) blocks of 256
//   sort_block  max(1, count / SORT_BLOCK) blocks of 1024        nothing else for count <= SORT_BLOCK
//   then for run = SORT_BLOCK, 2 SORT_BLOCK, .. while run < count:
//     sort_step   for distance = run, run / 2, .. while distance >= SORT_BLOCK:
//                 ceil(count / 512) blocks of 256
//     sort_merge  count / SORT_BLOCK blocks of 1024
// SORT_BLOCK keys lie in shared memory (static, 32 KiB).
#pragma once
#include "batch.cuh"

constexpr int SORT_BLOCK = 4096, SORT_THREADS = 1024;
// Behind all others, and of a class that does not exist.
constexpr u64 NO_KEY = ~0ull;

DEV i64 class_of(u64 key, int index_bits) { return (i64)(key >> index_bits); }
DEV i64 index_of(u64 key, int index_bits) { return (i64)(key & ((1ull << index_bits) - 1)); }
DEV u64 first_key(i64 cls, int index_bits) { return (u64)cls << index_bits; }

// Whether keys[i] is the first of its class.
DEV bool is_first(const u64* keys, i64 i, int index_bits) {
    return keys[i] != NO_KEY &&
           (i == 0 || class_of(keys[i - 1], index_bits) != class_of(keys[i], index_bits));
}

// How many of the ascending keys are below `key`.
DEV i64 count_below(const u64* keys, i64 count, u64 key) {
    i64 low = 0, high = count;
    while (low < high) {
        i64 middle = (low + high) >> 1;
        if (keys[middle] < key) low = middle + 1;
        else high = middle;
    }
    return low;
}

// The same by a whole warp, for one key: 32 probes at a time.
DEV i64 warp_count_below(const u64* keys, i64 count, u64 key) {
    i64 low = 0, high = count;
    while (low < high) {
        i64 step = (high - low + 31) >> 5;
        i64 probe = low + (lane_id() + 1) * step - 1;
        i64 below = __popc(warp_ballot(probe < high && keys[probe] < key));
        low += below * step;
        high = min(high, low + step - 1);
        low = min(low, high);
    }
    return low;
}

DEV void keys_body(const KeysArgs& a) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.padded) return;
    u64 key = NO_KEY;
    int state = ROW_LIVE;
    if (i < a.count && a.state) state = a.state[i / a.num_true];
    if (i < a.count && (state == ROW_LIVE || state == ROW_IDLE)) {
        i64 cls = label_at(a.classes, a.dtype, i);
        if (cls >= 0 && cls < a.num_classes) key = first_key(cls, a.index_bits) | (u64)i;
        else if (!a.state) report_candidates(a.control, STATUS_LABEL_RANGE);
    }
    a.keys[i] = key;
}

// Bitonic: runs alternate between ascending and descending, a pair's order follows from its place in the
// run that it will be part of.
DEV void order_pair(u64& low, u64& high, bool ascending) {
    if ((low > high) != ascending) return;
    u64 kept = low;
    low = high;
    high = kept;
}

// The lower of pair number `pair` of those `distance`, a power of two, apart.
DEV i64 lower_of_pair(i64 pair, i64 distance) { return 2 * pair - (pair & (distance - 1)); }

// Merges runs of run_after / 2 of the keys in shared memory; `base` is the place of the first of them.
DEV void merge_shared(u64* keys, int count, i64 base, i64 run_after, int distance) {
    for (; distance > 0; distance >>= 1) {
        __syncthreads();
        for (int pair = threadIdx.x; pair < count / 2; pair += SORT_THREADS) {
            int low = (int)lower_of_pair(pair, distance);
            order_pair(keys[low], keys[low + distance], ((base + low) & run_after) == 0);
        }
    }
}

template <class Work> DEV void in_shared_memory(const SortArgs& a, Work work) {
    SHARED_ARRAY(u64, keys, SORT_BLOCK);
    int count = (int)min(a.count, (i64)SORT_BLOCK);
    i64 base = (i64)blockIdx.x * count;
    for (int i = threadIdx.x; i < count; i += SORT_THREADS) keys[i] = a.keys[base + i];
    work(keys, count, base);
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += SORT_THREADS) a.keys[base + i] = keys[i];
}

DEV void sort_block_body(const SortArgs& a) {
    in_shared_memory(a, [&](u64* keys, int count, i64 base) {
        for (int run = 2; run <= count; run *= 2) merge_shared(keys, count, base, run, run / 2);
    });
}

DEV void sort_merge_body(const SortArgs& a) {
    in_shared_memory(a, [&](u64* keys, int count, i64 base) {
        merge_shared(keys, count, base, 2 * a.run, count / 2);
    });
}

DEV void sort_step_body(const SortArgs& a) {
    i64 pair = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (pair >= a.count / 2) return;
    i64 low = lower_of_pair(pair, a.distance);
    u64 x = a.keys[low], y = a.keys[low + a.distance];
    order_pair(x, y, (low & (2 * a.run)) == 0);
    a.keys[low] = x;
    a.keys[low + a.distance] = y;
}

#define INSTANTIATE_keys() ENTRY(keys, KeysArgs, 256, 1, keys_body(args))
#define INSTANTIATE_sort_block() ENTRY(sort_block, SortArgs, SORT_THREADS, 1, sort_block_body(args))
#define INSTANTIATE_sort_merge() ENTRY(sort_merge, SortArgs, SORT_THREADS, 1, sort_merge_body(args))
#define INSTANTIATE_sort_step() ENTRY(sort_step, SortArgs, 256, 1, sort_step_body(args))
