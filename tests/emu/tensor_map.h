// CUtensorMap under the emulator: what cuTensorMapEncodeTiled is given, checked as the driver checks it, in the 128
// bytes that kernels get. Two dimensions, 16-bit elements, 128-byte swizzle or none: what the kernels use.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>

namespace emu {

struct TensorMapFields {
    uint64_t mark;
    const unsigned char* base;
    uint64_t dims[2];  // elements of a row, rows
    uint64_t pitch;    // bytes from row to row
    uint32_t box[2];
    uint32_t element_bytes, swizzle;  // 0 or 128 bytes
};
static_assert(sizeof(TensorMapFields) <= 128, "fits a CUtensorMap");
constexpr uint64_t TENSOR_MAP_MARK = 0x74656e736f726d70ull;

// CU_TENSOR_MAP_DATA_TYPE_FLOAT16, _BFLOAT16; CU_TENSOR_MAP_SWIZZLE_NONE, _128B.
enum { MAP_FLOAT16 = 6, MAP_BFLOAT16 = 9, MAP_SWIZZLE_NONE = 0, MAP_SWIZZLE_128B = 3 };

// Empty, or what is wrong with the arguments.
inline std::string encode_tensor_map(void* out, int type, uint32_t rank, const void* base, const uint64_t* dims,
                                     const uint64_t* pitches, const uint32_t* box, const uint32_t* steps,
                                     int interleave, int swizzle, int promotion, int fill) {
    auto number = [](auto x) { return std::to_string(x); };
    if (reinterpret_cast<uintptr_t>(out) % 64) return "the map is not aligned to 64 bytes";
    if (type != MAP_FLOAT16 && type != MAP_BFLOAT16) return "data type " + number(type) + " is not known here";
    if (rank != 2) return "rank " + number(rank) + " is not known here";
    if (!base || reinterpret_cast<uintptr_t>(base) % 16) return "the matrix is not aligned to 16 bytes";
    for (int i = 0; i < 2; i++) {
        if (dims[i] == 0 || dims[i] > 1ull << 32) return "dimension " + number(i) + " is " + number(dims[i]);
        if (box[i] == 0 || box[i] > 256) return "box dimension " + number(i) + " is " + number(box[i]);
        if (steps[i] != 1) return "element stride " + number(steps[i]);
    }
    if (pitches[0] % 16 || pitches[0] >= 1ull << 40) return "a pitch of " + number(pitches[0]) + " bytes";
    if (pitches[0] < dims[0] * 2) return "rows of " + number(dims[0]) + " elements overlap";
    if (box[0] * 2 % 16) return "a box row of " + number(box[0] * 2) + " bytes is no multiple of 16";
    if (swizzle != MAP_SWIZZLE_NONE && swizzle != MAP_SWIZZLE_128B) return "swizzle " + number(swizzle);
    if (swizzle == MAP_SWIZZLE_128B && box[0] * 2 > 128)
        return "a box row of " + number(box[0] * 2) + " bytes is longer than the swizzle's 128";
    if (interleave != 0 || promotion < 0 || promotion > 3 || fill != 0) return "interleave, promotion or fill";
    TensorMapFields fields = {TENSOR_MAP_MARK, static_cast<const unsigned char*>(base), {dims[0], dims[1]},
                              pitches[0],      {box[0], box[1]},                        2,
                              swizzle == MAP_SWIZZLE_128B ? 128u : 0u};
    memset(out, 0, 128);
    memcpy(out, &fields, sizeof fields);
    return "";
}

}  // namespace emu
