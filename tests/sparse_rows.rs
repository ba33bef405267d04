//! Row-sparse gradients: which classes they name, in which order, and what they leave
//! alone.

mod common;

use std::collections::BTreeSet;

use common::{Buffer, Call, Case, F32, Gaps, Random};
use proptest::prelude::*;
use sampled_softmax::abi::*;

/// The classes that a case's gradient has: its candidates and the labels that count.
fn touched(case: &Case) -> Vec<i64> {
    let rows = (0..case.rows).filter(|&row| !case.is_ignored(row));
    let labels = rows.flat_map(|row| &case.labels[row * case.num_true..][..case.num_true]);
    labels.chain(&case.ids).copied().collect::<BTreeSet<i64>>().into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_are_the_labels_and_candidates_ascending_and_once(
        shape in (0..20_usize, 1..5_usize, 1..200_usize, 1..60_usize, 1..4_usize),
        ignoring: bool,
        spare in 0..5_usize,
        seed: u64,
    ) {
        let (rows, dim, classes, sampled, num_true) = shape;
        let num_true = num_true.min(classes);
        let mut case = Case::random([rows, dim, classes, sampled, num_true], &mut Random::new(seed));
        case.gaps.d_weights = spare;
        if ignoring && rows > 0 {
            case.ignore_index = Some(-1);
            case.labels[..num_true].fill(-1);
        }
        let mut call = Call::new(&case);
        let capacity = case.row_capacity() + spare;
        call.outputs.row_ids = vec![i64::MIN; capacity];
        call.outputs.d_weights = Buffer::untouched_rows(F32, capacity, dim, spare);
        call.outputs.d_biases = Buffer::untouched(F32, capacity);
        call.forward_backward().unwrap();

        let expected = touched(&case);
        let outputs = &call.outputs;
        prop_assert_eq!(outputs.num_rows as usize, expected.len());
        prop_assert_eq!(&outputs.row_ids[..expected.len()], &expected[..]);
        prop_assert!(outputs.row_ids[expected.len()..].iter().all(|&id| id == -1));
        prop_assert!((expected.len()..capacity).all(|row| outputs.d_biases.is_untouched(row)));
        let behind = expected.len() * (dim + spare)..outputs.d_weights.len();
        prop_assert!(behind.into_iter().all(|index| outputs.d_weights.is_untouched(index)));
    }
}

#[test]
fn sparse_and_dense_gradients_are_the_same_numbers() {
    for seed in 0..5 {
        let case = Case::random([30, 7, 100, 40, 2], &mut Random::new(seed));
        let mut sparse = Call::new(&case);
        sparse.forward_backward().unwrap();
        let mut dense = Call::new(&Case { layout: SSL_GRADIENTS_DENSE, ..case.clone() });
        dense.outputs.d_weights = Buffer::new(F32, &[0.0; 700]);
        dense.outputs.d_biases = Buffer::new(F32, &[0.0; 100]);
        dense.forward_backward().unwrap();
        let sparse_gradients = common::weight_gradients(&sparse, &case);
        assert_eq!(sparse_gradients, common::weight_gradients(&dense, &dense.case));
        assert_eq!(sparse.outputs.d_inputs, dense.outputs.d_inputs);
    }
}

#[test]
fn dense_rows_of_other_classes_are_not_touched() {
    let mut case = Case::random([4, 3, 50, 6, 1], &mut Random::new(6));
    case.layout = SSL_GRADIENTS_DENSE;
    let mut call = Call::new(&case);
    call.outputs.d_weights = Buffer::untouched(F32, 150);
    call.outputs.d_biases = Buffer::untouched(F32, 50);
    call.forward_backward().unwrap();
    let touched = touched(&case);
    for class in (0..50).filter(|class| !touched.contains(class)) {
        let class = class as usize;
        assert!(call.outputs.d_biases.is_untouched(class));
        assert!((0..3).all(|k| call.outputs.d_weights.is_untouched(class * 3 + k)));
    }
}

#[test]
fn null_gradients_are_left_out_and_the_others_keep_their_bits() {
    for layout in [SSL_GRADIENTS_SPARSE, SSL_GRADIENTS_DENSE] {
        let mut case = Case::random([25, 9, 60, 30, 2], &mut Random::new(7));
        case.layout = layout;
        case.gaps = Gaps { d_weights: 3, ..Gaps::default() };
        let mut whole = Call::new(&case);
        whole.forward_backward().unwrap();
        for left_out in 1..8_u32 {
            let mut call = Call::new(&case);
            let untouched = call.outputs.clone();
            let mut arguments = call.arguments_with_workspace(1);
            let gradients = &mut arguments.gradients;
            let null = std::ptr::null_mut();
            let [inputs, weights, biases] = [1, 2, 4].map(|bit| left_out & bit != 0);
            for (left_out, pointer) in [
                (inputs, &mut gradients.d_inputs),
                (weights, &mut gradients.d_weights),
                (biases, &mut gradients.d_biases),
            ] {
                if left_out {
                    *pointer = null;
                }
            }
            arguments.forward_backward(&call.handle).unwrap();
            let expected = |left_out, whole: &Buffer, untouched: &Buffer| {
                if left_out { untouched.clone() } else { whole.clone() }
            };
            let (got, all) = (&call.outputs, &whole.outputs);
            assert_eq!(got.loss, all.loss);
            assert_eq!(got.d_inputs, expected(inputs, &all.d_inputs, &untouched.d_inputs));
            assert_eq!(got.d_weights, expected(weights, &all.d_weights, &untouched.d_weights));
            assert_eq!(got.d_biases, expected(biases, &all.d_biases, &untouched.d_biases));
            if !(weights && biases) {
                assert_eq!((&got.row_ids, got.num_rows), (&all.row_ids, all.num_rows));
            }
        }
    }
}

/// A caller that wants the inputs' gradient alone need not bring the sparse arrays.
#[test]
fn inputs_gradient_alone_needs_no_row_arrays() {
    let case = Case::random([5, 4, 20, 8, 1], &mut Random::new(8));
    let mut call = Call::new(&case);
    let mut arguments = call.arguments_with_workspace(1);
    arguments.gradients.d_weights = std::ptr::null_mut();
    arguments.gradients.d_biases = std::ptr::null_mut();
    arguments.gradients.row_ids = std::ptr::null_mut();
    arguments.gradients.num_rows = std::ptr::null_mut();
    arguments.gradients.row_capacity = 0;
    arguments.forward_backward(&call.handle).unwrap();
    let mut whole = Call::new(&case);
    whole.forward_backward().unwrap();
    assert_eq!(call.outputs.d_inputs, whole.outputs.d_inputs);
}

#[test]
fn too_small_a_row_capacity_is_refused_with_both_numbers() {
    let case = Case::random([5, 4, 20, 8, 1], &mut Random::new(9));
    let mut call = Call::new(&case);
    let before = call.outputs.clone();
    let mut arguments = call.arguments_with_workspace(1);
    arguments.gradients.row_capacity = 12;
    let failure = arguments.forward_backward(&call.handle).unwrap_err();
    assert_eq!(failure.status, SSL_STATUS_SHAPE);
    for word in ["row_capacity", "12", "13"] {
        assert!(failure.message.contains(word), "{}", failure.message);
    }
    assert_eq!(call.outputs, before);
}
