// The host half of kernels/hopper.cuh: the same names, on the emulator.
#pragma once
#include "hopper.h"

#define DYN_SMEM_1024(T, name) T* name = static_cast<T*>(emu::block->shared.dynamic(1024))

DEV void barrier_init(Barrier* barrier, int arrivals) { emu::hopper().barriers.init(barrier, arrivals); }
DEV void barrier_invalidate(Barrier* barrier) { emu::hopper().barriers.invalidate(barrier); }
DEV void fence_barrier_init() { emu::hopper().barriers.fence_init(); }
DEV void barrier_arrive(Barrier* barrier) { emu::hopper().barriers.arrive(barrier, 0, "barrier_arrive"); }
DEV void barrier_arrive_expect(Barrier* barrier, int bytes) {
    emu::hopper().barriers.arrive(barrier, bytes, "barrier_arrive_expect");
}
DEV void barrier_wait(Barrier* barrier, int parity) { emu::hopper().barriers.wait(barrier, parity); }
DEV void fence_async() { emu::hopper().products.fence_async(); }
DEV void copy_tile(void* to, const TensorMap* map, Barrier* barrier, int x, int y) {
    emu::hopper().copies.issue(to, map, barrier, x, y);
}
// Which lane it is a kernel must not know.
DEV bool elected() {
    emu::vote("elected", true);
    return emu::current->lane == (int)(emu::block->mode.seed * 7 % 32);
}
template <int COUNT> DEV void give_registers() { emu::set_registers("give_registers", COUNT, false); }
template <int COUNT> DEV void take_registers() { emu::set_registers("take_registers", COUNT, true); }
DEV void named_sync(int id, int threads) { emu::hopper().barriers.named(id, threads, true); }
DEV void named_arrive(int id, int threads) { emu::hopper().barriers.named(id, threads, false); }

DEV void wgmma_fence() { emu::hopper().products.fence(); }
DEV void wgmma_commit() { emu::hopper().products.commit(); }
template <int K> DEV void wgmma_wait() { emu::hopper().products.wait(K); }
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
