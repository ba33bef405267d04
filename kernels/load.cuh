// Tiles of an operand in shared memory, and how they get there: 16 bytes at a time, behind the
// program's back. All matrix kernels (logits.cuh, attend.cuh, product.cuh) load with this.
#pragma once
#include "arguments.cuh"

// ROWS rows of CHUNKS chunks of 16 bytes (a multiple of 8), the planes of an operand side by side.
// The low three bits of a chunk's place are xored with its row: then the eight rows that one
// ldmatrix reads at the same chunk lie in different banks, and so do the words of a column.
template <int ROWS_, int CHUNKS_> struct Tile {
    static constexpr int ROWS = ROWS_, CHUNKS = CHUNKS_, PITCH = CHUNKS * 16, BYTES = ROWS * PITCH;
    static_assert(CHUNKS % 8 == 0, "the swizzle stays within eight chunks");
    u8* base;

    DEV u8* at(int row, int chunk) const { return base + row * PITCH + (chunk ^ (row & 7)) * 16; }

    // at(row + lane_row, chunk ^ lane_chunk), of which `row`, a multiple of 8, and `chunk` are the
    // warp's. What differs from lane to lane is one of eight numbers, whatever row and chunk are.
    DEV u8* at(int row, int chunk, int lane_row, int lane_chunk) const {
        int of_lane = opaque(lane_row * PITCH + ((chunk & 7) ^ lane_chunk ^ (lane_row & 7)) * 16);
        return base + of_lane + (row * PITCH + (chunk & ~7) * 16);
    }
    // The 4-byte elements 2t and 2t + 1 behind `column`, a multiple of 8; t < 4 is the lane's.
    DEV const float* pair(int row, int column, int t) const {
        int of_lane = opaque((t / 2 ^ (row & 1)) * 16 + t % 2 * 8);
        return reinterpret_cast<const float*>(base + of_lane + (row * PITCH + (column / 4 ^ (row & 6)) * 16));
    }
};

// What a tile covers of its operand: rows from `row` of `rows`, chunks from `chunk` of `chunks`
// (counted in one plane). What lies outside is zeros.
struct Window {
    int row, rows, chunk, chunks;
};

// The chunks that hold `elements` of an operand's row.
template <class Arithmetic> DEV int chunks_of(int elements) {
    return (int)(((i64)elements * (int)sizeof(typename Arithmetic::Element) + 15) / 16);
}

// Starts the copies of a tile; the caller commits. `wanted(i, row)` says whether the tile's row
// counts, i being the number of the copy within this thread: other rows are not read, but zeros.
template <class Arithmetic, int THREADS, class T, class Wanted>
DEV void load_tile(const T& tile, const Operand& from, const Window& window, Wanted wanted) {
    constexpr int PLANE = T::CHUNKS / Arithmetic::PLANES;
    constexpr int COPIES = T::ROWS * T::CHUNKS / THREADS;
    static_assert(T::ROWS * T::CHUNKS % THREADS == 0, "every thread has as many copies");
    // Not unrolled: the addresses would take the registers that the sums need.
#pragma unroll 1
    for (int i = 0; i < COPIES; i++) {
        int index = threadIdx.x + i * THREADS;
        int row = index / T::CHUNKS, chunk = index % T::CHUNKS;
        int column = window.chunk + chunk % PLANE;
        bool counts = window.row + row < window.rows && column < window.chunks && wanted(i, row);
        const u8* plane = static_cast<const u8*>(from.plane[Arithmetic::PLANES == 1 ? 0 : chunk / PLANE]);
        i64 row_bytes = from.stride * (i64)sizeof(typename Arithmetic::Element);
        i64 offset = counts ? (window.row + row) * row_bytes + (i64)column * 16 : 0;
        copy16(tile.at(row, chunk), plane + offset, counts);
    }
}

struct EveryRow {
    DEV bool operator()(int, int) const { return true; }
};

// Loops over a depth take this much of it at a time: of every row, all planes together.
constexpr int SLAB_BYTES = 128;

// Tiles of two operands, in use or on their way: step after step in turn.
template <class A_, class B_, int STAGES> struct SlabRing {
    using A = A_;
    using B = B_;
    static constexpr int BYTES = STAGES * (A::BYTES + B::BYTES);
    u8* base;

    DEV A a(int step) const { return A{base + step % STAGES * (A::BYTES + B::BYTES)}; }
    DEV B b(int step) const { return B{a(step).base + A::BYTES}; }
};
