//! What `ssl_forward`, `ssl_backward` and `ssl_forward_backward` refuse: each with its
//! status, a message that names the argument and the numbers, and untouched outputs.

mod common;

use std::ptr::{null, null_mut};

use common::{Arguments, BF16, Call, Case, F32, F64, Failure, Random};
use sampled_softmax::abi::*;

/// N = 5, d = 4, C = 20, S = 8, T = 2: no two sizes or products of them are alike.
fn some_case() -> Case {
    let mut case = Case::random([5, 4, 20, 8, 2], &mut Random::new(1));
    case.sample_weights = Some(vec![1.0; 5]);
    case.grad_output = Some(vec![1.0; 5]);
    case
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Forward,
    Backward,
    ForwardBackward,
}

use Kind::{Backward, Forward, ForwardBackward};

const ALL: &[Kind] = &[Forward, Backward, ForwardBackward];
const GRADIENTS: &[Kind] = &[Backward, ForwardBackward];
const LOSSES: &[Kind] = &[Forward, ForwardBackward];

fn call(kind: Kind, arguments: &Arguments, call: &Call) -> Result<(), Failure> {
    match kind {
        Forward => arguments.forward(&call.handle),
        Backward => arguments.backward(&call.handle),
        ForwardBackward => arguments.forward_backward(&call.handle),
    }
}

/// Asserts that a case with changed arguments is refused by every call of `kinds`: with
/// `status`, with all of `words` in the message, with nothing written.
fn refused(case: &Case, kinds: &[Kind], status: i32, words: &[&str], change: impl Fn(&mut Arguments)) {
    for &kind in kinds {
        let mut attempt = Call::new(case);
        let before = attempt.outputs.clone();
        let mut arguments = attempt.arguments_for_all();
        change(&mut arguments);
        let failure = call(kind, &arguments, &attempt).expect_err(words[0]);
        assert_eq!(failure.status, status, "{kind:?}: {}", failure.message);
        for word in words {
            assert!(failure.message.contains(word), "{kind:?} lacks {word}: {}", failure.message);
        }
        assert_eq!(attempt.outputs, before, "{kind:?} wrote before it refused");
    }
}

#[test]
fn every_required_pointer() {
    let case = some_case();
    let null_of = |kinds: &[Kind], name: &str, change: fn(&mut Arguments)| {
        refused(&case, kinds, SSL_STATUS_NULL_POINTER, &[name, "NULL"], change);
    };
    null_of(ALL, "inputs", |a| a.batch.inputs = null());
    null_of(ALL, "weights", |a| a.batch.weights = null());
    null_of(ALL, "labels", |a| a.batch.labels = null());
    null_of(ALL, "ids", |a| a.candidates.ids = null_mut());
    null_of(ALL, "sampled_expected_count", |a| a.candidates.sampled_expected_count = null_mut());
    null_of(ALL, "true_expected_count", |a| a.candidates.true_expected_count = null_mut());
    null_of(ALL, "workspace", |a| a.workspace = null_mut());
    null_of(LOSSES, "loss", |a| a.loss.loss = null_mut());
    null_of(&[Backward], "log_sum_exp", |a| a.loss.log_sum_exp = null_mut());
    null_of(GRADIENTS, "row_ids", |a| a.gradients.row_ids = null_mut());
    null_of(GRADIENTS, "num_rows", |a| a.gradients.num_rows = null_mut());
    null_of(ALL, "avoid", |a| a.candidates.num_avoid = 3);
}

#[test]
fn pointers_off_their_alignment() {
    let case = some_case();
    let odd_of = |kinds: &[Kind], name: &str, change: fn(&mut Arguments)| {
        refused(&case, kinds, SSL_STATUS_ALIGNMENT, &[name, "multiple of"], change);
    };
    odd_of(ALL, "inputs", |a| a.batch.inputs = a.batch.inputs.wrapping_byte_add(2));
    odd_of(ALL, "weights", |a| a.batch.weights = a.batch.weights.wrapping_byte_add(1));
    odd_of(ALL, "biases", |a| a.batch.biases = a.batch.biases.wrapping_byte_add(3));
    odd_of(ALL, "labels", |a| a.batch.labels = a.batch.labels.wrapping_byte_add(4));
    odd_of(ALL, "sample_weights", |a| {
        a.batch.sample_weights = a.batch.sample_weights.wrapping_byte_add(2);
    });
    odd_of(ALL, "ids", |a| a.candidates.ids = a.candidates.ids.wrapping_byte_add(4));
    odd_of(ALL, "sampled_expected_count", |a| {
        let counts = &mut a.candidates.sampled_expected_count;
        *counts = counts.wrapping_byte_add(2);
    });
    odd_of(ALL, "true_expected_count", |a| {
        let counts = &mut a.candidates.true_expected_count;
        *counts = counts.wrapping_byte_add(1);
    });
    odd_of(LOSSES, "loss", |a| a.loss.loss = a.loss.loss.wrapping_byte_add(2));
    odd_of(ALL, "log_sum_exp", |a| a.loss.log_sum_exp = a.loss.log_sum_exp.wrapping_byte_add(4));
    odd_of(ALL, "device_status", |a| {
        a.loss.device_status = a.loss.device_status.wrapping_byte_add(1);
    });
    let gradient = |name: &str, change: fn(&mut ssl_gradients)| {
        refused(&case, GRADIENTS, SSL_STATUS_ALIGNMENT, &[name, "multiple of"], |a| {
            change(&mut a.gradients);
        });
    };
    gradient("grad_output", |g| g.grad_output = g.grad_output.wrapping_byte_add(2));
    gradient("d_inputs", |g| g.d_inputs = g.d_inputs.wrapping_byte_add(1));
    gradient("d_weights", |g| g.d_weights = g.d_weights.wrapping_byte_add(2));
    gradient("d_biases", |g| g.d_biases = g.d_biases.wrapping_byte_add(3));
    gradient("row_ids", |g| g.row_ids = g.row_ids.wrapping_byte_add(4));
    gradient("num_rows", |g| g.num_rows = g.num_rows.wrapping_byte_add(4));
}

#[test]
fn workspace_one_byte_short() {
    let case = some_case();
    for (kind, index) in [(Forward, 0), (Backward, 1), (ForwardBackward, 1)] {
        let need = Call::new(&case).workspace_sizes()[index];
        let (need_text, got_text) = (need.to_string(), (need - 1).to_string());
        let words = ["workspace", &need_text[..], &got_text[..]];
        refused(&case, &[kind], SSL_STATUS_WORKSPACE, &words, |a| a.workspace_size = need - 1);
        refused(&case, &[kind], SSL_STATUS_WORKSPACE, &["workspace", "0"], |a| a.workspace_size = 0);
    }
}

#[test]
fn unknown_enumerations() {
    let case = some_case();
    let unknown = |kinds: &[Kind], status: i32, name: &str, change: fn(&mut Arguments)| {
        refused(&case, kinds, status, &[name, "77"], change);
    };
    let (value, dtype) = (SSL_STATUS_INVALID_VALUE, SSL_STATUS_DTYPE);
    unknown(ALL, dtype, "inputs_dtype", |a| a.batch.inputs_dtype = 77);
    unknown(ALL, dtype, "weights_dtype", |a| a.batch.weights_dtype = 77);
    unknown(ALL, dtype, "biases_dtype", |a| a.batch.biases_dtype = 77);
    unknown(ALL, value, "labels_dtype", |a| a.batch.labels_dtype = 77);
    unknown(ALL, value, "has_ignore_index", |a| a.batch.has_ignore_index = 77);
    unknown(ALL, value, "source", |a| a.candidates.source = 77);
    unknown(ALL, dtype, "counts_dtype", |a| a.candidates.counts_dtype = 77);
    unknown(GRADIENTS, value, "layout", |a| a.gradients.layout = 77);
    unknown(GRADIENTS, dtype, "d_inputs_dtype", |a| a.gradients.d_inputs_dtype = 77);
    unknown(GRADIENTS, dtype, "d_weights_dtype", |a| a.gradients.d_weights_dtype = 77);
    unknown(GRADIENTS, dtype, "d_biases_dtype", |a| a.gradients.d_biases_dtype = 77);
    unknown(ALL, value, "reserved", |a| a.candidates.reserved = 77);
    unknown(ALL, value, "reserved", |a| a.loss.reserved = 77);
    unknown(GRADIENTS, value, "reserved", |a| a.gradients.reserved = 77);
}

#[test]
fn float64_for_some_tensors_only() {
    let case = some_case();
    let mixed = |kinds: &[Kind], name: &str, change: fn(&mut Arguments)| {
        refused(&case, kinds, SSL_STATUS_DTYPE, &[name, "float64"], change);
    };
    mixed(ALL, "weights_dtype", |a| a.batch.weights_dtype = F64);
    mixed(ALL, "biases_dtype", |a| a.batch.biases_dtype = F64);
    mixed(GRADIENTS, "d_inputs_dtype", |a| a.gradients.d_inputs_dtype = F64);
    mixed(GRADIENTS, "d_weights_dtype", |a| a.gradients.d_weights_dtype = F64);
    mixed(GRADIENTS, "d_biases_dtype", |a| a.gradients.d_biases_dtype = F64);
    let mut double = some_case();
    double.types = common::Types::all(F64);
    refused(&double, ALL, SSL_STATUS_DTYPE, &["float64"], |a| a.batch.weights_dtype = F32);
    refused(&double, ALL, SSL_STATUS_DTYPE, &["float64"], |a| a.batch.inputs_dtype = F32);
    refused(&double, GRADIENTS, SSL_STATUS_DTYPE, &["float64"], |a| {
        a.gradients.d_inputs_dtype = BF16;
    });
    refused(&double, ALL, SSL_STATUS_DTYPE, &["counts_dtype"], |a| a.candidates.counts_dtype = BF16);
}

#[test]
fn impossible_sizes_and_strides() {
    let case = some_case();
    let shape = |kinds: &[Kind], words: &[&str], change: fn(&mut Arguments)| {
        refused(&case, kinds, SSL_STATUS_SHAPE, words, change);
    };
    shape(ALL, &["num_rows", "-1"], |a| a.batch.num_rows = -1);
    shape(ALL, &["dim", "0"], |a| a.batch.dim = 0);
    shape(ALL, &["dim", "-4"], |a| a.batch.dim = -4);
    shape(ALL, &["inputs_stride", "3", "4"], |a| a.batch.inputs_stride = 3);
    shape(ALL, &["weights_stride", "3", "4"], |a| a.batch.weights_stride = 3);
    shape(ALL, &["weights_stride", "-8"], |a| a.batch.weights_stride = -8);
    shape(ALL, &["num_avoid", "-2"], |a| a.candidates.num_avoid = -2);
    shape(GRADIENTS, &["d_inputs_stride", "3", "4"], |a| a.gradients.d_inputs_stride = 3);
    shape(GRADIENTS, &["d_weights_stride", "1", "4"], |a| a.gradients.d_weights_stride = 1);
    shape(GRADIENTS, &["row_capacity", "17", "18"], |a| a.gradients.row_capacity = 17);
    shape(GRADIENTS, &["row_capacity", "-1"], |a| a.gradients.row_capacity = -1);
}

/// Products near 2^63 must not wrap to something small.
#[test]
fn shapes_that_overflow() {
    let case = some_case();
    let huge = [i64::MAX, i64::MAX / 2, 1 << 62, 1 << 61, 1 << 60, (1 << 60) + 1];
    for size in huge {
        let number = size.to_string();
        refused(&case, ALL, SSL_STATUS_SHAPE, &["num_rows"], |a| a.batch.num_rows = size);
        refused(&case, ALL, SSL_STATUS_SHAPE, &["dim"], |a| a.batch.dim = size);
        let strides = |kinds, name: &str, change: fn(&mut Arguments, i64)| {
            refused(&case, kinds, SSL_STATUS_SHAPE, &[name, &number], |a| change(a, size));
        };
        strides(ALL, "inputs", |a, size| a.batch.inputs_stride = size);
        strides(ALL, "weights", |a, size| a.batch.weights_stride = size);
        strides(GRADIENTS, "d_inputs", |a, size| a.gradients.d_inputs_stride = size);
        strides(GRADIENTS, "d_weights", |a, size| a.gradients.d_weights_stride = size);
        strides(GRADIENTS, "row_ids", |a, size| a.gradients.row_capacity = size);
        strides(ALL, "avoid", |a, size| a.candidates.num_avoid = size);
    }
    // A stride between no rows is a stride nevertheless.
    let mut empty = some_case();
    (empty.rows, empty.inputs, empty.labels) = (0, Vec::new(), Vec::new());
    (empty.true_expected_count, empty.sample_weights, empty.grad_output) = (Vec::new(), None, None);
    refused(&empty, ALL, SSL_STATUS_SHAPE, &["inputs"], |a| a.batch.inputs_stride = i64::MAX - 1);
    refused(&empty, GRADIENTS, SSL_STATUS_SHAPE, &["d_inputs"], |a| {
        a.gradients.d_inputs_stride = i64::MAX - 1;
    });
    // Each size alone is harmless, their product is not.
    refused(&case, ALL, SSL_STATUS_SHAPE, &["num_rows", "dim"], |a| {
        (a.batch.num_rows, a.batch.dim) = (1 << 31, 1 << 31);
    });
}

#[test]
fn stream_on_the_cpu() {
    refused(&some_case(), ALL, SSL_STATUS_INVALID_VALUE, &["stream", "0x1"], |a| {
        a.stream = std::ptr::without_provenance_mut(1);
    });
}

/// Drawing is what a caller-fed sampler cannot do.
#[test]
fn drawing_without_a_sampler() {
    refused(&some_case(), LOSSES, SSL_STATUS_INVALID_VALUE, &["SSL_SAMPLER_CALLER"], |a| {
        a.candidates.source = SSL_CANDIDATES_DRAW;
    });
}
