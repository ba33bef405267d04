// A product of copied tiles by one warpgroup, to check descriptors and fragments: under the emulator (test_hopper.cpp)
// and, compiled as it is, on a device (tests/gpu/test_hopper.py).
#pragma once
#include "hopper.cuh"

// One warpgroup: out[64, N] = a[64, 64] b[N, 64]^T (BY_ROWS), or a[64, 32] b[32, N] with a in registers (BY_COLUMNS).
struct ProductOfTiles {
    TensorMap a, b;
    const float* a_values;  // [64, 32]
    float* out;
};
enum Form { BY_ROWS, BY_COLUMNS };

template <class T, int N, Form FORM> DEV void multiply(const ProductOfTiles& args) {
    constexpr int ROWS_B = FORM == BY_ROWS ? N : 32, COLS_B = FORM == BY_ROWS ? 64 : N;
    DYN_SMEM_1024(u8, shared);
    Panels<64, 64> a{shared};
    Panels<ROWS_B, COLS_B> b{shared + a.BYTES};
    Barrier* barrier = reinterpret_cast<Barrier*>(shared + a.BYTES + b.BYTES);
    if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        fence_barrier_init();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        barrier_arrive_expect(barrier, a.BYTES + b.BYTES);
        a.copy(&args.a, barrier, 0, 0);
        b.copy(&args.b, barrier, 0, 0);
    }
    barrier_wait(barrier, 0);
    float d[N / 8][4];
    u32 left[2][4];
    int row = warp_id() * 16 + lane_id() / 4, column = lane_id() % 4 * 2;
#pragma unroll
    for (int step = 0; step < 2; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float* from = args.a_values + (row + i % 2 * 8) * 32 + step * 16 + column + i / 2 * 8;
            left[step][i] = pack<T>(from[0], from[1]);
        }
    pin(left);
    wgmma_fence();
    if (FORM == BY_ROWS) {
#pragma unroll
        for (int step = 0; step < 4; step++)
            Wgmma<T, N>::template shared<MAJOR_DEPTH>(d, a.by_rows(0, step), b.by_rows(0, step), step > 0);
    } else {
#pragma unroll
        for (int step = 0; step < 2; step++)
            Wgmma<T, N>::template registers<MAJOR_ACROSS>(d, left[step], b.by_columns(step), step > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    pin(d);
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) args.out[(row + i / 2 * 8) * N + n * 8 + column + i % 2] = d[n][i];
}
#define MULTIPLY(T, N, FORM) ENTRY(multiply_##T##_##N##_##FORM, ProductOfTiles, 128, 1, multiply<T, N, FORM>(args))
