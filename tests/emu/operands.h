// What the tests of the matrix kernels share: operands in every arithmetic's own form, hits as lists, launches by
// the numbers of instances.def, and how far a result may be from float64.
#pragma once
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "shapes.cuh"

using Table = std::vector<std::vector<double>>;

// An arithmetic, named as its policy is. `rounding`: of a product, relative to the operands' sizes, as the
// kernels see them; `probability`: of a probability when it is put in for a product.
struct Arithmetic {
    const char* name;
    double rounding, probability;
    int element_bytes, planes;
};
// Operands of 16 bits are exact, for they are compared as rounded; tf32 rounds both to 11 bits, bf16x3 leaves out
// low times low. float32 sums are allowed for separately.
constexpr Arithmetic ARITHMETICS[] = {
    {"Bf16", 0, 0x1p-8, 2, 1},
    {"F16", 0, 0x1p-11, 2, 1},
    {"Bf16x3", 0x1p-16, 0x1p-16, 2, 2},
    {"Tf32", 0x1p-11, 0x1p-11, 4, 1},
    {"Fma", 0, 0, 4, 1},
};
// The unit sums an exponential's argument in float32 and is itself good to 2^-22.
constexpr double EXPONENTIAL = 0x1p-21, FLOAT_ROUNDING = 0x1p-24, LOG2E = 1.4426950408889634;

// Of a float32 sum of `count` terms, relative to the sum of their sizes.
inline double sum_rounding(int count) { return 4 * std::sqrt((double)count) * FLOAT_ROUNDING; }

// A line of instances.def.
struct Instance {
    std::string kernel, arguments;  // "(Bf16, LSE)"
    int rows, cols, threads, shared_bytes;

    std::string symbol() const {
        std::string name = kernel + "_";
        for (char c : arguments)
            if (c == ',') name += '_';
            else if (isalnum(c)) name += c;
        return name;
    }
};
inline const std::vector<Instance>& instances() {
    static const std::vector<Instance> all = {
#define INSTANCE(kernel, arguments, rows, cols, threads, shared_bytes) \
    {#kernel, #arguments, rows, cols, threads, shared_bytes},
#include "instances.def"
#undef INSTANCE
    };
    return all;
}
inline const Instance& find_instance(const std::string& symbol) {
    for (const Instance& instance : instances())
        if (instance.symbol() == symbol) return instance;
    throw emu::Error("no instance " + symbol);
}
inline int tiles(i64 count, int of) { return (int)((count + of - 1) / of); }

// An operand as the host prepares it: padded to 16 bytes with zeros, and `values` what it then holds.
class OperandData {
public:
    OperandData(const Arithmetic& arithmetic, const Table& from)
        : values(from), rows_(from.size()), dim_(from.empty() ? 0 : from[0].size()), arithmetic_(arithmetic) {
        int per_chunk = 16 / arithmetic.element_bytes;
        padded_ = (dim_ + per_chunk - 1) / per_chunk * per_chunk;
        for (int plane = 0; plane < arithmetic.planes; plane++)
            planes_.emplace_back(std::max<size_t>(1, rows_ * padded_ * arithmetic.element_bytes));
        for (size_t r = 0; r < rows_; r++)
            for (size_t k = 0; k < padded_; k++) {
                double x = k < dim_ ? from[r][k] : 0, left = x;
                for (int plane = 0; plane < arithmetic.planes; plane++) left -= put(plane, r * padded_ + k, left);
                if (k < dim_) values[r][k] = std::isfinite(x) ? x - left : x;
            }
    }
    Operand operand() const {
        return Operand{{planes_[0].data(), planes_.size() > 1 ? planes_[1].data() : nullptr}, (i64)padded_};
    }
    int dim() const { return (int)padded_; }

    Table values;

private:
    double put(int plane, size_t at, double x) {
        unsigned char* to = planes_[plane].data();
        u16 bits = arithmetic_.name == std::string("F16") ? f16_bits((float)x) : bf16_bits((float)x);
        if (arithmetic_.element_bytes == 2) memcpy(to + at * 2, &bits, 2);
        float f = (float)x;
        if (arithmetic_.element_bytes == 4) memcpy(to + at * 4, &f, 4);
        return get(arithmetic_, to, at);
    }

    size_t rows_, dim_, padded_;
    Arithmetic arithmetic_;
    std::vector<emu::Array<unsigned char>> planes_;

public:
    static double get(const Arithmetic& arithmetic, const unsigned char* from, size_t at) {
        u16 bits;
        float f;
        if (arithmetic.element_bytes == 4) return memcpy(&f, from + at * 4, 4), f;
        memcpy(&bits, from + at * 2, 2);
        return arithmetic.name == std::string("F16") ? to_float(f16{bits}) : to_float(bf16{bits});
    }
};

// Hits of each row, ascending, in either of the two forms a kernel takes.
class HitLists {
public:
    HitLists(const std::vector<std::vector<u32>>& of_rows, bool ranges)
        : list_(size_of(of_rows, ranges)), begin_(of_rows.size()), end_(of_rows.size()), ranges_(ranges) {
        width_ = 0;
        for (auto& row : of_rows) width_ = std::max(width_, row.size());
        size_t at = 0;
        for (size_t r = 0; r < of_rows.size(); r++) {
            begin_[r] = (u32)at;
            for (u32 hit : of_rows[r]) list_[at++] = hit;
            end_[r] = (u32)at;
            while (!ranges && at < (r + 1) * width_) list_[at++] = NO_HIT;
        }
    }
    Hits hits() const {
        return ranges_ ? Hits{list_.data(), begin_.data(), end_.data(), 0}
                       : Hits{list_.data(), nullptr, nullptr, (i64)width_};
    }

private:
    static size_t size_of(const std::vector<std::vector<u32>>& of_rows, bool ranges) {
        size_t sum = 0, width = 0;
        for (auto& row : of_rows) sum += row.size(), width = std::max(width, row.size());
        return std::max<size_t>(1, ranges ? sum : width * of_rows.size());
    }
    emu::Array<u32> list_, begin_, end_;
    bool ranges_;
    size_t width_;
};

// Numbers that do not depend on the standard library's distributions.
class Numbers {
public:
    explicit Numbers(unsigned seed) : random_(seed) {}
    double uniform() { return ((double)random_() + 0.5) / 4294967296.0; }
    double normal() { return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * M_PI * uniform()); }
    unsigned below(unsigned count) { return random_() % count; }
    Table matrix(int rows, int cols, double size) {
        Table m(rows, std::vector<double>(cols));
        for (auto& row : m)
            for (double& x : row) x = (float)(normal() * size);
        return m;
    }
    // Single numbers as the kernels read them.
    std::vector<float> vector(int count, double size) {
        std::vector<float> v(count);
        for (float& x : v) x = (float)(normal() * size);
        return v;
    }

private:
    std::mt19937 random_;
};

// Some rows with none, one, several hits, of them the first and last column and those around a tile's border.
inline std::vector<std::vector<u32>> some_hits(Numbers& numbers, int rows, int cols, int tile) {
    std::vector<std::vector<u32>> all(rows);
    for (int r = 0; r < rows; r++) {
        if (r % 4 == 1) all[r] = {0u, (u32)cols - 1};
        if (r % 4 == 2) all[r] = {(u32)std::min(tile - 1, cols - 1), (u32)std::min(tile, cols - 1)};
        for (int i = r % 7; i < 3; i++) all[r].push_back(numbers.below(cols));
        std::sort(all[r].begin(), all[r].end());
    }
    return all;
}

// The largest error, as a multiple of what is allowed.
struct Comparison {
    double worst = 0;
    std::string where;

    void add(double got, double wanted, double allowed, const std::string& at) {
        bool same = got == wanted || (std::isnan(got) && std::isnan(wanted));
        double excess = same ? 0 : std::fabs(got - wanted) / allowed;
        if (excess > worst || std::isnan(excess)) {
            worst = std::isnan(excess) ? INFINITY : excess;
            where = at + emu::text(": %.9g, float64 says %.9g, allowed %.2g", got, wanted, allowed);
        }
    }
};
#define CHECK_WITHIN(comparison, what)                                                                    \
    CHECK((comparison).worst <= 1, "%s: %.2f times what is allowed at %s", what, (comparison).worst,       \
          (comparison).where.c_str())
