// The host half of kernels/hopper.cuh: the same names, on the emulator.
#pragma once
#include "hopper.h"

#define EMU_HOPPER(...) emu::with_hopper([&](emu::Hopper& hopper) { hopper.__VA_ARGS__; })

#define DYN_SMEM_1024(T, name) T* name = static_cast<T*>(emu::block->shared.dynamic(1024))

DEV void barrier_init(Barrier* barrier, int arrivals) { EMU_HOPPER(barriers.init(barrier, arrivals)); }
DEV void barrier_invalidate(Barrier* barrier) { EMU_HOPPER(barriers.invalidate(barrier)); }
DEV void fence_barrier_init() { EMU_HOPPER(barriers.fence_init()); }
DEV void barrier_arrive(Barrier* barrier) { EMU_HOPPER(barriers.arrive(barrier, 0, "barrier_arrive")); }
DEV void barrier_arrive_expect(Barrier* barrier, int bytes) {
    EMU_HOPPER(barriers.arrive(barrier, bytes, "barrier_arrive_expect"));
}
DEV void barrier_wait(Barrier* barrier, int parity) { EMU_HOPPER(barriers.wait(barrier, parity)); }
DEV void fence_async() { EMU_HOPPER(products.fence_async()); }
DEV void copy_tile(void* to, const TensorMap* map, Barrier* barrier, int x, int y) {
    EMU_HOPPER(copies.issue(to, map, barrier, x, y));
}
// Which lane it is a kernel must not know.
DEV bool elected() {
    emu::vote("elected", true);
    return emu::current->lane == (int)(emu::block->mode.seed * 7 % 32);
}
template <int COUNT> DEV void give_registers() { emu::set_registers("give_registers", COUNT, false); }
template <int COUNT> DEV void take_registers() { emu::set_registers("take_registers", COUNT, true); }
DEV void named_sync(int id, int threads) { EMU_HOPPER(barriers.named(id, threads, true)); }
DEV void named_arrive(int id, int threads) { EMU_HOPPER(barriers.named(id, threads, false)); }

DEV void wgmma_fence() { EMU_HOPPER(products.fence()); }
DEV void wgmma_commit() { EMU_HOPPER(products.commit()); }
template <int K> DEV void wgmma_wait() { EMU_HOPPER(products.wait(K)); }
template <class T, int COUNT> DEV void pin(T (&)[COUNT][4]) {}

template <class T> float decode_element(u16 bits);
template <> inline float decode_element<bf16>(u16 bits) { return emu::of_bf16(bits); }
template <> inline float decode_element<f16>(u16 bits) { return emu::of_f16(bits); }

template <class T, int N> struct Wgmma {
    template <Major B> static void shared(float (&d)[N / 8][4], u64 a, u64 b, int add) {
        emu::run_wgmma("wgmma", &d[0][0], nullptr, a, b, add, N, B == MAJOR_ACROSS, decode_element<T>);
    }
    template <Major B> static void registers(float (&d)[N / 8][4], const u32 (&a)[4], u64 b, int add) {
        emu::run_wgmma("wgmma with registers", &d[0][0], a, 0, b, add, N, B == MAJOR_ACROSS, decode_element<T>);
    }
};
#undef EMU_HOPPER
