// Warp functions: shuffles, votes, matrix loads and matrix products by the fragment layouts of the PTX
// manual.
#pragma once
#include "block.h"
#include "numbers.h"
#include "race.h"

namespace emu {

template <class T> struct Shuffle {
    T value, result;
    int argument;
};

// `source(lane, argument)` is the lane whose value a lane gets, or -1 for its own.
template <class T, int (*source)(int, int)> T exchange(const char* name, T value, int argument) {
    Shuffle<T> mine{value, value, argument};
    collective<Shuffle<T>>(name, mine, [](Shuffle<T>* const* lanes) {
        for (int i = 0; i < 32; i++) {
            int from = source(i, lanes[i]->argument);
            lanes[i]->result = lanes[from < 0 ? i : from]->value;
        }
    });
    return mine.result;
}

inline int lane_xor(int lane, int mask) { return (lane ^ mask) & 31; }
inline int lane_at(int, int index) { return index & 31; }
inline int lane_above(int lane, int by) { return lane - by; }
inline int lane_below(int lane, int by) { return lane + by > 31 ? -1 : lane + by; }

struct Vote {
    bool value;
    uint32_t result;
};
inline uint32_t vote(const char* name, bool value) {
    Vote mine{value, 0};
    collective<Vote>(name, mine, [](Vote* const* lanes) {
        uint32_t all = 0;
        for (int i = 0; i < 32; i++) all |= (uint32_t)lanes[i]->value << i;
        for (int i = 0; i < 32; i++) lanes[i]->result = all;
    });
    return mine.result;
}

struct MatrixLoad {
    const unsigned char* row;
    uint32_t* result;
    Thread* thread;
};

// Each of the four matrices is read at once, 8 rows of 16 bytes: without conflict if they lie in 8 different
// groups of 4 banks.
inline void count_bank_conflicts(MatrixLoad* const* lanes) {
    for (int matrix = 0; matrix < 4; matrix++) {
        int rows[8] = {}, worst = 1;
        for (int i = 0; i < 8; i++) {
            auto at = reinterpret_cast<uintptr_t>(lanes[matrix * 8 + i]->row) / 16;
            bool repeated = false;
            for (int j = 0; j < i; j++)
                repeated |= at == reinterpret_cast<uintptr_t>(lanes[matrix * 8 + j]->row) / 16;
            if (!repeated) worst = std::max(worst, ++rows[at % 8]);
        }
        block->counts.bank_conflicts += worst - 1;
    }
    block->counts.matrix_loads++;
}

template <bool TRANSPOSED> void run_matrix_load(MatrixLoad* const* lanes) {
    uint16_t matrices[4][8][8];
    count_bank_conflicts(lanes);
    for (int i = 0; i < 32; i++) memcpy(matrices[i / 8][i % 8], lanes[i]->row, 16);
    for (int i = 0; i < 32; i++)
        for (int m = 0; m < 4; m++) {
            int row = i / 4, pair = i % 4 * 2;
            uint16_t first = TRANSPOSED ? matrices[m][pair][row] : matrices[m][row][pair];
            uint16_t second = TRANSPOSED ? matrices[m][pair + 1][row] : matrices[m][row][pair + 1];
            lanes[i]->result[m] = first | (uint32_t)second << 16;
        }
}

template <bool TRANSPOSED> void load_matrices(uint32_t* result, const void* row) {
    if (reinterpret_cast<uintptr_t>(row) % 16) fail("ldmatrix: the row's address is no multiple of 16");
    if (!block->shared.holds(row, 16))
        fail("ldmatrix reads outside shared memory: " + block->shared.describe(row));
    if (block->races) block->races->read(row);
    MatrixLoad mine{static_cast<const unsigned char*>(row), result, current};
    collective<MatrixLoad>(TRANSPOSED ? "ldmatrix_transposed" : "ldmatrix", mine,
                           run_matrix_load<TRANSPOSED>);
}

struct Product {
    float* acc;
    const uint32_t* a;
    uint32_t b[2];
};

// One product for the warp: fragments to plain matrices, products in ascending k in float (each is exact in
// float for these types), one addition to the accumulator, and back.
template <int DEPTH, void (*spread)(Product* const*, float (*)[DEPTH], float (*)[8])>
void run_product(Product* const* lanes) {
    float a[16][DEPTH], b[DEPTH][8], sums[16][8] = {};
    spread(lanes, a, b);
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < DEPTH; k++)
            for (int column = 0; column < 8; column++) sums[row][column] += a[row][k] * b[k][column];
    for (int i = 0; i < 32; i++)
        for (int e = 0; e < 4; e++) lanes[i]->acc[e] += sums[i / 4 + e / 2 * 8][i % 4 * 2 + e % 2];
}

template <float (*decode)(uint16_t)> void spread_16(Product* const* lanes, float (*a)[16], float (*b)[8]) {
    for (int i = 0; i < 32; i++) {
        int g = i / 4, t = i % 4 * 2;
        for (int e = 0; e < 4; e++) {
            float* to = &a[g + e % 2 * 8][t + e / 2 * 8];
            to[0] = decode((uint16_t)lanes[i]->a[e]), to[1] = decode((uint16_t)(lanes[i]->a[e] >> 16));
        }
        for (int e = 0; e < 2; e++) {
            b[t + e * 8][g] = decode((uint16_t)lanes[i]->b[e]);
            b[t + e * 8 + 1][g] = decode((uint16_t)(lanes[i]->b[e] >> 16));
        }
    }
}

inline void spread_tf32(Product* const* lanes, float (*a)[8], float (*b)[8]) {
    for (int i = 0; i < 32; i++) {
        int g = i / 4, t = i % 4;
        for (int e = 0; e < 4; e++) a[g + e % 2 * 8][t + e / 2 * 4] = of_tf32(lanes[i]->a[e]);
        for (int e = 0; e < 2; e++) b[t + e * 4][g] = of_tf32(lanes[i]->b[e]);
    }
}

inline void product(const char* name, float* acc, const uint32_t* a, uint32_t b0, uint32_t b1,
                    void (*run)(Product* const*)) {
    Product mine{acc, a, {b0, b1}};
    collective<Product>(name, mine, run);
}

struct Nothing {};
inline void warp_barrier() {
    Nothing mine;
    collective<Nothing>("__syncwarp", mine, [](Nothing* const*) {});
    if (block->races) block->races->warp_barrier();
}

}  // namespace emu
