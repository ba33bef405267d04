// The flash form: logits, probabilities and their product with the columns in one pass, the
// probabilities never leaving the registers. Rows of inputs against columns of weights it gives
// the loss's sums with the sampled part of d_inputs (ONLINE) or that part alone (KNOWN), and with
// the roles swapped d_weights and d_biases (KNOWN). Semantics: AttendArgs.
#pragma once
#include "epilogue.cuh"

enum AttendMode { ONLINE, KNOWN };

// A block has `q`, two tiles of `k` (one in use, one on its way) and, three tiles deep, the numbers
// that belong to columns: fetched two tiles ahead, they say which rows of k the next tile needs.
template <class Arithmetic, int DIM> struct AttendMemory {
    using Shape = AttendShape<Arithmetic, DIM>;
    static constexpr int CHUNKS = DIM * (int)sizeof(typename Arithmetic::Element) * Arithmetic::PLANES / 16;
    using Q = Tile<Shape::ROWS, CHUNKS>;
    using K = Tile<Shape::COLS, CHUNKS>;
    static constexpr int NUMBERS = Shape::COLS * 2 * (int)sizeof(float);
    static constexpr int BYTES = Q::BYTES + 2 * K::BYTES + 3 * NUMBERS;
    u8* base;

    DEV Q q() const { return Q{base}; }
    DEV K k(int tile) const { return K{base + Q::BYTES + (tile & 1) * K::BYTES}; }
    DEV float* add(int tile) const {
        return reinterpret_cast<float*>(base + Q::BYTES + 2 * K::BYTES + tile % 3 * NUMBERS);
    }
    DEV float* factor(int tile) const { return add(tile) + Shape::COLS; }
};

// What a column's products get added, and what its probabilities are multiplied by: 0 if it is off.
struct ColumnNumbers {
    float add, factor;
};

template <AttendMode MODE>
DEV ColumnNumbers numbers_of(const AttendArgs& args, i64 column, int end, float scale) {
    if (column >= end) return {-infinity(), 0.f};
    if (MODE == ONLINE) return {args.col_add[column], 1.f};
    float factor = (args.col_factor ? args.col_factor[column] : 1.f) * scale;
    return {factor == 0.f ? -infinity() : args.col_add[column], factor};
}

// p = exp2(z + row_add) factor[column], without a trace of what columns of factor 0 hold.
template <int HIGH, int WIDE>
DEV void to_known(float (&z)[HIGH][WIDE][4], const float (&row_add)[HIGH][2], const float* factor) {
#pragma unroll
    for (int n = 0; n < WIDE; n++) {
        float2 pair = load_vector<float2>(factor + lane_col(n));
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float by = i % 2 ? pair.y : pair.x, p = ex2(z[m][n][i] + row_add[m][i / 2]) * by;
                z[m][n][i] = by == 0.f ? 0.f : p;
            }
    }
}

template <int HIGH, int WIDE>
DEV void add_to_row_sums(float (&sums)[HIGH][2], const float (&p)[HIGH][WIDE][4]) {
#pragma unroll
    for (int m = 0; m < HIGH; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float tile = 0.f;
#pragma unroll
            for (int n = 0; n < WIDE; n++) tile += p[m][n][half * 2] + p[m][n][half * 2 + 1];
            sums[m][half] += tile;
        }
}

DEV float of_row(float by, int, int) { return by; }
template <int HIGH> DEV float of_row(const float (&by)[HIGH][2], int m, int half) { return by[m][half]; }

// `by`: one number for each row, or one for all.
template <int HIGH, int WIDE, class By> DEV void multiply_all(float (&acc)[HIGH][WIDE][4], const By& by) {
#pragma unroll
    for (int m = 0; m < HIGH; m++)
#pragma unroll
        for (int n = 0; n < WIDE; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) acc[m][n][i] *= of_row(by, m, i / 2);
}

// Whether sums of any of the warp's rows have to be rescaled: seldom, once the largest logit is met.
template <int HIGH> DEV bool any_rescaled(const float (&rescale)[HIGH][2]) {
    bool rescaled = false;
#pragma unroll
    for (int m = 0; m < HIGH; m++) rescaled |= rescale[m][0] != 1.f || rescale[m][1] != 1.f;
    return warp_any(rescaled);
}

// A warp's rows: what is known of them beforehand, and what a pass over the columns finds.
template <AttendMode MODE, int HIGH> struct AttendRows {
    float add[HIGH][2], sums[HIGH][2];
    OnlineSoftmax<HIGH> softmax;
    HitCursors<HIGH> cursors;
    float scale;

    // `row`: the first of the warp; `first`: where the columns begin.
    DEV void begin(const AttendArgs& args, int row, int first) {
        scale = args.scale ? *args.scale : 1.f;
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int r = row + lane_row(m, half);
                add[m][half] = MODE == KNOWN && r < args.rows ? args.row_add[r] : 0.f;
                sums[m][half] = 0.f;
            }
        cursors.begin(args.hits, row, args.rows, first);
    }

    // Products with a tile of columns become the probabilities that `out` is summed with next. `col`: its
    // first column; `add_of`, `factor_of`: its columns' numbers.
    template <class Arithmetic, int WIDE, int OUT_WIDE>
    DEV void take(const AttendArgs& args, float (&p)[HIGH][WIDE][4], float (&out)[HIGH][OUT_WIDE][4], int row,
                  int col, const float* add_of, const float* factor_of) {
        to_logits(p, add_of);
        if (MODE == ONLINE) {
            float rescale[HIGH][2];
            cursors.cross_out(p, args.hits, row, col, col + WIDE * 8, -infinity());
            softmax.take(p, rescale);
            if (any_rescaled(rescale)) multiply_all(out, rescale);
            // Only probabilities in 16 bits need the scale at once; otherwise it waits for the end.
            if (Arithmetic::SCALED) multiply_all(p, scale);
        } else {
            to_known(p, add, factor_of);
            cursors.cross_out(p, args.hits, row, col, col + WIDE * 8, 0.f);
            add_to_row_sums(sums, p);
        }
    }

    template <class Arithmetic, int OUT_WIDE>
    DEV void store(const AttendArgs& args, float (&out)[HIGH][OUT_WIDE][4], int row) {
        softmax.finish();
        if (MODE == ONLINE && !Arithmetic::SCALED) multiply_all(out, scale);
#pragma unroll
        for (int m = 0; m < HIGH; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float row_sum = quad_sum(sums[m][half]);
                int r = row + lane_row(m, half);
                if (r >= args.rows) continue;
                i64 place = (i64)blockIdx.y * args.rows + r;
                if ((lane_id() & 3) == 0) {
                    if (MODE == ONLINE) args.partial[place] = float2{softmax.max[m][half], softmax.sum[m][half]};
                    else if (args.row_sums) args.row_sums[place] = row_sum;
                }
#pragma unroll
                for (int n = 0; n < OUT_WIDE; n++)
                    if (lane_col(n) < args.dim)
                        store_vector(args.out + place * args.dim + lane_col(n),
                                     float2{out[m][n][half * 2], out[m][n][half * 2 + 1]});
            }
    }
};

template <class Arithmetic, int DIM, AttendMode MODE> DEV void attend(const AttendArgs& args) {
    using Memory = AttendMemory<Arithmetic, DIM>;
    using Shape = typename Memory::Shape;
    constexpr int HIGH = Shape::HIGH, WIDE = Shape::WIDE, COLS = Shape::COLS, THREADS = Shape::THREADS;
    DYN_SMEM(u8, shared);
    Memory memory{shared};

    int first_row = blockIdx.x * Shape::ROWS, row = first_row + Shape::first_row();
    int first = (int)min((i64)blockIdx.y * args.cols_per_split, (i64)args.cols);
    int end = (int)min((i64)first + args.cols_per_split, (i64)args.cols);
    int tiles = (end - first + COLS - 1) / COLS, chunks = chunks_of<Arithmetic>(args.dim);
    AttendRows<MODE, HIGH> rows;
    rows.begin(args, row, first);

    auto load_k = [&](int tile) {
        const float* factor = memory.factor(tile);
        Window window = {first + tile * COLS, end, 0, chunks};
        load_tile<Arithmetic, THREADS>(memory.k(tile), args.k, window,
                                       [&](int, int r) { return factor[r] != 0.f; });
    };
    auto fetch_numbers = [&](int tile) {
        return numbers_of<MODE>(args, (i64)first + tile * COLS + threadIdx.x, end, rows.scale);
    };
    auto keep_numbers = [&](int tile, ColumnNumbers numbers) {
        memory.add(tile)[threadIdx.x] = numbers.add;
        memory.factor(tile)[threadIdx.x] = numbers.factor;
    };
    const bool has_column = threadIdx.x < COLS;

    float out[HIGH][DIM / 8][4];
    clear(out);
    if (has_column) {
        keep_numbers(0, fetch_numbers(0));
        keep_numbers(1, fetch_numbers(1));
    }
    __syncthreads();
    Window of_q = {first_row, args.rows, 0, chunks};
    load_tile<Arithmetic, THREADS>(memory.q(), args.q, of_q, EveryRow());
    load_k(0);
    copy_commit();

    for (int tile = 0; tile < tiles; tile++) {
        copy_wait<0>();
        // Tile and numbers are there for all, and all have done with the tile before.
        __syncthreads();
        if (tile + 1 < tiles) load_k(tile + 1);
        copy_commit();
        ColumnNumbers numbers{};
        if (has_column) numbers = fetch_numbers(tile + 2);

        auto k = memory.k(tile);
        float p[HIGH][WIDE][4];
        clear(p);
        multiply_rows<Arithmetic, DIM / Arithmetic::DEPTH, 2>(p, memory.q(), Shape::first_row(), k, 0);
        rows.template take<Arithmetic>(args, p, out, row, first + tile * COLS, memory.add(tile),
                                       memory.factor(tile));
#pragma unroll
        for (int step = 0; step < COLS / Arithmetic::DEPTH; step++) {
            typename Arithmetic::A left[HIGH];
#pragma unroll
            for (int m = 0; m < HIGH; m++) Arithmetic::take_a(left[m], p[m], step);
            multiply_by_columns<Arithmetic, ACCUMULATED>(out, left, k, step * Arithmetic::DEPTH, 0);
        }
        if (has_column) keep_numbers(tile + 2, numbers);
    }
    copy_wait<0>();
    rows.template store<Arithmetic>(args, out, row);
}

#define INSTANTIATE_attend(A, DIM, MODE)                                                                  \
    ENTRY(attend_##A##_##DIM##_##MODE, AttendArgs, (AttendShape<arithmetic::A, DIM>::THREADS),            \
          (AttendShape<arithmetic::A, DIM>::BLOCKS), attend<arithmetic::A, DIM, MODE>(args))
