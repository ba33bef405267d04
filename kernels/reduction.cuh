// Sums and scans over the threads of a warp and of a block, in an order that never changes.
#pragma once
#include "tile.cuh"

// Each lane gets the sum.
template <class T> DEV T warp_sum(T value) {
#pragma unroll
    for (int mask = 16; mask; mask >>= 1) value += shuffle_xor(value, mask);
    return value;
}

template <class T> DEV T warp_max(T value) {
#pragma unroll
    for (int mask = 16; mask; mask >>= 1) {
        T other = shuffle_xor(value, mask);
        value = other > value ? other : value;
    }
    return value;
}

// One thread each of a block of whole warps; `room` is one value a warp, free again after the call. Below no value
// there is `least`.
template <class T, class Combine> DEV T block_combine(T value, T least, T* room, Combine combine) {
    value = combine(value);
    if (lane_id() == 0) room[warp_id()] = value;
    __syncthreads();
    value = combine(lane_id() < (int)blockDim.x / 32 ? room[lane_id()] : least);
    __syncthreads();
    return value;
}
template <class T> DEV T block_sum(T value, T* room) {
    return block_combine(value, T(0), room, [](T x) { return warp_sum(x); });
}
// Of values that are not negative.
template <class T> DEV T block_max(T value, T* room) {
    return block_combine(value, T(0), room, [](T x) { return warp_max(x); });
}

// The sum of the lanes before this one.
template <class T> DEV T warp_sum_before(T value) {
    T sum = value;
#pragma unroll
    for (int by = 1; by < 32; by <<= 1) {
        T other = shuffle_up(sum, by);
        if (lane_id() >= by) sum += other;
    }
    return sum - value;
}

// The sum of the threads before this one of a block of whole warps, and that of all.
template <class T> DEV T block_sum_before(T value, T* room, T& total) {
    T before = warp_sum_before(value);
    if (lane_id() == 31) room[warp_id()] = before + value;
    __syncthreads();
    T warps = lane_id() < (int)blockDim.x / 32 ? room[lane_id()] : T(0);
    T warps_before = warp_sum_before(warps);
    total = shuffle(warps_before + warps, 31);
    before += shuffle(warps_before, warp_id());
    __syncthreads();
    return before;
}

// Whether all other blocks of the grid came here before this one, each block once; then it sees what they wrote.
DEV bool is_last_block(u32* counter) {
    device_fence();
    __syncthreads();
    bool last = block_any(threadIdx.x == 0 && atomic_add(counter, 1) == gridDim.x * gridDim.y - 1);
    device_fence();
    return last;
}
