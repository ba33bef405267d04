// What a caller passes, for tests of the small kernels: matrices of any dtype and stride whose last byte
// lies at a page that cannot be touched, with NaN between the rows, and random numbers that are the same
// everywhere.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"
#include "../../kernels/arguments.cuh"

class Random {
public:
    explicit Random(u64 seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}
    u64 bits() {
        state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
        u64 x = state_ ^ state_ >> 33;
        return x * 0xff51afd7ed558ccdull >> 8;
    }
    i64 below(i64 count) { return (i64)(bits() % (u64)count); }
    // In [-1, 1).
    double uniform() { return (double)bits() * 0x1p-55 - 1; }

private:
    u64 state_;
};

inline int element_bytes(int dtype) { return dtype == F32 ? 4 : 2; }
inline double decode(const void* at, int dtype) {
    u16 bits;
    memcpy(&bits, at, 2);
    if (dtype == F32) return *static_cast<const float*>(at);
    return dtype == F16 ? emu::of_f16(bits) : emu::of_bf16(bits);
}
inline void encode(void* at, int dtype, double value) {
    float narrow = (float)value;
    if (dtype == F32) {
        memcpy(at, &narrow, 4);
        return;
    }
    u16 bits = dtype == F16 ? emu::f16_of(narrow) : emu::bf16_of(narrow);
    memcpy(at, &bits, 2);
}
// What `value` is once stored.
inline double rounded(double value, int dtype) {
    alignas(4) unsigned char bytes[4];
    encode(bytes, dtype, value);
    return decode(bytes, dtype);
}

// Elements that end where the allocation does, at no better alignment than their own size brings.
class Buffer {
public:
    Buffer(i64 bytes) : all_((size_t)(bytes + 255) / 256 * 256), at_(all_.data() + all_.size() - bytes) {}
    unsigned char* at() const { return at_; }

private:
    emu::Array<unsigned char> all_;
    unsigned char* at_;
};

// An array as emu::Array, but for its end, which is the page's to the byte.
template <class T> class Exact {
public:
    explicit Exact(size_t count) : count_(count), bytes_((i64)(count * sizeof(T))) {}
    template <class Container> static Exact of(const Container& values) {
        Exact a(values.size());
        std::copy(values.begin(), values.end(), a.begin());
        return a;
    }
    T* data() const { return reinterpret_cast<T*>(bytes_.at()); }
    size_t size() const { return count_; }
    T& operator[](size_t i) const { return data()[i]; }
    T* begin() const { return data(); }
    T* end() const { return data() + count_; }

private:
    size_t count_;
    Buffer bytes_;
};

// [rows, cols], all NaN at first; `spare` elements between the rows.
class Matrix {
public:
    Matrix(i64 rows, i64 cols, int dtype, i64 spare = 0)
        : rows(rows), cols(cols), stride(cols + spare), dtype(dtype),
          bytes_(rows ? ((rows - 1) * stride + cols) * element_bytes(dtype) : 0) {}
    static Matrix random(i64 rows, i64 cols, int dtype, Random& random, i64 spare = 0) {
        Matrix m(rows, cols, dtype, spare);
        for (i64 r = 0; r < rows; r++)
            for (i64 c = 0; c < cols; c++) m.set(r, c, random.uniform());
        return m;
    }
    double get(i64 row, i64 col) const { return decode(place(row, col), dtype); }
    void set(i64 row, i64 col, double value) { encode(place(row, col), dtype, value); }
    void fill(i64 row, double value) {
        for (i64 c = 0; c < cols; c++) set(row, c, value);
    }
    bool untouched(i64 row, i64 col) const {
        for (int i = 0; i < element_bytes(dtype); i++)
            if (place(row, col)[i] != emu::GuardedMemory::POISON) return false;
        return true;
    }
    void* data() const { return bytes_.at(); }
    Tensor tensor() const { return {data(), stride, dtype, 0}; }

    i64 rows, cols, stride;
    int dtype;

private:
    unsigned char* place(i64 row, i64 col) const {
        return bytes_.at() + (row * stride + col) * element_bytes(dtype);
    }
    Buffer bytes_;
};

// Labels or ids of either width.
class Labels {
public:
    Labels(const std::vector<i64>& values, int dtype)
        : dtype(dtype), buffer_((i64)values.size() * (dtype == LABELS_I32 ? 4 : 8)) {
        for (size_t i = 0; i < values.size(); i++) {
            if (dtype == LABELS_I32) reinterpret_cast<int*>(buffer_.at())[i] = (int)values[i];
            else reinterpret_cast<i64*>(buffer_.at())[i] = values[i];
        }
    }
    const void* data() const { return buffer_.at(); }
    int dtype;

private:
    Buffer buffer_;
};

// Expected counts of either width.
class Counts {
public:
    Counts(const std::vector<double>& values, int is_double)
        : is_double(is_double), buffer_((i64)values.size() * (is_double ? 8 : 4)) {
        for (size_t i = 0; i < values.size(); i++) {
            if (is_double) reinterpret_cast<double*>(buffer_.at())[i] = values[i];
            else reinterpret_cast<float*>(buffer_.at())[i] = (float)values[i];
        }
    }
    double get(i64 i) const {
        return is_double ? reinterpret_cast<double*>(buffer_.at())[i]
                         : reinterpret_cast<float*>(buffer_.at())[i];
    }
    const void* data() const { return buffer_.at(); }
    int is_double;

private:
    Buffer buffer_;
};

inline Control clean_control() {
    Control control = {};
    control.normaliser = 1;
    return control;
}

// Ascending keys of classes in their places; negative classes are none.
inline Exact<u64> sorted_keys(const std::vector<i64>& classes, int bits) {
    std::vector<u64> keys;
    for (size_t i = 0; i < classes.size(); i++)
        keys.push_back(classes[i] < 0 ? ~0ull : (u64)classes[i] << bits | i);
    std::sort(keys.begin(), keys.end());
    return Exact<u64>::of(keys);
}

inline unsigned blocks(i64 items, i64 each) { return (unsigned)((items + each - 1) / each); }

// Rows of `dim` elements that a block of 256 threads takes, as convert.cuh says.
inline i64 rows_of_block(i64 dim) {
    i64 threads = 1;
    while (threads * 8 < dim && threads < 256) threads *= 2;
    return 256 / threads;
}

inline bool close(double got, double want, double bound) {
    if (std::isnan(want)) return std::isnan(got);
    if (std::isinf(want)) return got == want;
    return std::fabs(got - want) <= bound;
}
