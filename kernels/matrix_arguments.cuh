// What the matrix kernels take (logits.cuh, attend.cuh, product.cuh and their forms by wgmma); the rest is in
// arguments.cuh, which says what names and "base 2" mean.
#pragma once
#include "tile.cuh"

// A matrix as the matrix kernels read it: row-major, 16-byte aligned rows, zero from d to
// `dim` (a multiple of 16 bytes). bf16x3 has a second plane: x = plane[0] + plane[1].
struct Operand {
    const void* plane[2];
    i64 stride;  // elements from row to row
};

// The accidental hits of a matrix kernel's rows, each row's ascending by column; a column
// that appears is left out of that row. Row r has list[begin[r] .. end[r]), or, where
// begin is NULL, list[r * width .. (r + 1) * width), ending early at NO_HIT.
struct Hits {
    const u32* list;  // NULL: no hits at all
    const u32* begin;
    const u32* end;
    i64 width;
};
constexpr u32 NO_HIT = 0xffffffffu;

// CUtensorMap: a matrix of 16-bit numbers as the copies of hopper.cuh see it, in boxes of 64 columns, swizzled; what
// lies outside the matrix is zeros.
struct TensorMap {
    alignas(128) u64 words[16];
};

// logits: z[r, c] = (q[r] . k[c]) log2(e) + col_add[c], -inf at hits.
//   LSE            partial[split, r] = (m, sum_c exp2(z - m)), m the largest z; (-inf, 0) if all are -inf
//   PROBABILITIES  p[r, c] = exp2(z + row_add[r]) * row_factor[r] * *scale, in the arithmetic's own type
//                  (two planes for bf16x3), 0 from `cols` to the next multiple of 8 columns
//                  col_sums[row tile, c] = sum of those of a tile's rows, before rounding
//                  with `redo`, of its rows alone, the others staying as they are: row_factor and scale count as 1
//                  where they are not 0
//   EXPONENTIALS   p[r, c] = exp2(z + row_add[r]), as stored by PROBABILITIES, and partial as in LSE
// A row whose row_factor is 0, or in EXPONENTIALS whose row_add is -inf, has p = 0 whatever else it holds.
struct LogitsArgs {
    Operand q, k;
    int rows, cols, dim;
    int cols_per_split;      // a multiple of the tile's columns; split = blockIdx.y
    const float* col_add;    // [cols] base 2
    Hits hits;
    float2* partial;         // [splits, rows]
    const float* row_add;    // [rows] base 2
    const float* row_factor; // [rows]
    const float* scale;      // [1]; NULL is 1
    void* p[2];
    i64 p_stride;            // elements
    float* col_sums;         // [row tiles, cols]; NULL: not wanted
    const unsigned char* redo;  // [rows], 1 for those to compute; NULL: all
};

// logits_wgmma: logits, with q and k by tensor maps of the tile's rows and columns.
struct LogitsWgmmaArgs {
    TensorMap q, k;
    LogitsArgs logits;
};

// attend: out[split, r] = sum_c p[r, c] k[c], never storing p.
//   ONLINE  p = exp2(z - m) * *scale, and partial as in logits (its sum without scale)
//   KNOWN   p = exp2(z + row_add[r]) * col_factor[c] * *scale, and row_sums[split, r] = sum_c p
// z as in logits. A column whose col_factor is 0 is not looked at, nor is its row of k.
struct AttendArgs {
    Operand q, k;
    int rows, cols, dim;
    int cols_per_split;      // a multiple of the tile's columns; split = blockIdx.y
    const float* col_add;    // [cols] base 2
    const float* row_add;    // [rows] base 2; KNOWN only
    const float* col_factor; // [cols]; NULL is 1; KNOWN only
    Hits hits;
    const float* scale;      // [1]; NULL is 1
    float* out;              // [splits, rows, dim]
    float2* partial;         // [splits, rows]; ONLINE only
    float* row_sums;         // [splits, rows]; KNOWN only; NULL: not wanted
};

// attend_wgmma: attend, with q and k by tensor maps of the tile's rows and of its columns. A column whose
// col_factor is 0 must have finite numbers in its row of k: they are multiplied with 0.
struct AttendWgmmaArgs {
    TensorMap q, k;
    AttendArgs attend;
};

// product: out[r] (+)= sum_k a(r, k) b[k].
//   PLAIN       a is [rows, depth]
//   TRANSPOSED  a is [depth, rows], read as its transpose
// Where depth_factor[k] is 0, row k of b is not looked at (its column of a is 0).
struct ProductArgs {
    Operand a, b;
    int rows, depth, dim;
    int accumulate;            // 1: add to what `out` holds
    const float* depth_factor; // [depth]; NULL: all rows of b count
    float* out;                // [rows, dim]
};
