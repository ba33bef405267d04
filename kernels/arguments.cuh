// What the host passes to each kernel: one struct by value, mirrored field by field in
// src/backend/cuda/arguments.rs; those of the matrix kernels are in matrix_arguments.cuh.
// Names: N rows, C classes, S sampled columns, T labels a row, d dim. "Base 2" numbers are
// logits times log2(e), so that exponentials are exp2.
#pragma once
#include "matrix_arguments.cuh"

// SSL_DTYPE_* of include/sampled_softmax.h.
enum Dtype { F32 = 0, F16 = 1, BF16 = 2 };
// SSL_LABELS_*.
enum LabelsDtype { LABELS_I64 = 0, LABELS_I32 = 1 };

// A tensor of the caller, of any dtype, alignment and stride.
struct Tensor {
    const void* data;  // NULL where it is optional and absent
    i64 stride;        // elements from row to row; 1 for a vector
    int dtype;
    int pad;
};

// Scalars that one kernel leaves for a later one.
struct Control {
    double normaliser;        // 1 / sum of weights for the mean (0 if there is nothing to average), else 1
    u32 status;               // largest SSL_STATUS_* any kernel met, 0 if none
    u32 candidates_status;    // the same, of the candidates alone: then no row has a loss. What a failed draw
                              // left here stays: it is the reason of whatever the kernels find
    float scale_rows;         // what P is multiplied by before it is stored in 16 bits, where a
    float unscale_rows;       // row's own coefficient is applied later; and the inverse
    float scale_classes;      // the same where P already has the rows' coefficients in it
    float unscale_classes;
    i64 num_heads;            // distinct candidate classes
    i64 num_new;              // distinct labels that are no candidate
    u32 finished_blocks;      // of finish_rows
    u32 pad;
};

// What a draw leaves beside the ids, in pinned host memory. A draw of the host that failed leaves ids of
// -1, counts of 1 and its status.
struct DrawInfo {
    i64 tries;
    u32 status;                // SSL_STATUS_* if the draw failed
    u32 pad;
    u64 replays;               // how often the device has made the draw: each time it is that of a step later
};

// Row states. Only live rows are computed. Dead: ignored; loss 0, gradient 0. Idle: weight or upstream
// gradient 0; as dead, but its labels are listed in the sparse gradient. Bad: loss NaN, gradient 0.
enum RowState { ROW_LIVE = 0, ROW_DEAD = 1, ROW_BAD = 2, ROW_IDLE = 3 };

// ---- what is made ready before: begin.cuh, prepare.cuh and their parts --------------------------------

// keys: key[i] = class << index_bits | i, sorted in runs of SORT_BLOCK; ~0 where there is none: i >= count, or one of
// the num_true of its row is ignored or out of range. Labels of other rows without a gradient have keys: nothing is
// what they add.
struct KeysArgs {
    const void* classes;   // [count]
    int dtype, index_bits; // dtype: LabelsDtype
    i64 count, padded;     // keys has `padded` elements, a power of two; 0: there is nothing to do
    i64 num_classes, num_true;  // num_true: 1 for candidates
    i64 ignore_index;
    int has_ignore_index, ascending;  // ascending: 1, the classes are known to
    u64* keys;
};

// sort_block, and then sort_step and sort_merge: a bitonic sort of `count` keys, a power of two.
struct SortArgs {
    u64* keys;
    i64 count, run, distance;  // run: length of the sorted runs being merged; distance: of the pairs
};

// columns: column j is the class keys[j] >> index_bits. A class given several times is one column, its
// first, with the sum of 1/Q; the other copies are off (col_add = -inf), as are ids out of range.
//   col_add[j] = (bias + ln(sum_copies 1/Q)) log2(e);  out: the weights' rows in the arithmetic's type, zeros
//   where the column is off for one of these reasons
struct ColumnsArgs {
    Tensor weights, biases;    // [C, d], [C]
    const u64* keys;           // [S], ascending
    int index_bits, num_sampled;
    i64 num_classes;
    const void* counts;        // [S], in the order of the ids as given
    int counts_double;         // 0: float32
    int dim, padded_dim;
    int planes;                // 0: float32, 1: 16-bit as `out_dtype`, 2: bf16 high and low
    int out_dtype;
    int pad;
    void* out[2];              // [S, padded_dim]
    float* col_add;            // [S]
    Control* control;          // SSL_STATUS_LABEL_RANGE, SSL_STATUS_EXPECTED_COUNT
};

// pack: a caller's matrix in the arithmetic's type, zeros behind d.
struct PackArgs {
    Tensor from;               // [rows, dim]
    int rows, dim, padded_dim;
    int planes, out_dtype;
    int scaled;                // 1: rows are multiplied by their factors
    const float* factor;       // [rows]; where it is 0 the row is packed as zeros, unread. NULL: all count
    void* out[2];
};

// true_counts: Q of every label under the distribution the candidates were drawn from.
struct TrueCountsArgs {
    const void* labels;
    int labels_dtype, has_ignore_index;
    i64 ignore_index;
    i64 count, num_classes, num_sampled;
    int sampler;               // SSL_SAMPLER_UNIFORM, _LOG_UNIFORM, _FIXED_UNIGRAM or _ALL
    int rule;                  // 0: S p (replacement); 1: S p where info->tries is S, else -expm1(tries log1p(-p));
                               // 2: `constant`
    double constant;
    const double* probabilities;  // [C], FIXED_UNIGRAM
    const DrawInfo* info;      // in pinned host memory
    void* counts;              // [count]
    int counts_double, pad;
};

// begin: makes the keys and the counts, clears `control` (scale_rows is always 2^15, for those who need it), takes over
// the status of the draw, finds the normaliser (a sum in a fixed order).
struct BeginArgs {
    Tensor sample_weights;     // [N] float32
    const void* labels;        // [N, T]
    int labels_dtype, has_ignore_index;
    i64 ignore_index;
    i64 rows, num_true;
    int mean, pad;             // 1: reduction mean
    const DrawInfo* info;      // NULL: the candidates were not drawn in this call
    KeysArgs candidates, label_keys;
    TrueCountsArgs true_counts;  // of no labels where they were not drawn in this call
    Control* control;
};

// rows: for each row its state, true logits (float64, natural base) and accidental hits.
struct RowsArgs {
    Tensor inputs, weights, biases, sample_weights;
    const void* labels;
    int labels_dtype, has_ignore_index;
    i64 ignore_index;
    i64 rows, num_true, num_classes;
    int dim, counts_double;
    const void* true_counts;   // [N, T]
    const u64* keys;           // [S] of the candidates, ascending
    int index_bits, num_sampled, mask_hits;
    int grad_stride;           // elements from one row's upstream gradient to the next: 1 or 0
    const float* grad_output;  // NULL: 1. Read only where `backward`
    int backward, pad;         // 1: a row of upstream gradient 0 is idle
    unsigned char* state;      // [N]
    double* true_logits;       // [N, T]
    u32* hits;                 // [N, T] ascending, each once, NO_HIT behind the last
    float* row_add;            // [N] base 2: what exponentials of a row are taken from before its log-sum-exp is known,
                               // minus its largest true logit (0 if that is infinite); -inf where the row is not live.
                               // NULL: not wanted
    Control* control;
};

// How many of the flagged elements of a list come before each: in its block of RANK_BLOCK, and in blocks before.
struct Ranks {
    u32* within;               // [count + 1]
    u32* before;               // [rank_blocks(count)]
};

// index: hits of the columns, for the pass in which classes are rows, and the rows that classes have in the sparse
// gradient. list[i] is the row of the i-th sorted label (a row that repeats a label stands there as often); begin and
// end [S] the ranges of each column's class, empty where the column is off. heads counts the distinct candidates, news
// the distinct labels that are no candidate. sum_ranks fills in `before` and `num_rows`.
struct IndexArgs {
    const u64* keys;           // [S]
    const u64* label_keys;     // [labels], ascending
    i64 labels, num_true;
    int num_sampled, index_bits, label_bits, pad;
    u32* list;                 // NULL: hits are not masked
    u32 *begin, *end;
    Ranks heads, news;
    Control* control;
    i64* num_rows;             // the caller's; NULL for dense
};

// prepare: all of these, each by blocks of its own.
struct PrepareArgs {
    ColumnsArgs columns;
    RowsArgs rows;
    PackArgs pack;
    IndexArgs index;
    i64 column_blocks, row_blocks, pack_blocks;  // what is left is the index's
};

// ---- loss.cuh ---------------------------------------------------------------------------------------

// What some rows add to the batch: the sum of their losses times weights, the largest finite |coefficient|, whether
// one is bad.
struct RowTotals {
    double loss;
    float largest;
    u32 bad;
};

// finish_rows: from partials (or, in backward, the log-sum-exp that was kept) to the loss and what the gradients need,
// of rows `first` .. `first + rows` of the batch. With upstream g (weight and normaliser included), r_t = p_t / (p_t +
// floor), A = mean r_t:
//   row_add = -lse log2(e) rounded to float32; coefficient = g A exp2(what the rounding left)
//   part_factor[split] = g A exp2(m - lse log2(e))      ONLINE only
//   d_true[t] = g (A p_t - r_t / T)
// Where exponentials are stored (`redo`), row_add is what they were taken with and
//   coefficient = g A exp2(-row_add - lse log2(e))
// which makes gradients of them, if the exponent is small enough; else redo is 1, and row_add and coefficient are as
// above. And, with the last rows, from all rows to the loss as the caller wants it, the scales of 16-bit probabilities
// and the device status.
struct FinishRowsArgs {
    const float2* partial;     // [splits, rows]; NULL in backward
    int splits, online;
    const double* true_logits;
    unsigned char* state;      // bad candidates make every row bad that is not dead
    i64 first, rows, num_true;
    double floor;
    Tensor sample_weights;
    const float* grad_output;  // NULL: 1
    int grad_stride, gradients;  // gradients: 0, none are wanted
    int reduction;             // SSL_REDUCTION_*
    int half;                  // 1: P is stored in float16 and needs scales
    double* lse;               // [N], the caller's: written in forward where not NULL, read in backward
    float* loss;               // [N] or [1]; NULL in backward
    float* row_add;            // [N]
    float* coefficient;        // [N]
    float* part_factor;        // [splits, rows]
    float* d_true;             // [N, T]
    unsigned char* redo;       // [rows]; NULL: no exponentials are stored
    RowTotals* totals;         // [blocks]; this launch's begin at first_block
    int first_block, more;     // more: 1, launches for other rows follow
    u32* device_status;        // NULL: not wanted
    Control* control;
};

// ---- gradients.cuh ------------------------------------------------------------------------------------

// d_inputs: d_inputs[n] = sum_split factor[split * factor_stride + n] parts[split, n] * *unscale
//                         + sum_t d_true[n, t] weights[label]; 0 for rows that do not take part.
struct DInputsArgs {
    const float* parts;        // [splits, N, padded_dim]
    int splits, padded_dim;
    const float* factor;       // NULL: 1
    i64 factor_stride;         // 0: one factor for all splits
    const float* unscale;      // [1]; NULL is 1
    Tensor weights;
    const void* labels;
    int labels_dtype, dim;
    i64 first, rows, num_true; // rows `first` .. `first + rows` of the batch; parts begins with row `first`
    const float* d_true;       // [N, T]
    const unsigned char* state;
    void* out;                 // [N, d]
    i64 out_stride;
    int out_dtype, pad;
};

// merge_pieces, then merge_rows: the gradients of weights and biases, one row a class that has any: the
// column's parts and the labels' shares d_true[place] * inputs[place / T]. merge_pieces sums MERGE_PIECE
// sorted labels wherever all of them are one class, so that no class is one block's work.
constexpr int MERGE_PIECE = 64;
struct MergeRowsArgs {
    const u64* keys;
    const u64* label_keys;
    i64 labels, num_true;
    int num_sampled, index_bits, label_bits, sparse;
    Ranks heads, news;
    const float* parts;        // [splits, S, padded_dim]; NULL where d_weights is
    const float* sums;         // [sum_parts, S]; NULL where d_biases is
    float* pieces;             // [labels / MERGE_PIECE, padded_dim]; NULL where d_weights is
    int splits, sum_parts, dim, padded_dim;
    const float* unscale;      // [1]; NULL is 1
    Tensor inputs;
    const float* d_true;
    i64* row_ids;              // [capacity]; sparse only
    i64 capacity;
    void* d_weights;           // NULL: not wanted
    i64 d_weights_stride;
    void* d_biases;            // NULL: not wanted
    int d_weights_dtype, d_biases_dtype;
    const Control* control;
};

// update_rows, in the place of merge_rows: the sums move weights and biases (SSL_UPDATE_* of src/abi.rs) and are
// not written. Nothing moves where the candidates are at fault.
struct UpdateRowsArgs {
    MergeRowsArgs merge;       // d_weights and d_biases NULL; sparse where row_ids is not
    int rule;                  // SSL_UPDATE_*
    float rate, epsilon, decay;
    const float* rate_pointer; // [1], in place of `rate`; NULL: not used
    void* weights;             // [C, d]; NULL: they stay
    i64 weights_stride;
    void* biases;              // [C]; NULL: they stay
    int weights_dtype, biases_dtype;
    float* weights_state;      // [C, d] or, by rows, [C]; NULL for SGD
    i64 weights_state_stride;
    float* biases_state;       // [C]
};

// shares: ranks, pieces and d_inputs, each by blocks of its own.
struct SharesArgs {
    IndexArgs index;
    MergeRowsArgs merge;
    DInputsArgs d_inputs;
    i64 rank_blocks, piece_blocks;  // what is left is d_inputs'
};

// factors: what the rows' factors are applied to, each by blocks of its own: inputs packed for d_weights, and the
// stored exponentials for d_biases,
//   sums[row tile, c] = sum_r factor[r] e[r, c] over the rows of a tile of FACTORS_ROWS
// Rows of factor 0 are not looked at.
constexpr int FACTORS_ROWS = 128, FACTORS_COLS = 256;
struct FactorsArgs {
    PackArgs pack;
    const void* e[2];          // [rows, cols], of the type that `planes` and `dtype` of pack say
    i64 e_stride;              // elements, a multiple of 8
    int rows, cols;
    const float* factor;       // [rows]
    float* sums;               // [row tiles, cols]
    i64 pack_blocks;           // what is left are the sums'
};

// add_sums: total[c] (+)= sum_i parts[i, c]: the bias sums of one chunk of rows.
struct AddSumsArgs {
    const float* parts;        // [count, cols]
    float* total;              // [cols]
    int count, cols, accumulate, pad;
};

// ---- draw.cuh -----------------------------------------------------------------------------------------------

// draw_keys, a sort of `keys`, draw_firsts, draw_ids: a draw by the attempts of src/sampler/philox.rs.
struct DrawArgs {
    u64 key, step;
    const u64* step_pointer;   // [1], or NULL: the step is `step`, and one more with each replay
    i64 num_classes, attempts; // attempts made at once, a power of two
    int num_sampled, index_bits, law, unique;  // DrawLaw
    u64* keys;                 // [attempts]: class << index_bits | attempt, ~0 for none
    u32* marks;                // [attempts]
    i64* more;                 // [S]: classes that came later
    i64* ids;                  // [S], ascending
    DrawInfo* info;
};
