// Logits of rows against columns, for any dim: reduced to the parts of a log-sum-exp (LSE), turned into
// probabilities that are stored for product.cuh (PROBABILITIES), or both at once before the log-sum-exp is
// known (EXPONENTIALS). Semantics: LogitsArgs.
#pragma once
#include "epilogue.cuh"

enum LogitsMode { LSE, PROBABILITIES, EXPONENTIALS };

// Behind the slabs: the columns' numbers of this tile and the next, and a sum for every column
// and row of warps. Once the slabs are done with, parts are joined where they were.
template <class Arithmetic> struct LogitsMemory {
    using Shape = SlabShape<Arithmetic>;
    using Q = Tile<Shape::ROWS, SLAB_BYTES / 16>;
    using K = Tile<Shape::COLS, SLAB_BYTES / 16>;
    using Slabs = SlabRing<Q, K, Shape::STAGES>;
    static constexpr int BYTES = Slabs::BYTES + (2 + Shape::DOWN) * Shape::COLS * (int)sizeof(float);
    u8* base;

    DEV Slabs slabs() const { return Slabs{base}; }
    DEV float* numbers() const { return reinterpret_cast<float*>(base + Slabs::BYTES); }
    DEV float* add(int tile) const { return numbers() + tile % 2 * Shape::COLS; }
    DEV float* sums() const { return numbers() + 2 * Shape::COLS; }
    DEV float2* parts() const { return reinterpret_cast<float2*>(base); }
};

// The rows' numbers of PROBABILITIES.
template <int HIGH> struct KnownRows {
    float add[HIGH][2], factor[HIGH][2];

    DEV void read(const LogitsArgs& args, int row) {
        float scale = args.scale ? *args.scale : 1.f;
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int r = row + lane_row(m, half);
                factor[m][half] = r < args.rows ? args.row_factor[r] * scale : 0.f;
                // What takes the place of an exponential has its factor applied where that one would have had it.
                if (args.redo && factor[m][half] != 0.f) factor[m][half] = 1.f;
                add[m][half] = factor[m][half] == 0.f ? 0.f : args.row_add[r];
            }
    }

    // p = exp2(z + add) factor, without a trace of what rows of factor 0 hold.
    template <int WIDE> DEV void apply(float (&z)[HIGH][WIDE][4]) const {
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int n = 0; n < WIDE; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float p = ex2(z[m][n][i] + add[m][i / 2]) * factor[m][i / 2];
                    z[m][n][i] = factor[m][i / 2] == 0.f ? 0.f : p;
                }
    }
};

// The rows' numbers of EXPONENTIALS.
template <int HIGH> struct ShiftedRows {
    float add[HIGH][2];

    DEV bool is_off(int m, int half) const { return add[m][half] == -infinity(); }

    DEV void read(const LogitsArgs& args, int row) {
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int r = row + lane_row(m, half);
                add[m][half] = r < args.rows ? args.row_add[r] : -infinity();
            }
    }

    // From exp2(z - m), m the largest logit so far, to exp2(z + add): a product for each, no exponential. What it loses
    // where exp2(z - m) underflows is as little of the row's sum. No trace of what rows that are off hold.
    template <int WIDE>
    DEV void apply(float (&e)[HIGH][WIDE][4], const OnlineSoftmax<HIGH>& softmax) const {
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float scale = is_off(m, half) ? 0.f : ex2(shift_of(softmax.max[m][half]) + add[m][half]);
#pragma unroll
                for (int n = 0; n < WIDE; n++)
#pragma unroll
                    for (int c = 0; c < 2; c++) {
                        float& x = e[m][n][half * 2 + c];
                        x = scale == 0.f ? 0.f : x * scale;
                    }
            }
    }
};

// Whether a tile has a row to compute; asked by the whole block.
DEV bool is_wanted(const LogitsArgs& args, int first_row, int rows) {
    if (!args.redo) return true;
    int r = first_row + (int)threadIdx.x;
    return block_any((int)threadIdx.x < rows && r < args.rows && args.redo[r]);
}

// `row`, `col`: where this warp's part of the tile begins. Columns from `cols` to the next multiple
// of 8 become zeros.
template <class Arithmetic, int HIGH, int WIDE>
DEV void store_probabilities(const LogitsArgs& args, float (&p)[HIGH][WIDE][4], int row, int col) {
#pragma unroll
    for (int n = 0; n < WIDE; n++) {
        int c = col + lane_col(n);
        if (col + n * 8 >= args.cols) continue;
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float x = c < args.cols ? p[m][n][half * 2] : 0.f;
                float y = c + 1 < args.cols ? p[m][n][half * 2 + 1] : 0.f;
                int r = row + lane_row(m, half);
                bool wanted = r < args.rows && (!args.redo || args.redo[r]);
                if (wanted) Arithmetic::store(args.p, r * args.p_stride + c, x, y);
            }
    }
}

// Sums of a tile's rows, in a fixed order: in a lane, in the warp, from warp to warp downwards.
template <class Shape, int HIGH, int WIDE>
DEV void store_col_sums(const LogitsArgs& args, const float (&p)[HIGH][WIDE][4], float* sums, int col) {
    if (!args.col_sums) return;
#pragma unroll
    for (int n = 0; n < WIDE; n++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
            float sum = 0.f;
#pragma unroll
            for (int m = 0; m < HIGH; m++) sum += p[m][n][c] + p[m][n][2 + c];
            sum = column_sum(sum);
            if (lane_id() < 4)
                sums[warp_id() / Shape::ACROSS * Shape::COLS + Shape::first_col() + lane_col(n) + c] = sum;
        }
    __syncthreads();
    int c = threadIdx.x;
    if (c >= Shape::COLS || col + c >= args.cols) return;
    float sum = sums[c];
    for (int warp = 1; warp < Shape::DOWN; warp++) sum += sums[warp * Shape::COLS + c];
    args.col_sums[(i64)blockIdx.x * args.cols + col + c] = sum;
}

// The parts of the warps side by side, joined from left to right.
template <class Shape>
DEV void store_partial(const LogitsArgs& args, OnlineSoftmax<Shape::HIGH>& softmax, float2* parts,
                       int first_row) {
    softmax.finish();
    __syncthreads();
#pragma unroll
    for (int m = 0; m < Shape::HIGH; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            if ((lane_id() & 3) == 0)
                parts[warp_id() % Shape::ACROSS * Shape::ROWS + Shape::first_row() + lane_row(m, half)] =
                    float2{softmax.max[m][half], softmax.sum[m][half]};
    __syncthreads();
    int r = threadIdx.x;
    if (r >= Shape::ROWS || first_row + r >= args.rows) return;
    float2 whole = parts[r];
    for (int warp = 1; warp < Shape::ACROSS; warp++) whole = join(whole, parts[warp * Shape::ROWS + r]);
    args.partial[(i64)blockIdx.y * args.rows + first_row + r] = whole;
}

template <class Arithmetic, LogitsMode MODE> DEV void logits(const LogitsArgs& args) {
    using Memory = LogitsMemory<Arithmetic>;
    using Shape = typename Memory::Shape;
    constexpr int HIGH = Shape::HIGH, WIDE = Shape::WIDE, COLS = Shape::COLS, THREADS = Shape::THREADS;
    constexpr int SLAB_CHUNKS = SLAB_BYTES / 16 / Arithmetic::PLANES;
    constexpr int STEPS = SLAB_CHUNKS * 16 / (int)sizeof(typename Arithmetic::Element) / Arithmetic::DEPTH;
    DYN_SMEM(u8, shared);
    Memory memory{shared};

    int first_row = blockIdx.x * Shape::ROWS, row = first_row + Shape::first_row();
    int first = (int)min((i64)blockIdx.y * args.cols_per_split, (i64)args.cols);
    int end = (int)min((i64)first + args.cols_per_split, (i64)args.cols);
    int chunks = chunks_of<Arithmetic>(args.dim), slabs = (chunks + SLAB_CHUNKS - 1) / SLAB_CHUNKS;
    int tiles = (end - first + COLS - 1) / COLS;
    if (MODE == PROBABILITIES && !is_wanted(args, first_row, Shape::ROWS)) return;

    int next_tile = 0, next_slab = 0;  // what is loaded next
    auto load_next = [&](int step) {
        if (next_tile < tiles) {
            int chunk = next_slab * SLAB_CHUNKS, col = first + next_tile * COLS;
            Window of_q = {first_row, args.rows, chunk, chunks}, of_k = {col, end, chunk, chunks};
            load_tile<Arithmetic, THREADS>(memory.slabs().a(step), args.q, of_q, EveryRow());
            load_tile<Arithmetic, THREADS>(memory.slabs().b(step), args.k, of_k, EveryRow());
            if (++next_slab == slabs) next_slab = 0, next_tile++;
        }
        copy_commit();
    };
    const bool has_column = threadIdx.x < COLS;
    auto fetch_add = [&](int tile) {
        i64 column = (i64)first + tile * COLS + threadIdx.x;
        return column < end ? args.col_add[column] : -infinity();
    };

    for (int step = 0; step < Shape::STAGES - 1; step++) load_next(step);
    if (has_column) memory.add(0)[threadIdx.x] = fetch_add(0);
    OnlineSoftmax<HIGH> softmax;
    KnownRows<HIGH> known;
    ShiftedRows<HIGH> shifted;
    if (MODE == PROBABILITIES) known.read(args, row);
    if (MODE == EXPONENTIALS) shifted.read(args, row);
    HitCursors<HIGH> cursors;
    cursors.begin(args.hits, row, args.rows, first);

    int step = 0;
    for (int tile = 0; tile < tiles; tile++) {
        float z[HIGH][WIDE][4];
        clear(z);
        for (int slab = 0; slab < slabs; slab++, step++) {
            copy_wait<Shape::STAGES - 2>();
            // The slab is there for all, and all have done with the one that is now overwritten.
            __syncthreads();
            load_next(step + Shape::STAGES - 1);
            multiply_rows<Arithmetic, STEPS, 1>(z, memory.slabs().a(step), Shape::first_row(),
                                                memory.slabs().b(step), Shape::first_col());
        }
        float following = has_column ? fetch_add(tile + 1) : 0.f;
        int tile_col = first + tile * COLS, col = tile_col + Shape::first_col();
        to_logits(z, memory.add(tile) + Shape::first_col());
        if (MODE == PROBABILITIES) {
            known.apply(z);
            cursors.cross_out(z, args.hits, row, col, tile_col + COLS, 0.f);
            store_probabilities<Arithmetic>(args, z, row, col);
            store_col_sums<Shape>(args, z, memory.sums(), tile_col);
        } else {
            float rescale[HIGH][2];
            cursors.cross_out(z, args.hits, row, col, tile_col + COLS, -infinity());
            softmax.take(z, rescale);
            if (MODE == EXPONENTIALS) {
                shifted.apply(z, softmax);
                store_probabilities<Arithmetic>(args, z, row, col);
            }
        }
        // Read last a tile ago, and there has been a barrier since.
        if (has_column) memory.add(tile + 1)[threadIdx.x] = following;
    }
    copy_wait<0>();
    if (MODE != PROBABILITIES) store_partial<Shape>(args, softmax, memory.parts(), first_row);
}

#define INSTANTIATE_logits(A, MODE)                                                                       \
    ENTRY(logits_##A##_##MODE, LogitsArgs, (SlabShape<arithmetic::A>::THREADS),                           \
          (SlabShape<arithmetic::A>::BLOCKS), logits<arithmetic::A, MODE>(args))
