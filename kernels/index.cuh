// What candidates and labels are to each other, from the sorted keys of both: the hits as the columns see them
// (class_hits), and which row of the sparse gradient each class has (ranks).
//
// The keys of both lists ascend, so a class's rank among all is how many distinct classes of either list lie
// before it: within its block of RANK_BLOCK, and in the blocks before.
//
// Parts of other launches:
//   index        of prepare.cuh: index_blocks(num_sampled, labels) blocks of 256
//   sum_ranks    of shares.cuh: 1 block of 256
#pragma once
#include "reduction.cuh"
#include "sort.cuh"

constexpr int RANK_BLOCK = 256;

DEV i64 rank_blocks(i64 count) { return count / RANK_BLOCK + 1; }
// Each block has this part of both lists and of their ends.
DEV i64 index_blocks(i64 num_sampled, i64 labels) { return rank_blocks(max(num_sampled, labels)); }

// How many counted before place `i`, which may be the end.
DEV i64 rank_of(const Ranks& ranks, i64 i) {
    return (i64)ranks.within[i] + ranks.before[i / RANK_BLOCK];
}

DEV void class_hits(const IndexArgs& a, i64 i) {
    if (i < a.labels) {
        u64 key = a.label_keys[i];
        a.list[i] = key == NO_KEY ? NO_HIT : (u32)(index_of(key, a.label_bits) / a.num_true);
    }
    if (i >= a.num_sampled) return;
    i64 begin = 0, end = 0;
    if (is_first(a.keys, i, a.index_bits)) {
        i64 cls = class_of(a.keys[i], a.index_bits);
        begin = count_below(a.label_keys, a.labels, first_key(cls, a.label_bits));
        end = begin + count_below(a.label_keys + begin, a.labels - begin, first_key(cls + 1, a.label_bits));
    }
    a.begin[i] = (u32)begin;
    a.end[i] = (u32)end;
}

// Whether sorted label `i` is the first of a class that is no candidate.
DEV bool is_new(const IndexArgs& a, i64 i) {
    if (i >= a.labels || !is_first(a.label_keys, i, a.label_bits)) return false;
    i64 cls = class_of(a.label_keys[i], a.label_bits);
    i64 column = count_below(a.keys, a.num_sampled, first_key(cls, a.index_bits));
    return column == a.num_sampled || class_of(a.keys[column], a.index_bits) != cls;
}

DEV void rank_within_block(const Ranks& ranks, i64 count, i64 i, bool counts, u32* room) {
    u32 total, before = block_sum_before((u32)counts, room, total);
    if (i <= count) ranks.within[i] = before;
    if (threadIdx.x == 0 && i <= count) ranks.before[i / RANK_BLOCK] = total;
}

DEV void index_body(const IndexArgs& a, i64 block) {
    SHARED_ARRAY(u32, room, 32);
    i64 i = block * RANK_BLOCK + threadIdx.x;
    if (a.list) class_hits(a, i);
    rank_within_block(a.heads, a.num_sampled, i, i < a.num_sampled && is_first(a.keys, i, a.index_bits), room);
    rank_within_block(a.news, a.labels, i, is_new(a, i), room);
}

// Replaces counts[0 .. count) by the sum of those before each; gives the sum of all.
DEV i64 sum_before(u32* counts, i64 count, u32* room) {
    constexpr int OWN = 4;
    u32 done = 0;
    for (i64 start = 0; start < count; start += (i64)blockDim.x * OWN) {
        i64 first = start + (i64)threadIdx.x * OWN;
        u32 own[OWN], sum = 0, total;
#pragma unroll
        for (int i = 0; i < OWN; i++) sum += own[i] = first + i < count ? counts[first + i] : 0;
        u32 before = done + block_sum_before(sum, room, total);
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            if (first + i < count) counts[first + i] = before;
            before += own[i];
        }
        done += total;
    }
    return done;
}

DEV void sum_ranks(const IndexArgs& a) {
    SHARED_ARRAY(u32, room, 32);
    i64 num_heads = sum_before(a.heads.before, rank_blocks(a.num_sampled), room);
    i64 num_new = sum_before(a.news.before, rank_blocks(a.labels), room);
    if (threadIdx.x) return;
    a.control->num_heads = num_heads;
    a.control->num_new = num_new;
    if (a.num_rows) *a.num_rows = num_heads + num_new;
}
