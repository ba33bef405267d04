// Tensor maps for tests, as src/backend/cuda/tensor_map.rs makes them.
#pragma once
#include "check.h"
#include "hopper.cuh"
#include "tensor_map.h"

// Boxes of `box_rows` rows of 64 elements of a matrix of 16-bit numbers.
inline TensorMap tensor_map(const void* base, uint64_t rows, uint64_t cols, uint64_t stride, uint32_t box_rows) {
    TensorMap map;
    uint64_t dims[2] = {cols, rows}, pitch = stride * 2;
    uint32_t box[2] = {64, box_rows}, steps[2] = {1, 1};
    std::string wrong = emu::encode_tensor_map(&map, emu::MAP_BFLOAT16, 2, base, dims, &pitch, box, steps, 0,
                                               emu::MAP_SWIZZLE_128B, 2, 0);
    if (!wrong.empty()) throw emu::Error("tensor map: " + wrong);
    return map;
}
