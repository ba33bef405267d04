// What compute capability 9.0 (sm_90a) has beyond tile.cuh: copies of whole tiles that report to barriers in shared
// memory, and products that four warps start together and wait for later. As in tile.cuh everything stands
// here twice, for the device and, in tests/emu/hopper_host.h, for the emulator.
//
// Copies and products are not ordered with a thread's own loads and stores. A copy's data is there once its barrier's
// phase has been waited for; a tile may be overwritten once every warp that multiplies with it has waited for its
// products and said so on a barrier; shared memory written by ordinary stores needs fence_async, then a barrier,
// before a product reads it.
#pragma once
#include "arguments.cuh"

// An mbarrier in shared memory. Its phase ends when `arrivals` threads have arrived and the bytes that were announced
// have landed; then the next begins. Phase n is waited for by its parity, n & 1.
struct Barrier {
    u64 bits;
};

// Which way the numbers of an operand of a product run in shared memory: along the depth, or across it.
enum Major { MAJOR_DEPTH = 0, MAJOR_ACROSS = 1 };

#ifdef __CUDACC__

// Dynamic shared memory for tiles of swizzled copies, whose pattern repeats every 1024 bytes.
#define DYN_SMEM_1024(T, name)                                                                            \
    extern __shared__ __align__(1024) unsigned char aligned_shared_memory[];                              \
    T* name = reinterpret_cast<T*>(aligned_shared_memory)

DEV void barrier_init(Barrier* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// Before its memory is used for anything else.
DEV void barrier_invalidate(Barrier* barrier) {
    asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// By the thread that has initialised barriers, before copies may report to them; then __syncthreads.
DEV void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEV void barrier_arrive(Barrier* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Announces bytes that copies will bring in this phase, and arrives.
DEV void barrier_arrive_expect(Barrier* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}
DEV void barrier_wait(Barrier* barrier, int parity) {
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
        "@over bra done;\n"
        "bra again;\n"
        "done:\n"
        "}" ::"r"(shared_address(barrier)),
        "r"(parity)
        : "memory");
}

// Shared memory that this thread has written, for products and copies.
DEV void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Starts the copy of the box whose first element is column `x` of row `y`; zeros where it leaves the matrix. All of
// the box's bytes count for the barrier. One thread.
DEV void copy_tile(void* to, const TensorMap* map, Barrier* barrier, int x, int y) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        " [%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
        "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y)
        : "memory");
}

// One lane of the warp.
DEV bool elected() {
    u32 r;
    asm volatile("{\n.reg .pred one;\nelect.sync _|one, 0xffffffff;\nselp.u32 %0, 1, 0, one;\n}" : "=r"(r));
    return r != 0;
}

// Registers of each thread of a warpgroup from here on; a multiple of 8. Given back before others can take them.
template <int COUNT> DEV void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}
template <int COUNT> DEV void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

// A barrier of `threads` threads, id 1 to 15; those who only arrive do not wait.
DEV void named_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEV void named_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

// Before the first product after the registers of a or of the sums were touched.
DEV void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// All but the last K committed groups of this warp are done: their sums may be read, their operands overwritten.
template <int K> DEV void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(K) : "memory"); }

// Keeps the compiler from moving accesses to registers across: stands between their use and products.
template <int WIDE> DEV void pin(float (&d)[WIDE][4]) {
#pragma unroll
    for (int n = 0; n < WIDE; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) asm volatile("" : "+f"(d[n][i])::"memory");
}
template <int STEPS> DEV void pin(u32 (&a)[STEPS][4]) {
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) asm volatile("" : "+r"(a[step][i])::"memory");
}

// d[64 x N] (+)= a[64 x 16] b[N x 16]^T by the four warps of a warpgroup, which have 16 rows each: sums and a in
// registers as mma_bf16 has them. `add`: 0 forgets what d holds.
template <class T, int N> struct Wgmma;

#define WGMMA_FIVE(t, a, b, c, d, e) "%" #t #a ", %" #t #b ", %" #t #c ", %" #t #d ", %" #t #e ", "
#define WGMMA_TEN(t) WGMMA_FIVE(t, 0, 1, 2, 3, 4) WGMMA_FIVE(t, 5, 6, 7, 8, 9)
#define WGMMA_SUMS_32 WGMMA_TEN() WGMMA_TEN(1) WGMMA_TEN(2) "%30, %31"
#define WGMMA_SUMS_64 WGMMA_TEN() WGMMA_TEN(1) WGMMA_TEN(2) WGMMA_TEN(3) WGMMA_TEN(4) WGMMA_TEN(5) "%60, %61, %62, %63"
#define WGMMA_SUMS_128                                                                                    \
    WGMMA_TEN() WGMMA_TEN(1) WGMMA_TEN(2) WGMMA_TEN(3) WGMMA_TEN(4) WGMMA_TEN(5) WGMMA_TEN(6)             \
    WGMMA_TEN(7) WGMMA_TEN(8) WGMMA_TEN(9) WGMMA_TEN(10) WGMMA_TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127"
#define WGMMA_4(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define WGMMA_16(n) WGMMA_4(n), WGMMA_4(n + 1), WGMMA_4(n + 2), WGMMA_4(n + 3)
#define WGMMA_REGISTERS_32 WGMMA_16(0), WGMMA_16(4)
#define WGMMA_REGISTERS_64 WGMMA_REGISTERS_32, WGMMA_16(8), WGMMA_16(12)
#define WGMMA_REGISTERS_128 WGMMA_REGISTERS_64, WGMMA_16(16), WGMMA_16(20), WGMMA_16(24), WGMMA_16(28)

// The last six: the numbers of the operands behind the sums.
#define WGMMA(T, type, N, SUMS, i0, i1, i2, i3, i4, i5, i6)                                               \
    template <> struct Wgmma<T, N> {                                                                      \
        template <Major B> static DEV void shared(float (&d)[N / 8][4], u64 a, u64 b, int add) {          \
            asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " i2 ", 0;\n"                              \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type                  \
                         " {" WGMMA_SUMS_##SUMS "}, " i0 ", " i1 ", add, 1, 1, 0, " i3 ";\n}"             \
                         : WGMMA_REGISTERS_##SUMS                                                         \
                         : "l"(a), "l"(b), "r"(add), "n"((int)B));                                        \
        }                                                                                                 \
        template <Major B>                                                                                \
        static DEV void registers(float (&d)[N / 8][4], const u32 (&a)[4], u64 b, int add) {              \
            asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " i5 ", 0;\n"                              \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type                  \
                         " {" WGMMA_SUMS_##SUMS "}, {" i0 ", " i1 ", " i2 ", " i3 "}, " i4                \
                         ", add, 1, 1, " i6 ";\n}"                                                        \
                         : WGMMA_REGISTERS_##SUMS                                                         \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"((int)B));    \
        }                                                                                                 \
    };
#define WGMMA_BOTH(N, SUMS, ...)                                                                          \
    WGMMA(bf16, "bf16", N, SUMS, __VA_ARGS__)                                                             \
    WGMMA(f16, "f16", N, SUMS, __VA_ARGS__)
WGMMA_BOTH(64, 32, "%32", "%33", "%34", "%35", "%36", "%37", "%38")
WGMMA_BOTH(128, 64, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
WGMMA_BOTH(256, 128, "%128", "%129", "%130", "%131", "%132", "%133", "%134")

#else
#include "hopper_host.h"
#endif

// ---- the same on both sides ----------------------------------------------------------------------

DEV int warpgroup_id() { return threadIdx.x >> 7; }

// A matrix in shared memory as a product finds it, swizzled as copies with 128-byte swizzle leave it (16-byte chunks
// xored with the number of their row of 128 bytes, modulo 8). `start` is 16-byte aligned and lies in a row that is
// the first of eight. From one eight of rows to the next it is 1024 bytes. The numbers of MAJOR_DEPTH run along the
// depth, of which a row has 64; of MAJOR_ACROSS along the other dimension, where from 64 to 64 it is `leading_bytes`.
DEV u64 swizzled_matrix(const void* start, int leading_bytes) {
    constexpr u64 SWIZZLE_128 = 1, EIGHT_ROWS = 1024;
    return (u64)(shared_address(start) >> 4) | (u64)(leading_bytes >> 4) << 16 | (EIGHT_ROWS >> 4) << 32 |
           SWIZZLE_128 << 62;
}

// ROWS rows of a matrix of 16-bit numbers in panels of 64 columns, as copies of one panel each leave them.
template <int ROWS_, int COLS_> struct Panels {
    static constexpr int ROWS = ROWS_, COLS = COLS_, WIDTH = 64, PITCH = 128, PANEL = ROWS * PITCH;
    static constexpr int BYTES = COLS / WIDTH * PANEL;
    static_assert(ROWS % 8 == 0 && COLS % WIDTH == 0, "whole swizzle patterns");
    u8* base;

    // Starts the copies, from column `col` of row `row` on. One thread.
    DEV void copy(const TensorMap* map, Barrier* barrier, int col, int row) const {
#pragma unroll
        for (int panel = 0; panel < COLS / WIDTH; panel++)
            copy_tile(base + panel * PANEL, map, barrier, col + panel * WIDTH, row);
    }
    // An operand whose rows begin at `row`, a multiple of 8; the columns are the depth, in steps of 16.
    DEV u64 by_rows(int row, int step) const {
        return swizzled_matrix(base + step / 4 * PANEL + row * PITCH + step % 4 * 32, 16);
    }
    // The transposed operand: the rows are the depth, in steps of 16, and all columns count.
    DEV u64 by_columns(int step) const { return swizzled_matrix(base + step * 16 * PITCH, PANEL); }
};
