// Operands of a tensor-core product as a warp holds them, read from tiles of load.cuh. A fragment
// is four registers: of `a` 16 rows and two chunks of depth, of `b` two chunks of depth and 16
// columns (registers 0, 1 the first eight). Two chunks are 16 elements of 16 bits or 8 of 32;
// `chunk`, the first, is even.
#pragma once
#include "load.cuh"

// One of 4-byte elements, that at `column` + g (g the lane's) of row `row` + `lane_row`.
template <class T> DEV float load_word(const T& tile, int row, int lane_row, int column, int g) {
    return *(reinterpret_cast<const float*>(tile.at(row, column >> 2, lane_row, g >> 2)) + (g & 3));
}

// In what order the depth of a product is numbered. A sum does not mind, as long as a and b agree.
enum DepthOrder {
    STORED,       // as it lies in memory
    ACCUMULATED,  // as a taken from accumulators has it, see Tf32
};

// The tile's rows are the product's rows; along them runs the depth.
template <class T> DEV void load_fragment_a(u32 (&r)[4], const T& tile, int row, int chunk) {
    int lane = lane_id();
    ldmatrix(r, tile.at(row, chunk, lane & 15, lane >> 4));
}

// The tile's rows are the product's columns; along them runs the depth.
template <class T> DEV void load_fragment_b(u32 (&r)[4], const T& tile, int column, int chunk) {
    int lane = lane_id();
    ldmatrix(r, tile.at(column, chunk, (lane & 7) + (lane >> 4) * 8, lane >> 3 & 1));
}

// The tile's rows are the depth (16-bit elements); along them run the product's rows.
template <class T> DEV void load_fragment_a_transposed(u32 (&r)[4], const T& tile, int depth, int chunk) {
    int lane = lane_id();
    ldmatrix_transposed(r, tile.at(depth, chunk, (lane & 7) + (lane >> 4) * 8, lane >> 3 & 1));
}

// The tile's rows are the depth (16-bit elements); along them run the product's columns.
template <class T> DEV void load_fragment_b_transposed(u32 (&r)[4], const T& tile, int depth, int chunk) {
    int lane = lane_id();
    ldmatrix_transposed(r, tile.at(depth, chunk, lane & 15, lane >> 4));
}
