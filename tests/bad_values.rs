//! Labels, candidates and expected counts that are refused before anything is written,
//! and buffers that share memory.

mod common;

use common::{Arguments, Buffer, Call, Case, F64, Failure, Random, Types};
use libc::c_void;
use sampled_softmax::abi::*;

fn some_case(num_true: usize) -> Case {
    Case::random([5, 4, 70, 8, num_true], &mut Random::new(1))
}

/// Runs all three calls; each must fail alike and write nothing.
fn failure_of(case: &Case, change: impl Fn(&mut Arguments)) -> Failure {
    let failures = [0, 1, 2].map(|kind| {
        let mut call = Call::new(case);
        let before = call.outputs.clone();
        let mut arguments = call.arguments_for_all();
        change(&mut arguments);
        let result = match kind {
            0 => arguments.forward(&call.handle),
            1 => arguments.backward(&call.handle),
            _ => arguments.forward_backward(&call.handle),
        };
        assert_eq!(call.outputs, before, "written before it was refused");
        result.expect_err("a refusal")
    });
    assert!(failures.iter().all(|failure| *failure == failures[0]), "{failures:?}");
    failures[0].clone()
}

fn assert_message(failure: &Failure, status: i32, message: &str) {
    assert_eq!(failure.status, status, "{}", failure.message);
    assert!(failure.message.contains(message), "{} lacks {message}", failure.message);
}

#[test]
fn labels_outside_the_classes() {
    for label in [71, 70, -1, i64::MAX, i64::MIN] {
        let mut case = some_case(1);
        case.labels[3] = label;
        let message = format!("labels[3] = {label} is outside [0, 70)");
        assert_message(&failure_of(&case, |_| ()), SSL_STATUS_LABEL_RANGE, &message);
    }
}

#[test]
fn labels_outside_the_classes_in_int32() {
    for label in [70, -1, i64::from(i32::MAX), i64::from(i32::MIN)] {
        let mut case = some_case(1);
        case.types.labels = SSL_LABELS_INT32;
        case.labels[4] = label;
        let message = format!("labels[4] = {label} is outside [0, 70)");
        assert_message(&failure_of(&case, |_| ()), SSL_STATUS_LABEL_RANGE, &message);
    }
}

#[test]
fn labels_outside_the_classes_are_named_by_row_and_column() {
    let mut case = some_case(3);
    case.labels[2 * 3 + 1] = 99;
    let message = "labels[2, 1] = 99 is outside [0, 70)";
    assert_message(&failure_of(&case, |_| ()), SSL_STATUS_LABEL_RANGE, message);
}

/// A row of weight 0 adds nothing, but what is no class is an error all the same.
#[test]
fn labels_of_weightless_rows_are_checked_too() {
    let mut case = some_case(1);
    case.sample_weights = Some(vec![0.0; 5]);
    case.labels[3] = 70;
    assert_message(&failure_of(&case, |_| ()), SSL_STATUS_LABEL_RANGE, "labels[3] = 70");
}

#[test]
fn rows_with_some_labels_ignored() {
    for (column, label) in [(0, -1), (1, -1), (2, -1)] {
        let mut case = some_case(3);
        case.ignore_index = Some(-1);
        case.labels[4 * 3 + column] = label;
        let failure = failure_of(&case, |_| ());
        assert_message(&failure, SSL_STATUS_INVALID_VALUE, "labels[4, ");
        assert!(failure.message.contains("-1"), "{}", failure.message);
        assert!(failure.message.contains("ignore_index"), "{}", failure.message);
    }
}

#[test]
fn ignore_index_that_is_not_in_force() {
    let mut case = some_case(1);
    case.labels[1] = -100;
    let change = |a: &mut Arguments| a.batch.ignore_index = -100;
    let message = "labels[1] = -100 is outside [0, 70)";
    assert_message(&failure_of(&case, change), SSL_STATUS_LABEL_RANGE, message);
}

#[test]
fn given_ids_outside_the_classes() {
    for id in [70, -1, i64::MIN, i64::MAX] {
        let mut case = some_case(1);
        case.ids[6] = id;
        let message = format!("ids[6] = {id} is outside [0, 70)");
        assert_message(&failure_of(&case, |_| ()), SSL_STATUS_LABEL_RANGE, &message);
    }
}

#[test]
fn expected_counts_without_a_logarithm() {
    for count in [0.0, -0.0, -1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for types in [Types::all(common::F32), Types::all(F64)] {
            let mut case = Case { types, ..some_case(1) };
            case.sampled_expected_count[7] = count;
            let message = format!("sampled_expected_count[7] = {count}");
            assert_message(&failure_of(&case, |_| ()), SSL_STATUS_EXPECTED_COUNT, &message);

            let mut case = Case { types, ..some_case(1) };
            case.true_expected_count[2] = count;
            let message = format!("true_expected_count[2] = {count}");
            assert_message(&failure_of(&case, |_| ()), SSL_STATUS_EXPECTED_COUNT, &message);
        }
    }
    let mut case = some_case(2);
    case.true_expected_count[2 * 2 + 1] = 0.0;
    let message = "true_expected_count[2, 1] = 0";
    assert_message(&failure_of(&case, |_| ()), SSL_STATUS_EXPECTED_COUNT, message);
}

/// A label whose class the sampler never draws has Q = 0. `ssl_forward` draws and finds
/// it before it writes a candidate.
#[test]
fn reserved_class_as_label() {
    let mut case = some_case(1);
    case.labels[2] = 1;
    let weights = [1.0; 68];
    let config = ssl_config {
        sampler: SSL_SAMPLER_FIXED_UNIGRAM,
        unigrams: weights.as_ptr(),
        num_unigrams: 68,
        num_reserved_ids: 2,
        ..case.config()
    };
    let handle = std::sync::Arc::new(common::Handle::create(&config).unwrap());
    let mut call = Call::drawing(&case, handle, 0);
    let before = call.outputs.clone();
    for result in [call.forward(), call.forward_backward(), call.sample()] {
        assert_message(&result.unwrap_err(), SSL_STATUS_EXPECTED_COUNT, "labels[2] = 1");
    }
    assert_eq!(call.outputs, before);
}

/// Asserts that two arrays put into one piece of memory are refused: `change` gets its
/// address, with room for any of them.
fn assert_overlap(first: &str, second: &str, change: impl Fn(&mut Arguments, *mut c_void)) {
    let mut case = some_case(1);
    case.types = Types::all(F64);
    case.sample_weights = Some(vec![1.0; 5]);
    case.grad_output = Some(vec![1.0; 5]);
    let mut call = Call::new(&case);
    let before = call.outputs.clone();
    let mut arguments = call.arguments_with_workspace(1);
    let mut joint = Buffer::untouched(F64, 1024 + arguments.workspace_size / 8);
    let untouched = joint.clone();
    change(&mut arguments, joint.pointer());
    let failure = arguments.forward_backward(&call.handle).unwrap_err();
    assert_message(&failure, SSL_STATUS_OVERLAP, first);
    assert_message(&failure, SSL_STATUS_OVERLAP, second);
    assert_eq!((call.outputs, joint), (before, untouched));
}

#[test]
fn outputs_that_overlap_inputs() {
    assert_overlap("inputs", "d_inputs", |a, joint| {
        (a.batch.inputs, a.gradients.d_inputs) = (joint, joint);
    });
    assert_overlap("weights", "d_weights", |a, joint| {
        (a.batch.weights, a.gradients.d_weights) = (joint, joint);
    });
    assert_overlap("biases", "d_biases", |a, joint| {
        (a.batch.biases, a.gradients.d_biases) = (joint, joint);
    });
    assert_overlap("labels", "row_ids", |a, joint| {
        (a.batch.labels, a.gradients.row_ids) = (joint, joint.cast());
    });
    assert_overlap("sample_weights", "loss", |a, joint| {
        (a.batch.sample_weights, a.loss.loss) = (joint, joint);
    });
    assert_overlap("ids", "row_ids", |a, joint| {
        (a.candidates.ids, a.gradients.row_ids) = (joint.cast(), joint.cast());
    });
    assert_overlap("grad_output", "loss", |a, joint| {
        (a.gradients.grad_output, a.loss.loss) = (joint, joint);
    });
    assert_overlap("sampled_expected_count", "log_sum_exp", |a, joint| {
        (a.candidates.sampled_expected_count, a.loss.log_sum_exp) = (joint, joint.cast());
    });
}

#[test]
fn outputs_that_overlap_one_another() {
    assert_overlap("loss", "log_sum_exp", |a, joint| {
        (a.loss.loss, a.loss.log_sum_exp) = (joint, joint.cast());
    });
    assert_overlap("d_weights", "d_biases", |a, joint| {
        (a.gradients.d_weights, a.gradients.d_biases) = (joint, joint);
    });
    // Of 13 row ids, the last.
    assert_overlap("row_ids", "num_rows", |a, joint| {
        a.gradients.row_ids = joint.cast();
        a.gradients.num_rows = joint.wrapping_byte_add(12 * 8).cast();
    });
    // The last of 20 elements of one is the first of the other.
    assert_overlap("d_inputs", "d_weights", |a, joint| {
        a.gradients.d_inputs = joint;
        a.gradients.d_weights = joint.wrapping_byte_add(19 * 8);
    });
}

#[test]
fn workspace_that_overlaps_an_array() {
    assert_overlap("workspace", "inputs", |a, joint| {
        (a.workspace, a.batch.inputs) = (joint, joint.wrapping_byte_add(64));
    });
    assert_overlap("workspace", "loss", |a, joint| {
        (a.workspace, a.loss.loss) = (joint, joint);
    });
    // The last byte of the workspace is the first of the gradient.
    assert_overlap("workspace", "d_inputs", |a, joint| {
        let bytes = (a.workspace_size - 1) / 8 * 8;
        (a.workspace, a.gradients.d_inputs) = (joint, joint.wrapping_byte_add(bytes));
    });
}

#[test]
fn arrays_that_only_touch_are_no_overlap() {
    let case = some_case(1);
    let mut call = Call::new(&case);
    let mut arguments = call.arguments_with_workspace(1);
    let mut joint = Buffer::untouched(common::F32, 5 + 20);
    arguments.loss.loss = joint.pointer();
    arguments.gradients.d_inputs = joint.pointer().wrapping_byte_add(5 * 4);
    arguments.forward_backward(&call.handle).unwrap();
    let mut apart = Call::new(&case);
    apart.forward_backward().unwrap();
    assert_eq!(joint.values()[..5], apart.outputs.loss.values());
    assert_eq!(joint.values()[5..], apart.outputs.d_inputs.values());
}

/// Columns of one matrix, side by side, share no element.
#[test]
fn interleaved_columns_do_not_overlap() {
    let mut case = some_case(1);
    case.gaps.inputs = 4;
    case.gaps.d_inputs = 4;
    let mut call = Call::new(&case);
    // Inputs in columns 0 to 3, their gradient in columns 4 to 7.
    let mut joint = Buffer::untouched(common::F32, 5 * 8);
    for (index, &value) in case.inputs.iter().enumerate() {
        joint.set(index / 4 * 8 + index % 4, value);
    }
    let mut arguments = call.arguments_with_workspace(1);
    arguments.batch.inputs = joint.pointer();
    arguments.gradients.d_inputs = joint.pointer().wrapping_byte_add(16);
    arguments.forward_backward(&call.handle).unwrap();
    let gradient: Vec<f64> = (0..20).map(|i| joint.get(i / 4 * 8 + 4 + i % 4)).collect();
    let mut apart = Call::new(&case);
    apart.forward_backward().unwrap();
    assert_eq!(gradient, apart.outputs.d_inputs.dense_rows(5, 4, 4));
}
