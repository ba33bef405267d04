// Classes with their place as one number, in ascending order: equal classes stand together by place, and a
// class is found by bisection. Built for the candidates and for the labels (src/backend/cuda/prepare.rs).
//
// Launches: keys is a part of begin.cuh, which leaves runs of SORT_BLOCK; keys that others made (draw.cuh) are brought
// there by
//     sort_block  max(1, count / SORT_BLOCK) blocks of 1024
// Where one run is all of them there is nothing else; then for run = SORT_BLOCK, 2 SORT_BLOCK, .. while run < count:
//     sort_step   for distance = run, run / 2, .. while distance >= SORT_BLOCK:
//                 ceil(count / 512) blocks of 256
//     sort_merge  count / SORT_BLOCK blocks of 1024
// SORT_BLOCK keys lie in shared memory, 64 KiB: all that devices of compute capability 7.5 have.
#pragma once
#include "batch.cuh"

constexpr int SORT_BLOCK = 8192, SORT_THREADS = 1024;
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

DEV void sort_shared(u64* keys, int count, i64 base) {
    for (int run = 2; run <= count; run *= 2) merge_shared(keys, count, base, run, run / 2);
}

// Block number `block` of keys, read by `read(i)`, through shared memory.
template <class Read, class Work>
DEV void in_shared_memory(u64* keys, i64 all, u64* shared, i64 block, Read read, Work work) {
    int count = (int)min(all, (i64)SORT_BLOCK);
    i64 base = block * count;
    for (int i = threadIdx.x; i < count; i += SORT_THREADS) shared[i] = read(base + i);
    __syncthreads();
    work(count, base);
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += SORT_THREADS) keys[base + i] = shared[i];
}

// How many blocks of SORT_THREADS make the keys.
DEV i64 key_blocks(const KeysArgs& a) { return a.padded ? max((i64)1, a.padded / SORT_BLOCK) : 0; }

// One of a row's labels being no class leaves out all: the row is at fault, or ignored.
DEV u64 key_of(const KeysArgs& a, i64 i) {
    if (i >= a.count) return NO_KEY;
    i64 first = a.num_true == 1 ? i : i / a.num_true * a.num_true;
    for (i64 place = first; place < first + a.num_true; place++) {
        i64 cls = label_at(a.classes, a.dtype, place);
        if (cls < 0 || cls >= a.num_classes || (a.has_ignore_index && cls == a.ignore_index)) return NO_KEY;
    }
    return first_key(label_at(a.classes, a.dtype, i), a.index_bits) | (u64)i;
}

// Candidates that an earlier call drew ascend, which costs less to see than to sort.
DEV bool ascends(const u64* keys, int count) {
    bool falls = false;
    for (int i = threadIdx.x; i + 1 < count; i += SORT_THREADS) falls |= keys[i] > keys[i + 1];
    return !block_any(falls);
}

DEV void keys_body(const KeysArgs& a, i64 block, u64* shared) {
    auto read = [&](i64 i) { return key_of(a, i); };
    in_shared_memory(a.keys, a.padded, shared, block, read, [&](int count, i64 base) {
        if (a.ascending || (count == a.padded && ascends(shared, count))) return;
        sort_shared(shared, count, base);
    });
}

DEV void sort_block_body(const SortArgs& a, u64* shared) {
    auto read = [&](i64 i) { return a.keys[i]; };
    in_shared_memory(a.keys, a.count, shared, blockIdx.x, read,
                     [&](int count, i64 base) { sort_shared(shared, count, base); });
}

DEV void sort_merge_body(const SortArgs& a, u64* shared) {
    auto read = [&](i64 i) { return a.keys[i]; };
    in_shared_memory(a.keys, a.count, shared, blockIdx.x, read,
                     [&](int count, i64 base) { merge_shared(shared, count, base, 2 * a.run, count / 2); });
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

#define INSTANTIATE_sort_block()                                                                          \
    ENTRY(sort_block, SortArgs, SORT_THREADS, 1, DYN_SMEM(u64, shared); sort_block_body(args, shared))
#define INSTANTIATE_sort_merge()                                                                          \
    ENTRY(sort_merge, SortArgs, SORT_THREADS, 1, DYN_SMEM(u64, shared); sort_merge_body(args, shared))
#define INSTANTIATE_sort_step() ENTRY(sort_step, SortArgs, 256, 1, sort_step_body(args))
