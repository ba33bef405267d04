//! The C types and constants: the only file, beside `capi`, that cbindgen reads.
//!
//! Every struct begins with `struct_size`; zero is the default of every field;
//! fields are only ever appended. Enumerations cross the boundary as `uint32_t`.
#![allow(non_camel_case_types)]

use libc::{c_char, c_void};

/// Version of this header. `ssl_version()` gives the version of the library.
pub const SSL_ABI_VERSION_MAJOR: u32 = 0;
/// Raised when a function or a field is appended.
pub const SSL_ABI_VERSION_MINOR: u32 = 2;
/// Raised when only behaviour is mended.
pub const SSL_ABI_VERSION_PATCH: u32 = 0;

/// Result of every call. `status / 1000` is its category: 0 success, 1 bad
/// argument, 2 unsupported, 3 resource, 4 device, 9 internal.
pub type ssl_status = i32;

/// Success.
pub const SSL_STATUS_OK: i32 = 0;
/// A field or argument has a value outside its documented set.
pub const SSL_STATUS_INVALID_VALUE: i32 = 1000;
/// A required pointer is NULL.
pub const SSL_STATUS_NULL_POINTER: i32 = 1001;
/// `struct_size` is impossible, or a newer struct sets fields this library lacks.
pub const SSL_STATUS_STRUCT_SIZE: i32 = 1002;
/// A size, stride or product of sizes is out of range.
pub const SSL_STATUS_SHAPE: i32 = 1003;
/// An unknown dtype, or a combination of dtypes that has no meaning.
pub const SSL_STATUS_DTYPE: i32 = 1004;
/// A pointer is not aligned to its element type.
pub const SSL_STATUS_ALIGNMENT: i32 = 1005;
/// The workspace is smaller than `ssl_workspace_size` says.
pub const SSL_STATUS_WORKSPACE: i32 = 1006;
/// A label or candidate lies outside `[0, num_classes)`.
pub const SSL_STATUS_LABEL_RANGE: i32 = 1007;
/// An expected count is zero, negative or not finite, so its logarithm has no use.
pub const SSL_STATUS_EXPECTED_COUNT: i32 = 1008;
/// Two buffers overlap, at least one of which would be written.
pub const SSL_STATUS_OVERLAP: i32 = 1009;
/// The requested backend is not in this library or cannot run on this machine.
pub const SSL_STATUS_NO_BACKEND: i32 = 2001;
/// The device's architecture has no kernels in this library.
pub const SSL_STATUS_ARCHITECTURE: i32 = 2002;
/// The call cannot be captured into a CUDA graph.
pub const SSL_STATUS_GRAPH_CAPTURE: i32 = 2003;
/// Host memory ran out, or the system refused a thread.
pub const SSL_STATUS_HOST_MEMORY: i32 = 3001;
/// Device memory ran out.
pub const SSL_STATUS_DEVICE_MEMORY: i32 = 3002;
/// A file could not be read.
pub const SSL_STATUS_FILE: i32 = 3003;
/// A kernel could not be launched.
pub const SSL_STATUS_LAUNCH: i32 = 4001;
/// The device failed; every handle on it is unusable.
pub const SSL_STATUS_DEVICE_LOST: i32 = 4002;
/// A defect in this library was caught before it reached the caller.
pub const SSL_STATUS_PANIC: i32 = 9001;

/// The CPU engine: host pointers, `stream` must be NULL.
pub const SSL_BACKEND_CPU: u32 = 0;
/// The CUDA engine: device pointers, `stream` is a `CUstream` or `cudaStream_t`.
pub const SSL_BACKEND_CUDA: u32 = 1;

/// IEEE binary32.
pub const SSL_DTYPE_FLOAT32: u32 = 0;
/// IEEE binary16.
pub const SSL_DTYPE_FLOAT16: u32 = 1;
/// bfloat16: the upper half of a binary32.
pub const SSL_DTYPE_BFLOAT16: u32 = 2;
/// IEEE binary64; on the CPU engine only, and for all tensors of a call or none.
pub const SSL_DTYPE_FLOAT64: u32 = 3;

/// Labels are `int64_t`.
pub const SSL_LABELS_INT64: u32 = 0;
/// Labels are `int32_t`.
pub const SSL_LABELS_INT32: u32 = 1;

/// P(k) = 1 / C.
pub const SSL_SAMPLER_UNIFORM: u32 = 0;
/// P(k) = ln((k + 2) / (k + 1)) / ln(C + 1): Zipf's law for classes numbered from
/// the most frequent to the least.
pub const SSL_SAMPLER_LOG_UNIFORM: u32 = 1;
/// P(k) proportional to weight^distortion, the weights from memory or a file. A class
/// of weight 0 or a reserved id is never drawn, and as a label it is an error.
pub const SSL_SAMPLER_FIXED_UNIGRAM: u32 = 2;
/// P(k) proportional to 1 + how often k has been a label.
pub const SSL_SAMPLER_LEARNED_UNIGRAM: u32 = 3;
/// Every class once: ids 0 .. C-1 and Q = 1, the full softmax. Needs S = C.
pub const SSL_SAMPLER_ALL: u32 = 4;
/// The caller brings ids and expected counts with every batch.
pub const SSL_SAMPLER_CALLER: u32 = 5;

/// Draw distinct classes.
pub const SSL_SAMPLING_UNIQUE: u32 = 0;
/// Draw independently; a class may come more than once.
pub const SSL_SAMPLING_REPLACEMENT: u32 = 1;

/// xoshiro256++, a stream that the host reads in order, for both engines.
pub const SSL_GENERATOR_XOSHIRO: u32 = 0;
/// Philox4x32-10, a function of a counter: a CUDA handle draws on the device, on the stream
/// and without the host, the ids that a CPU handle draws. For `SSL_SAMPLER_UNIFORM` and
/// `SSL_SAMPLER_LOG_UNIFORM`, without exclusions; distinct classes must be all, or so few that
/// drawing until they have come is the way (uniform: at most 3/4 of C).
pub const SSL_GENERATOR_PHILOX: u32 = 1;

/// TensorFlow's expected count: `-expm1(tries * log1p(-p))`, tries being the draws
/// that were needed; `S * p` where no draw was rejected or with replacement. 1, under
/// either rule, where every class that may be drawn is.
pub const SSL_COUNTS_TF: u32 = 0;
/// The inclusion probability itself, where a closed form exists (uniform: S / C);
/// elsewhere as `SSL_COUNTS_TF`.
pub const SSL_COUNTS_EXACT: u32 = 1;

/// A sampled class that is one of a row's labels is left out of that row.
pub const SSL_HITS_MASK: u32 = 0;
/// Such a class stays in as a negative.
pub const SSL_HITS_KEEP: u32 = 1;
/// The sampler draws no class that is a label of any row of the batch
/// (MindSpore's meaning). Candidates that the caller brings are masked as above.
pub const SSL_HITS_EXCLUDE: u32 = 2;

/// One loss a row.
pub const SSL_REDUCTION_NONE: u32 = 0;
/// sum of weight * loss over sum of weights; ignored rows count in neither. 0 if
/// there is nothing to average.
pub const SSL_REDUCTION_MEAN: u32 = 1;
/// sum of weight * loss.
pub const SSL_REDUCTION_SUM: u32 = 2;

/// What a CUDA handle multiplies with where inputs and weights are not both bfloat16 or
/// both float16, which it takes as they are: what the environment's
/// `SAMPLED_SOFTMAX_PRECISION` says (`bf16x3`, `tf32` or `ieee`), else bf16x3.
/// Accumulation is in float32 always.
pub const SSL_PRECISION_DEFAULT: u32 = 0;
/// TensorFloat-32: errors of 2^-11 of the terms.
pub const SSL_PRECISION_TF32: u32 = 1;
/// float32 multiply-adds without tensor cores, for bfloat16 and float16 too.
pub const SSL_PRECISION_IEEE: u32 = 2;
/// Three products of bfloat16 halves: errors of some 2^-16.
pub const SSL_PRECISION_BF16X3: u32 = 3;

/// Draw the candidates and write them.
pub const SSL_CANDIDATES_DRAW: u32 = 0;
/// Read the candidates: the caller fills ids and expected counts.
pub const SSL_CANDIDATES_GIVEN: u32 = 1;

/// Weight gradients as unique ascending row ids and one summed row for each.
pub const SSL_GRADIENTS_SPARSE: u32 = 0;
/// Weight gradients added into arrays of the parameters' own shape.
pub const SSL_GRADIENTS_DENSE: u32 = 1;
/// No weight gradients: `ssl_update` moves the weights by them at once.
pub const SSL_GRADIENTS_UPDATE: u32 = 2;

/// w -= rate g.
pub const SSL_UPDATE_SGD: u32 = 0;
/// s += g^2, then w -= rate g / (sqrt(s) + epsilon); a state for each element (Duchi,
/// Hazan and Singer, 2011; `torch.optim.Adagrad` without decay of the rate).
pub const SSL_UPDATE_ADAGRAD: u32 = 1;
/// The same with one state for a row, to which the mean of the row's g^2 is added
/// (`rowwise_adagrad` of FBGEMM and TorchRec).
pub const SSL_UPDATE_ROW_ADAGRAD: u32 = 2;

/// What `ssl_create` makes. Copied; nothing of it need outlive the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ssl_config {
    /// `sizeof(ssl_config)`, set by SSL_INIT.
    pub struct_size: u32,
    /// `SSL_BACKEND_*`.
    pub backend: u32,
    /// Device ordinal of a CUDA handle, as the driver counts; 0 on the CPU.
    pub device: i32,
    /// Threads of a CPU handle, the caller's among them, 1024 at most. 0: the
    /// environment's `SAMPLED_SOFTMAX_NUM_THREADS`, else one for each core this
    /// process may use. The results do not depend on it, not even in their last bit.
    pub num_threads: u32,
    /// C, at least 1.
    pub num_classes: i64,
    /// S, at least 1; at most C when drawn classes are distinct.
    pub num_sampled: i64,
    /// T, from 1 to C. 0 means 1.
    pub num_true: i64,
    /// `SSL_SAMPLER_*`.
    pub sampler: u32,
    /// `SSL_SAMPLING_*`.
    pub sampling: u32,
    /// `SSL_COUNTS_*`.
    pub counts: u32,
    /// `SSL_HITS_*`.
    pub hits: u32,
    /// `SSL_REDUCTION_*`.
    pub reduction: u32,
    /// Must be 0.
    pub reserved: u32,
    /// With `rank` and a batch's `step`, all that decides a draw.
    pub seed: u64,
    /// Tells apart the workers of a data-parallel run that share a seed.
    pub rank: u64,
    /// Epsilon of MindSpore's form: loss = -mean_t ln(p_t + epsilon). 0, the
    /// default, is the exact loss; at most 1.
    pub probability_floor: f64,
    /// Weights of `SSL_SAMPLER_FIXED_UNIGRAM`, each finite and not negative; exclusive with
    /// `vocab_file`. The whole vocabulary, whatever the shard, without the reserved ids.
    pub unigrams: *const f64,
    /// Elements of `unigrams`.
    pub num_unigrams: i64,
    /// Path of a regular file, of text with one class a line, its weight in the last
    /// comma-separated field. UTF-8, NUL-terminated.
    pub vocab_file: *const c_char,
    /// Exponent applied to the weights; read only if `has_distortion`, else 1.
    pub distortion: f64,
    /// 0 or 1.
    pub has_distortion: u32,
    /// This shard's number, in `[0, num_shards)`.
    pub shard: u32,
    /// The sampler keeps the classes whose id modulo `num_shards` is `shard`, and
    /// numbers them anew from 0. 0 means 1.
    pub num_shards: u32,
    /// `SSL_PRECISION_*`. A CPU handle multiplies in float32, or in float64 where the inputs
    /// are, but takes inputs and weights that are both bfloat16 as they are where the machine
    /// has instructions for that, and for gradients returned in bfloat16 rounds those of the
    /// logits to it; with `SSL_PRECISION_IEEE` it does not.
    pub precision: u32,
    /// Classes put before those of the weights, with probability 0.
    pub num_reserved_ids: i64,
    /// Counts [C] that `SSL_SAMPLER_LEARNED_UNIGRAM` starts from, each at least 1,
    /// as `ssl_candidates.learned_counts` saved them. NULL: 1 for every class.
    pub learned_counts: *const i64,
    /// `SSL_GENERATOR_*`.
    pub generator: u32,
    /// Must be 0.
    pub reserved_too: u32,
}

/// What a loss is computed of. Read only. Forward and backward take the same one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ssl_batch {
    /// `sizeof(ssl_batch)`, set by SSL_INIT.
    pub struct_size: u32,
    /// `SSL_DTYPE_*` of `inputs`.
    pub inputs_dtype: u32,
    /// `SSL_DTYPE_*` of `weights`.
    pub weights_dtype: u32,
    /// `SSL_DTYPE_*` of `biases`.
    pub biases_dtype: u32,
    /// `SSL_LABELS_*`.
    pub labels_dtype: u32,
    /// 0 or 1: whether `ignore_index` is in force.
    pub has_ignore_index: u32,
    /// N, 0 or more.
    pub num_rows: i64,
    /// d, at least 1.
    pub dim: i64,
    /// `[N, d]`, the hidden vectors.
    pub inputs: *const c_void,
    /// Elements from one row of `inputs` to the next, at least d; 0 means d.
    pub inputs_stride: i64,
    /// `[C, d]`, one row a class.
    pub weights: *const c_void,
    /// Elements from one row of `weights` to the next, at least d; 0 means d.
    pub weights_stride: i64,
    /// `[C]`; NULL means no bias. -inf switches a class off.
    pub biases: *const c_void,
    /// `[N, T]`, each in `[0, C)`.
    pub labels: *const c_void,
    /// A row whose labels all equal this has loss 0 and gradient 0, and is left out
    /// of the mean.
    pub ignore_index: i64,
    /// `[N]`, multiplying the losses; NULL means 1. float32, or float64 where
    /// `inputs` is. A row of weight 0 adds nothing, not even NaN.
    pub sample_weights: *const c_void,
}

/// The sampled classes and how often each was to be expected. Written by a call that
/// draws, read by all others: keep it from forward to backward.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ssl_candidates {
    /// `sizeof(ssl_candidates)`, set by SSL_INIT.
    pub struct_size: u32,
    /// `SSL_CANDIDATES_*`. `ssl_backward` reads whatever this says.
    pub source: u32,
    /// `SSL_DTYPE_FLOAT32` or `SSL_DTYPE_FLOAT64`: the type of both expected counts.
    pub counts_dtype: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Which draw of the run: a draw is a function of (seed, step, rank) alone, and
    /// of the counts learned so far where the sampler learns.
    pub step: u64,
    /// `[S]`. Drawn ids ascend; given ids may come in any order and repeat.
    pub ids: *mut i64,
    /// `[S]`, Q of each candidate.
    pub sampled_expected_count: *mut c_void,
    /// `[N, T]`, Q of each label; 0 for ignored rows.
    pub true_expected_count: *mut c_void,
    /// Ids that must not be drawn, in any order, repeats allowed. May be NULL. This,
    /// `num_tries` and `learned_counts` are host memory on every backend.
    pub avoid: *const i64,
    /// Elements of `avoid`.
    pub num_avoid: i64,
    /// Optional, 1 element, written by a draw: how many tries it took. -1 from a CUDA
    /// handle whose draw waits for the labels on the stream, is captured, or is the device's.
    pub num_tries: *mut i64,
    /// Optional, `[C]`: the learned unigram sampler's counts after this call, for
    /// `ssl_config.learned_counts` of a later run. A CUDA handle, which learns on the
    /// stream, takes it in an `ssl_sample` that draws nothing only, once the stream's work
    /// is done.
    pub learned_counts: *mut i64,
    /// Where not NULL, 1 element: a draw reads its step there, and `step` must be 0. A CUDA
    /// handle reads it when the stream gets there, from memory of its device and only with
    /// `SSL_GENERATOR_PHILOX`; replays of a graph then draw what it says, not the steps that
    /// follow.
    pub step_pointer: *const u64,
}

/// The loss and what backward needs of it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ssl_loss {
    /// `sizeof(ssl_loss)`, set by SSL_INIT.
    pub struct_size: u32,
    /// Must be 0.
    pub reserved: u32,
    /// `[N]`, or `[1]` with a reduction, written. float32; float64 where `inputs` is.
    /// Not looked at by `ssl_backward`, where it may be NULL.
    pub loss: *mut c_void,
    /// `[N]`, always float64: the logarithm of each row's normaliser. Written by
    /// forward where not NULL, read by `ssl_backward`.
    pub log_sum_exp: *mut f64,
    /// Optional, 1 element on the device: 0, or the largest status that the device found:
    /// a label or a given id out of range, an expected count of 0, a draw that failed. The
    /// row's loss is then NaN and its gradient 0, and so are all rows' where a candidate
    /// is at fault. The CPU engine writes 0 and reports through the returned status.
    pub device_status: *mut u32,
}

/// The gradients and the upstream gradient. A NULL output is not computed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ssl_gradients {
    /// `sizeof(ssl_gradients)`, set by SSL_INIT.
    pub struct_size: u32,
    /// `SSL_GRADIENTS_*`. All give the same gradient.
    pub layout: u32,
    /// `SSL_DTYPE_*` of `d_inputs`; float64 exactly where `inputs` is.
    pub d_inputs_dtype: u32,
    /// `SSL_DTYPE_*` of `d_weights`; float64 exactly where `inputs` is.
    pub d_weights_dtype: u32,
    /// `SSL_DTYPE_*` of `d_biases`; float64 exactly where `inputs` is.
    pub d_biases_dtype: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Gradient of what follows the loss: `[N]`, or `[1]` with a reduction; NULL
    /// means 1. float32, or float64 where `inputs` is. A row whose upstream gradient
    /// is 0 has gradient 0, whatever it holds.
    pub grad_output: *const c_void,
    /// `[N, d]`, written. Of the weights as they were before an update.
    pub d_inputs: *mut c_void,
    /// Elements from one row of `d_inputs` to the next, at least d; 0 means d.
    pub d_inputs_stride: i64,
    /// Sparse: `[row_capacity, d]`, written. Dense: `[C, d]`, added into. Update: NULL.
    pub d_weights: *mut c_void,
    /// Elements from one row of `d_weights` to the next, at least d; 0 means d.
    pub d_weights_stride: i64,
    /// Sparse: `[row_capacity]`, written. Dense: `[C]`, added into. Update: NULL.
    pub d_biases: *mut c_void,
    /// Sparse, `[row_capacity]`: the classes that have a gradient, ascending,
    /// each once; -1 behind the last. Not looked at, like the two fields below, where
    /// both `d_weights` and `d_biases` are NULL. Update: the same, or NULL. Not for dense.
    /// A row of weight 0 lists its labels, with gradient 0; so does, on a CUDA device, one
    /// whose expected counts are at fault, not one whose labels are.
    pub row_ids: *mut i64,
    /// As `row_ids`, 1 element: how many rows were written. Values behind them are
    /// not touched.
    pub num_rows: *mut i64,
    /// Rows there is room for in `row_ids` and in sparse gradients; at least
    /// min(C, S + N * T).
    pub row_capacity: i64,
    /// Update only: what becomes of the weights.
    pub update: *const ssl_update,
}

/// A step of an optimizer, taken where the gradient is made: of the classes that
/// `SSL_GRADIENTS_SPARSE` would list, and of no others. Neither a gradient nor a pass over
/// all C classes costs anything. Weights and states change in place; a call that is refused
/// changes nothing. On a CUDA device rows whose labels are at fault count for nothing, rows
/// whose expected counts are as rows of weight 0, and where a candidate is at fault nothing
/// changes. A NaN among the inputs makes NaN of every
/// sampled class: whoever must prevent it looks at the loss between `ssl_forward` and
/// `ssl_backward`.
///
/// Arithmetic is that of the loss: float32, or float64 where `inputs` is; weights of 16 bits
/// are rounded to the nearest once. An element whose gradient and state are 0 stays where it
/// is, also with an `epsilon` of 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ssl_update {
    /// `sizeof(ssl_update)`, set by SSL_INIT.
    pub struct_size: u32,
    /// `SSL_UPDATE_*`.
    pub rule: u32,
    /// The rate. Finite, not negative; so for the two below.
    pub learning_rate: f64,
    /// 1 element in the type of the loss, read in place of `learning_rate` (then 0) when the
    /// weights change: in a CUDA graph each replay may have its own. NULL: not used.
    pub learning_rate_pointer: *const c_void,
    /// 0 for SGD.
    pub epsilon: f64,
    /// The gradient of a weight is first increased by this many times the weight (L2
    /// regularization, of the rows that are updated alone). Biases are left out.
    pub weight_decay: f64,
    /// `ssl_batch.weights`, with its dtype and stride, to be changed; NULL: they stay.
    pub weights: *mut c_void,
    /// `ssl_batch.biases` likewise.
    pub biases: *mut c_void,
    /// Adagrad: `[C, d]`; by rows: `[C]`; in the type of the loss, not negative. NULL where
    /// `weights` is, and for SGD.
    pub weights_state: *mut c_void,
    /// Elements from one row of the `[C, d]` state to the next, at least d; 0 means d. 0
    /// where the state is `[C]`.
    pub weights_state_stride: i64,
    /// `[C]`, of the biases.
    pub biases_state: *mut c_void,
}
