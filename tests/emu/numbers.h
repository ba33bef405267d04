// 16-bit floats and tf32 on the host, by their bits, rounding to nearest even (tf32: ties away), as the
// device's cvt does.
#pragma once
#include <cstdint>
#include <cstring>

namespace emu {

inline uint32_t bits_of(float x) {
    uint32_t r;
    memcpy(&r, &x, 4);
    return r;
}
inline float float_of(uint32_t x) {
    float r;
    memcpy(&r, &x, 4);
    return r;
}

inline uint16_t bf16_of(float x) {
    uint32_t bits = bits_of(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
inline float of_bf16(uint16_t x) { return float_of((uint32_t)x << 16); }

inline uint16_t f16_of(float x) {
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fff;
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);  // 65520 and above
    if (magnitude < 0x38800000u)  // subnormal: adding 1/2 puts the wanted bits last, rounded by the addition
        return (uint16_t)(sign | (bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f)));
    return (uint16_t)(sign | (((magnitude + 0xfffu + ((magnitude >> 13) & 1)) >> 13) - (112u << 10)));
}
inline float of_f16(uint16_t x) {
    // 2^112 moves the exponent from 16-bit bias to 32-bit bias, subnormals included.
    float magnitude = float_of((uint32_t)(x & 0x7fffu) << 13) * float_of(239u << 23);
    uint32_t bits = bits_of(magnitude) | ((x & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u);
    return float_of(bits | (uint32_t)(x & 0x8000u) << 16);
}

inline uint32_t tf32_of(float x) {
    uint32_t bits = bits_of(x);
    if ((bits & 0x7f800000u) == 0x7f800000u) return bits;
    return (bits + 0x1000u) & ~0x1fffu;
}
// The unit ignores the low 13 bits.
inline float of_tf32(uint32_t x) { return float_of(x & ~0x1fffu); }

}  // namespace emu
