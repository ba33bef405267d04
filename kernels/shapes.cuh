// The tiles of the matrix kernels: how many warps a block has and how much of the matrix each
// holds in its registers. instances.def repeats what the host needs of it.
//
// Limits: 255 registers a thread, or what BLOCKS leaves of the 65,536 of an SM, without spills
// (tests/kernels/registers.txt); 99 KiB of shared memory, so that one table serves every device with
// tensor cores, and 64 KiB for Fma, which serves the older ones, too, except where attend cannot.
#pragma once
#include "arithmetic/bf16x3.cuh"
#include "arithmetic/fma.cuh"
#include "arithmetic/sixteen_bit.cuh"
#include "arithmetic/tf32.cuh"

// DOWN x ACROSS warps, each of HIGH x WIDE accumulators of 16x8.
template <int DOWN_, int ACROSS_, int HIGH_, int WIDE_> struct Warps {
    static constexpr int DOWN = DOWN_, ACROSS = ACROSS_, HIGH = HIGH_, WIDE = WIDE_;
    static constexpr int ROWS = DOWN * HIGH * 16, COLS = ACROSS * WIDE * 8, THREADS = DOWN * ACROSS * 32;

    // Of this warp, within the block's tile.
    static DEV int first_row() { return warp_id() / ACROSS * HIGH * 16; }
    static DEV int first_col() { return warp_id() % ACROSS * WIDE * 8; }
};

// logits and product: a loop over the depth in slabs, STAGES of them in shared memory. 32x64 a
// warp needs 24 loads of fragments for 64 products; 16x128 would need 36 and wait for them.
template <class Arithmetic> struct SlabShape : Warps<4, 2, 2, 8> {
    static constexpr int STAGES = 3, BLOCKS = 2;
};
template <> struct SlabShape<arithmetic::Bf16x3> : Warps<4, 2, 2, 8> {
    static constexpr int STAGES = 3, BLOCKS = 1;  // twice the fragments, a third of the loads
};
template <> struct SlabShape<arithmetic::Fma> : Warps<2, 2, 2, 8> {
    static constexpr int STAGES = 2, BLOCKS = 2;
};

// attend, BLOCKS of it on an SM: a warp keeps HIGH * 16 rows of `out` for the whole depth of DIM,
// HIGH * DIM / 2 registers a thread, beside HIGH * WIDE * 4 for the probabilities of a tile of columns.
template <int BLOCKS_, int WARPS, int HIGH, int WIDE> struct AttendWarps : Warps<WARPS, 1, HIGH, WIDE> {
    static constexpr int BLOCKS = BLOCKS_;
};
template <class Arithmetic, int DIM> struct AttendShape;
template <> struct AttendShape<arithmetic::Bf16, 64> : AttendWarps<2, 4, 2, 8> {};
template <> struct AttendShape<arithmetic::Bf16, 128> : AttendWarps<2, 4, 2, 4> {};
template <> struct AttendShape<arithmetic::Bf16, 256> : AttendWarps<1, 8, 1, 4> {};
template <int DIM> struct AttendShape<arithmetic::F16, DIM> : AttendShape<arithmetic::Bf16, DIM> {};
template <> struct AttendShape<arithmetic::Bf16x3, 64> : AttendWarps<1, 8, 1, 4> {};
template <> struct AttendShape<arithmetic::Bf16x3, 128> : AttendWarps<1, 8, 1, 4> {};
template <> struct AttendShape<arithmetic::Bf16x3, 256> : AttendWarps<2, 4, 1, 2> {};
template <> struct AttendShape<arithmetic::Tf32, 64> : AttendWarps<2, 4, 2, 8> {};
template <> struct AttendShape<arithmetic::Tf32, 128> : AttendWarps<2, 4, 2, 4> {};
template <> struct AttendShape<arithmetic::Tf32, 256> : AttendWarps<2, 4, 1, 2> {};
template <> struct AttendShape<arithmetic::Fma, 64> : AttendWarps<3, 4, 1, 4> {};
template <> struct AttendShape<arithmetic::Fma, 128> : AttendWarps<3, 4, 1, 2> {};
template <> struct AttendShape<arithmetic::Fma, 256> : AttendWarps<2, 4, 1, 2> {};
