// The second kernel of a call: what needs the sorted keys. Blocks of 256, in this order, as many of each as PrepareArgs
// says: candidates gathered, rows looked at, inputs packed where they are no operand, the index of the gradients.
#pragma once
#include "columns.cuh"
#include "index.cuh"
#include "rows.cuh"

DEV void prepare_body(const PrepareArgs& a) {
    i64 block = blockIdx.x;
    if (block < a.column_blocks) return columns_body(a.columns, block);
    block -= a.column_blocks;
    if (block < a.row_blocks) return rows_body(a.rows, block);
    block -= a.row_blocks;
    if (block < a.pack_blocks) return pack_body(a.pack, block);
    index_body(a.index, block - a.pack_blocks);
}

#define INSTANTIATE_prepare() ENTRY(prepare, PrepareArgs, ROW_BLOCK, 4, prepare_body(args))
