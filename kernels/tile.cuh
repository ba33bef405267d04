// The machine, as the kernels see it: everything they may ask of it stands here, once as PTX and
// CUDA builtins, and once, in tests/emu/tile_host.h, for a host compiler with the emulator.
// hopper.cuh adds what compute capability 9.0 alone has.
// Beside this file kernels use only threadIdx, blockIdx, blockDim, gridDim, __syncthreads,
// __syncwarp and the mathematical functions both compilers know (exp, log, log1p, expm1, fma,
// fmaf, fmaxf, fminf, fabs, floor, ldexp, min, max, __popc, __clz, __clzll, __ffs, ...). No toolkit header.
//
// Every warp function here is for whole warps: all 32 lanes must reach it. Likewise no thread may
// have returned when another comes to __syncthreads; the emulator refuses both.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// 16-bit numbers by their bits; conversions below.
struct bf16 {
    u16 bits;
};
struct f16 {
    u16 bits;
};

#ifdef __CUDACC__

#define DEV __device__ __forceinline__
// A kernel: its symbol, its one argument struct (called `args` inside), the threads of its block,
// the blocks an SM should hold, and the call that is its body.
#define ENTRY(symbol, Arguments, threads, blocks, ...)                                                    \
    extern "C" __global__ void __launch_bounds__(threads, blocks)                                         \
        symbol(const __grid_constant__ Arguments args) {                                                  \
        __VA_ARGS__;                                                                                      \
    }
// The launch's dynamic shared memory; and a shared array of fixed size, for small kernels.
#define DYN_SMEM(T, name)                                                                                 \
    extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];                               \
    T* name = reinterpret_cast<T*>(dynamic_shared_memory)
#define SHARED_ARRAY(T, name, count) __shared__ T name[count]

DEV u32 float_bits(float x) { return __float_as_uint(x); }
DEV float bits_float(u32 x) { return __uint_as_float(x); }
DEV u64 double_bits(double x) { return (u64)__double_as_longlong(x); }
DEV double bits_double(u64 x) { return __longlong_as_double((i64)x); }

// 2^x and log2(x) by the special function unit: relative error about 2^-22, subnormals are 0.
DEV float ex2(float x) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}
DEV float lg2(float x) {
    float r;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

DEV float to_float(f16 x) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x.bits));
    return r;
}
DEV u16 f16_bits(float x) {
    u16 r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
    return r;
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
DEV u16 bf16_bits(float x) {
    u32 bits = float_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (u16)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
DEV u32 pack_bf16(float low, float high) { return bf16_bits(low) | (u32)bf16_bits(high) << 16; }
#else
DEV u32 pack_bf16(float low, float high) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEV u16 bf16_bits(float x) { return (u16)pack_bf16(x, 0.f); }
#endif
// The nearest number of 11 significant bits, as mma_tf32 takes it.
DEV u32 to_tf32(float x) {
    u32 r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
    return r;
}

// T: int, u32, float, i64, u64, double.
template <class T> DEV T shuffle_xor(T value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
template <class T> DEV T shuffle(T value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
// A lane that would read from outside the warp keeps its own value.
template <class T> DEV T shuffle_up(T value, int by) { return __shfl_up_sync(0xffffffffu, value, by); }
template <class T> DEV T shuffle_down(T value, int by) { return __shfl_down_sync(0xffffffffu, value, by); }
DEV u32 warp_ballot(bool x) { return __ballot_sync(0xffffffffu, x); }
DEV bool warp_any(bool x) { return __any_sync(0xffffffffu, x); }
DEV bool warp_all(bool x) { return __all_sync(0xffffffffu, x); }
// Whether it holds for any thread of the block; a barrier too.
DEV bool block_any(bool x) { return __syncthreads_or(x); }

// Rounded by themselves, never as one: for what must be the same bits on the host.
DEV double mul_rn(double a, double b) { return __dmul_rn(a, b); }
DEV double add_rn(double a, double b) { return __dadd_rn(a, b); }
DEV u64 mul_high(u64 a, u64 b) { return __umul64hi(a, b); }

// x, of which the compiler then knows nothing: what is added to it stays apart, as an instruction's own offset,
// where otherwise every sum would be worked out and kept by itself.
DEV int opaque(int x) {
    asm("" : "+r"(x));
    return x;
}

DEV u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 and
// gets of each matrix the elements [l / 4][l % 4 * 2 + {0, 1}] ([l % 4 * 2 + {0, 1}][l / 4] if transposed).
DEV void ldmatrix(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
DEV void ldmatrix_transposed(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// acc[16x8] += a[16xK] b[8xK]^T. With g = lane / 4, t = lane % 4: acc holds (g, 2t), (g, 2t + 1), (g + 8, 2t),
// (g + 8, 2t + 1). 16-bit, K = 16: a holds pairs at k = 2t of rows g, g + 8, then at k = 2t + 8; b pairs at
// k = 2t, 2t + 8 of column g. tf32, K = 8: a holds (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); b (t, g), (t + 4, g).
#define MMA(name, shape_and_types)                                                                        \
    DEV void name(float (&acc)[4], const u32 (&a)[4], u32 b0, u32 b1) {                                   \
        asm volatile("mma.sync.aligned." shape_and_types                                                  \
                     " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                   \
                     : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])                             \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                     \
    }
MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA(mma_f16, "m16n8k16.row.col.f32.f16.f16.f32")
MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef MMA

// 16 bytes from global to shared memory, zeros where not `wanted` (then `from` is not read, but must be an
// address). The thread itself sees them after copy_wait, others after a barrier behind that.
// copy_wait<K>: all but the last K committed groups of this thread have landed.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
DEV void copy16(void* to, const void* from, bool wanted) {
    *static_cast<uint4*>(to) = wanted ? *static_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
}
DEV void copy_commit() {}
template <int K> DEV void copy_wait() {}
#else
DEV void copy16(void* to, const void* from, bool wanted) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(wanted ? 16 : 0)
                 : "memory");
}
DEV void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int K> DEV void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(K) : "memory"); }
#endif

// V: float2, float4, uint2, uint4. The address must be a multiple of the vector's size.
template <class V> DEV V load_vector(const void* from) { return *static_cast<const V*>(from); }
template <class V> DEV void store_vector(void* to, V value) { *static_cast<V*>(to) = value; }

// All on integers only: sums in float would depend on the order. Each gives the value before.
DEV u32 atomic_max(u32* at, u32 value) { return atomicMax(at, value); }
DEV u32 atomic_add(u32* at, u32 value) { return atomicAdd(at, value); }
DEV i64 atomic_add(i64* at, i64 value) { return (i64)atomicAdd((u64*)at, (u64)value); }
// What this thread wrote before is seen by every thread that, behind a fence of its own, has seen what this one wrote
// behind it.
DEV void device_fence() { __threadfence(); }

#else
#include "tile_host.h"
#endif

// ---- the same on both sides ----------------------------------------------------------------------

DEV float infinity() { return bits_float(0x7f800000u); }
DEV float not_a_number() { return bits_float(0x7fffffffu); }
DEV double infinity_double() { return bits_double(0x7ff0000000000000ull); }
DEV double not_a_number_double() { return bits_double(0x7fffffffffffffffull); }
DEV bool is_nan(float x) { return x != x; }
DEV bool is_nan(double x) { return x != x; }
DEV bool is_infinite(float x) { return fabsf(x) == infinity(); }

DEV float to_float(float x) { return x; }
DEV float to_float(bf16 x) { return bits_float((u32)x.bits << 16); }

// To the nearest, ties to even.
template <class T> DEV T from_float(float x);
template <> DEV float from_float<float>(float x) { return x; }
template <> DEV bf16 from_float<bf16>(float x) { return bf16{bf16_bits(x)}; }
template <> DEV f16 from_float<f16>(float x) { return f16{f16_bits(x)}; }

// Two numbers in a register, the first in the low half, as ldmatrix and mma hold them.
DEV u32 pack_f16(float low, float high) { return f16_bits(low) | (u32)f16_bits(high) << 16; }
template <class T> DEV u32 pack(float low, float high);
template <> DEV u32 pack<bf16>(float low, float high) { return pack_bf16(low, high); }
template <> DEV u32 pack<f16>(float low, float high) { return pack_f16(low, high); }
template <class T> DEV float2 unpack(u32 pair) {
    return float2{to_float(T{(u16)pair}), to_float(T{(u16)(pair >> 16)})};
}

DEV int lane_id() { return threadIdx.x & 31; }
DEV int warp_id() { return threadIdx.x >> 5; }
