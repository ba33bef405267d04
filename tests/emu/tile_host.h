// The host half of kernels/tile.cuh: the same names, on the emulator.
#pragma once
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "registry.h"

#define DEV inline
#define ENTRY(symbol, Arguments, threads, blocks, ...)                 \
    static void symbol##_entry(const Arguments& args) { __VA_ARGS__; } \
    static const emu::Registration symbol##_registration(              \
        {#symbol, sizeof(Arguments), threads,                          \
         [](const void* arguments) { symbol##_entry(*static_cast<const Arguments*>(arguments)); }});
#define DYN_SMEM(T, name) T* name = static_cast<T*>(emu::block->shared.dynamic())
#define SHARED_ARRAY(T, name, count)                                 \
    static const char name##_tag = 0;                                \
    auto& name = *static_cast<std::remove_reference_t<T>(*)[count]>( \
        emu::block->shared.array(&name##_tag, sizeof(T) * (count)))

#define threadIdx (emu::current->index)
#define blockIdx (emu::block->index)
#define blockDim (emu::block->size)
#define gridDim (emu::block->grid)
#define __syncthreads() emu::block_barrier(__LINE__)
#define __syncwarp() emu::warp_barrier()

DEV u32 float_bits(float x) { return emu::bits_of(x); }
DEV float bits_float(u32 x) { return emu::float_of(x); }
DEV u64 double_bits(double x) {
    u64 r;
    memcpy(&r, &x, 8);
    return r;
}
DEV double bits_double(u64 x) {
    double r;
    memcpy(&r, &x, 8);
    return r;
}

// Subnormal arguments and results count as 0, as on the device.
DEV float ex2(float x) { return x < -126.f ? 0.f : exp2f(x); }
DEV float lg2(float x) { return log2f(fabsf(x) < std::numeric_limits<float>::min() ? 0.f : x); }

DEV float to_float(f16 x) { return emu::of_f16(x.bits); }
DEV u16 f16_bits(float x) { return emu::f16_of(x); }
DEV u16 bf16_bits(float x) { return emu::bf16_of(x); }
DEV u32 pack_bf16(float low, float high) { return bf16_bits(low) | (u32)bf16_bits(high) << 16; }
DEV u32 to_tf32(float x) { return emu::tf32_of(x); }

template <class T> T shuffle_xor(T value, int mask) {
    return emu::exchange<T, emu::lane_xor>("shuffle_xor", value, mask);
}
template <class T> T shuffle(T value, int lane) {
    return emu::exchange<T, emu::lane_at>("shuffle", value, lane);
}
template <class T> T shuffle_up(T value, int by) {
    return emu::exchange<T, emu::lane_above>("shuffle_up", value, by);
}
template <class T> T shuffle_down(T value, int by) {
    return emu::exchange<T, emu::lane_below>("shuffle_down", value, by);
}
DEV u32 warp_ballot(bool x) { return emu::vote("ballot", x); }
DEV int opaque(int x) { return x; }
DEV u32 shared_address(const void* p) { return emu::block->shared.address(p); }
DEV bool warp_any(bool x) { return emu::vote("any", x) != 0; }
DEV bool warp_all(bool x) { return emu::vote("all", x) == 0xffffffffu; }
#define block_any(x) emu::block_vote(x, __LINE__)

DEV void ldmatrix(u32 (&r)[4], const void* row) { emu::load_matrices<false>(r, row); }
DEV void ldmatrix_transposed(u32 (&r)[4], const void* row) { emu::load_matrices<true>(r, row); }

DEV void mma_bf16(float (&acc)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    emu::product("mma_bf16", acc, a, b0, b1, emu::run_product<16, emu::spread_16<emu::of_bf16>>);
}
DEV void mma_f16(float (&acc)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    emu::product("mma_f16", acc, a, b0, b1, emu::run_product<16, emu::spread_16<emu::of_f16>>);
}
DEV void mma_tf32(float (&acc)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    emu::product("mma_tf32", acc, a, b0, b1, emu::run_product<8, emu::spread_tf32>);
}

DEV void copy16(void* to, const void* from, bool wanted) { emu::copy16(to, from, wanted); }
DEV void copy_commit() { emu::copy_commit(); }
template <int K> void copy_wait() { emu::copy_wait(K); }

template <class V> V load_vector(const void* from) {
    if (reinterpret_cast<uintptr_t>(from) % sizeof(V))
        emu::fail(emu::text("load_vector: %p is no multiple of %zu", from, sizeof(V)));
    return *static_cast<const V*>(from);
}
template <class V> void store_vector(void* to, V value) {
    if (reinterpret_cast<uintptr_t>(to) % sizeof(V))
        emu::fail(emu::text("store_vector: %p is no multiple of %zu", to, sizeof(V)));
    *static_cast<V*>(to) = value;
}

DEV u32 atomic_max(u32* at, u32 value) {
    u32 old = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (old < value &&
           !__atomic_compare_exchange_n(at, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return old;
}
DEV u32 atomic_add(u32* at, u32 value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }
DEV i64 atomic_add(i64* at, i64 value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }
DEV void device_fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// Builtins of the CUDA compilers.
#define EMU_LEAST_AND_MOST(T)                     \
    DEV T min(T a, T b) { return b < a ? b : a; } \
    DEV T max(T a, T b) { return a < b ? b : a; }
EMU_LEAST_AND_MOST(int)
EMU_LEAST_AND_MOST(u32)
EMU_LEAST_AND_MOST(i64)
EMU_LEAST_AND_MOST(u64)
#undef EMU_LEAST_AND_MOST
DEV double mul_rn(double a, double b) { return a * b; }
DEV double add_rn(double a, double b) { return a + b; }
DEV u64 mul_high(u64 a, u64 b) { return (u64)((unsigned __int128)a * b >> 64); }
DEV int __popc(u32 x) { return __builtin_popcount(x); }
DEV int __clz(u32 x) { return x ? __builtin_clz(x) : 32; }
DEV int __clzll(u64 x) { return x ? __builtin_clzll(x) : 64; }
DEV int __ffs(u32 x) { return __builtin_ffs((int)x); }
