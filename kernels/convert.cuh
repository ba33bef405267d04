// Elements of any dtype, read into float and rounded out of it, eight at a time: as one or two vectors of 16
// bytes where the address allows it, else one by one. The caller's matrices, parts and operands all pass
// through here. Several threads share a row, each with every so many eights of it.
//
// A row of `dim` elements is shared by row_threads(dim) threads of a block of ROW_BLOCK, so that a block
// has ROW_BLOCK / row_threads(dim) rows. The host launches blocks by the same two numbers.
#pragma once
#include "arguments.cuh"

constexpr int ROW_BLOCK = 256;

// The power of two that gives each thread one eight, ROW_BLOCK at most.
DEV int row_threads(int dim) {
    int eights = (dim + 7) / 8;
    if (eights >= ROW_BLOCK) return ROW_BLOCK;
    return eights <= 1 ? 1 : 1 << (32 - __clz(eights - 1));
}

// A thread's share of the rows of block number `block`: elements first .. first + 8 of `row`, then `step` further on.
struct RowShare {
    i64 row;
    int first, step;
};

DEV RowShare row_share(int dim, i64 block) {
    int threads = row_threads(dim);
    int local = (int)threadIdx.x / threads;
    return {block * (ROW_BLOCK / threads) + local, ((int)threadIdx.x & (threads - 1)) * 8, threads * 8};
}

struct Eight {
    float x[8];
};

DEV Eight zeros() { return Eight{{0, 0, 0, 0, 0, 0, 0, 0}}; }

DEV void add_scaled(Eight& sum, float factor, const Eight& value) {
#pragma unroll
    for (int i = 0; i < 8; i++) sum.x[i] = fmaf(factor, value.x[i], sum.x[i]);
}

DEV bool takes_vectors(const void* address) { return (reinterpret_cast<u64>(address) & 15) == 0; }

DEV Eight load_vectors(const float* from) {
    float4 a = load_vector<float4>(from), b = load_vector<float4>(from + 4);
    return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}
template <class T> DEV Eight load_vectors(const T* from) {
    uint4 bits = load_vector<uint4>(from);
    float2 a = unpack<T>(bits.x), b = unpack<T>(bits.y), c = unpack<T>(bits.z), d = unpack<T>(bits.w);
    return {{a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y}};
}

DEV void store_vectors(float* to, const Eight& v) {
    store_vector(to, float4{v.x[0], v.x[1], v.x[2], v.x[3]});
    store_vector(to + 4, float4{v.x[4], v.x[5], v.x[6], v.x[7]});
}
template <class T> DEV void store_vectors(T* to, const Eight& v) {
    store_vector(to, uint4{pack<T>(v.x[0], v.x[1]), pack<T>(v.x[2], v.x[3]), pack<T>(v.x[4], v.x[5]),
                           pack<T>(v.x[6], v.x[7])});
}

// Elements first .. first + 8 of a row of `dim`; 0 behind its end, which is not read.
template <class T> DEV Eight load_eight(const T* row, int first, int dim) {
    if (first + 8 <= dim && takes_vectors(row + first)) return load_vectors(row + first);
    Eight v;
#pragma unroll
    for (int i = 0; i < 8; i++) v.x[i] = first + i < dim ? to_float(row[first + i]) : 0.f;
    return v;
}

template <class T> DEV void store_eight(T* row, int first, int dim, const Eight& v) {
    if (first + 8 <= dim && takes_vectors(row + first)) return store_vectors(row + first, v);
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (first + i < dim) row[first + i] = from_float<T>(v.x[i]);
}

template <class T> DEV const T* elements(const Tensor& from, i64 offset) {
    return static_cast<const T*>(from.data) + offset;
}

DEV Eight read_eight(const Tensor& from, i64 row, int first, int dim) {
    i64 offset = row * from.stride;
    if (from.dtype == F32) return load_eight(elements<float>(from, offset), first, dim);
    if (from.dtype == F16) return load_eight(elements<f16>(from, offset), first, dim);
    return load_eight(elements<bf16>(from, offset), first, dim);
}

DEV float read_one(const Tensor& from, i64 index) {
    i64 offset = index * from.stride;
    if (from.dtype == F32) return *elements<float>(from, offset);
    if (from.dtype == F16) return to_float(*elements<f16>(from, offset));
    return to_float(*elements<bf16>(from, offset));
}

// Writes, or adds and rounds once.
template <class T> DEV void write_eight(T* row, int first, int dim, Eight v, bool add) {
    if (add) add_scaled(v, 1.f, load_eight(row, first, dim));
    store_eight(row, first, dim, v);
}
DEV void write_eight(void* data, int dtype, i64 offset, int first, int dim, const Eight& v, bool add) {
    if (dtype == F32) write_eight(static_cast<float*>(data) + offset, first, dim, v, add);
    else if (dtype == F16) write_eight(static_cast<f16*>(data) + offset, first, dim, v, add);
    else write_eight(static_cast<bf16*>(data) + offset, first, dim, v, add);
}

template <class T> DEV void write_one(T* to, float value, bool add) {
    *to = from_float<T>(add ? to_float(*to) + value : value);
}
DEV void write_one(void* data, int dtype, i64 index, float value, bool add) {
    if (dtype == F32) write_one(static_cast<float*>(data) + index, value, add);
    else if (dtype == F16) write_one(static_cast<f16*>(data) + index, value, add);
    else write_one(static_cast<bf16*>(data) + index, value, add);
}

DEV bool is_finite(float x) { return fabsf(x) < infinity(); }

// x = high + low in bfloat16. An x too large to be rounded is cut off instead; infinity and NaN have no
// low part, where their difference would be NaN.
DEV void split(float x, float& high, float& low) {
    high = to_float(from_float<bf16>(x));
    if (is_finite(x) && !is_finite(high)) high = bits_float(float_bits(x) & 0xffff0000u);
    low = is_finite(x) ? x - high : 0.f;
}

// Elements of an operand's row, in the arithmetic's own type; `dim` is the padded one.
DEV void store_operand(void* const out[2], int planes, int dtype, i64 offset, int first, int dim,
                       const Eight& v) {
    if (planes == 0) return store_eight(static_cast<float*>(out[0]) + offset, first, dim, v);
    if (planes == 1 && dtype == F16) return store_eight(static_cast<f16*>(out[0]) + offset, first, dim, v);
    if (planes == 1) return store_eight(static_cast<bf16*>(out[0]) + offset, first, dim, v);
    Eight high, low;
#pragma unroll
    for (int i = 0; i < 8; i++) split(v.x[i], high.x[i], low.x[i]);
    store_eight(static_cast<bf16*>(out[0]) + offset, first, dim, high);
    store_eight(static_cast<bf16*>(out[1]) + offset, first, dim, low);
}
