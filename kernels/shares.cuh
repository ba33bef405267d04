// What the labels have in the gradients, once the rows are finished. Blocks of 256, in this order, as many of each as
// SharesArgs says: ranks summed up, pieces of the labels' shares, d_inputs.
#pragma once
#include "gradients.cuh"
#include "merge.cuh"

DEV void shares_body(const SharesArgs& a) {
    i64 block = blockIdx.x;
    if (block < a.rank_blocks) return sum_ranks(a.index);
    block -= a.rank_blocks;
    if (block < a.piece_blocks) return merge_pieces_body(a.merge, block);
    d_inputs_body(a.d_inputs, block - a.piece_blocks);
}

#define INSTANTIATE_shares() ENTRY(shares, SharesArgs, ROW_BLOCK, 3, shares_body(args))
