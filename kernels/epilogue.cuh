// What becomes of a tile of products: logits in base 2, hits crossed out, the online softmax of a
// row. Which elements a lane has: see lane_row and lane_col in multiply.cuh.
#pragma once
#include "multiply.cuh"

constexpr float LOG2_E = 1.44269504088896341f;

// Over the four lanes that share rows, and over the eight that share columns; all get the result.
DEV float quad_max(float x) {
    x = fmaxf(x, shuffle_xor(x, 1));
    return fmaxf(x, shuffle_xor(x, 2));
}
DEV float quad_sum(float x) {
    x += shuffle_xor(x, 1);
    return x + shuffle_xor(x, 2);
}
DEV float column_sum(float x) {
    x += shuffle_xor(x, 4);
    x += shuffle_xor(x, 8);
    return x + shuffle_xor(x, 16);
}

// z = products log2(e) + add[column], `add` being the columns of this warp in shared memory.
template <int HIGH, int WIDE> DEV void to_logits(float (&acc)[HIGH][WIDE][4], const float* add) {
#pragma unroll
    for (int n = 0; n < WIDE; n++) {
        float2 pair = load_vector<float2>(add + lane_col(n));
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) acc[m][n][i] = fmaf(acc[m][n][i], LOG2_E, i % 2 ? pair.y : pair.x);
    }
}

// The rows' next hits. Lists ascend, as do the tiles of columns, so each list is read once; its
// bounds are read again where a hit is met, which is rare, and cost no registers otherwise.
template <int HIGH> struct HitCursors {
    u32 next[HIGH][2];
    u32 place[HIGH][2];  // of `next`, from where the row's list begins

    // `row`: the first of this warp; `first_col`: where the columns begin.
    DEV void begin(const Hits& hits, int row, int rows, int first_col) {
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int r = row + lane_row(m, half);
                place[m][half] = 0;
                next[m][half] = NO_HIT;
                if (!hits.list || r >= rows) continue;
                i64 first, last;
                bounds(hits, r, first, last);
                i64 low = first, high = last;
                while (low < high) {
                    i64 middle = (low + high) / 2;
                    if (hits.list[middle] < (u32)first_col) low = middle + 1;
                    else high = middle;
                }
                place[m][half] = (u32)(low - first);
                if (low < last) next[m][half] = hits.list[low];
            }
    }

    // Puts `value` in the place of hits before column `end`; the warp's columns begin at `col`.
    template <int WIDE>
    DEV void cross_out(float (&acc)[HIGH][WIDE][4], const Hits& hits, int row, int col, int end,
                       float value) {
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                while (next[m][half] < (u32)end) {
                    int hit = (int)next[m][half] - col - lane_col(0);
#pragma unroll
                    for (int n = 0; n < WIDE; n++)
#pragma unroll
                        for (int c = 0; c < 2; c++)
                            if (hit == n * 8 + c) acc[m][n][half * 2 + c] = value;
                    i64 first, last;
                    bounds(hits, row + lane_row(m, half), first, last);
                    i64 following = first + ++place[m][half];
                    next[m][half] = following < last ? hits.list[following] : NO_HIT;
                }
    }

private:
    static DEV void bounds(const Hits& hits, int row, i64& first, i64& last) {
        first = hits.begin ? hits.begin[row] : row * hits.width;
        last = hits.begin ? hits.end[row] : first + hits.width;
    }
};

// The largest logit m of the rows and sum_c exp2(z_c - m). A row of nothing but -inf so far has
// m = -inf and sum 0, its exponentials being taken from 0; NaN and +inf make the sum NaN.
DEV float shift_of(float max) { return max == -infinity() ? 0.f : max; }

template <int HIGH> struct OnlineSoftmax {
    float max[HIGH][2], sum[HIGH][2];

    DEV OnlineSoftmax() {
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                max[m][half] = -infinity();
                sum[m][half] = 0.f;
            }
    }

    // Takes in a tile of logits and leaves exp2(z - m) there, m the new one. `rescale` is what sums
    // taken with the old m must be multiplied by. The lanes of a row have their own sums, until finish.
    template <int WIDE> DEV void take(float (&z)[HIGH][WIDE][4], float (&rescale)[HIGH][2]) {
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float largest = max[m][half];
#pragma unroll
                for (int n = 0; n < WIDE; n++)
                    largest = fmaxf(largest, fmaxf(z[m][n][half * 2], z[m][n][half * 2 + 1]));
                largest = quad_max(largest);
                float shift = shift_of(largest), tile = 0.f;
#pragma unroll
                for (int n = 0; n < WIDE; n++)
#pragma unroll
                    for (int c = 0; c < 2; c++) {
                        float& e = z[m][n][half * 2 + c];
                        e = ex2(e - shift);
                        tile += e;
                    }
                rescale[m][half] = ex2(max[m][half] - shift);
                sum[m][half] = sum[m][half] * rescale[m][half] + tile;
                max[m][half] = largest;
            }
    }

    DEV void finish() {
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) sum[m][half] = quad_sum(sum[m][half]);
    }
};

// Two parts (m, sum) of one row as one.
DEV float2 join(float2 a, float2 b) {
    float max = fmaxf(a.x, b.x), shift = shift_of(max);
    return float2{max, a.y * ex2(a.x - shift) + b.y * ex2(b.x - shift)};
}
