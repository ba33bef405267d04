//! Extreme values and sizes: infinities, NaN, huge logits, no rows, one class, every
//! class.

mod common;

use std::f64::consts::LN_2;

use common::{BF16, Call, Case, F16, F32, F64, Random, Types, assert_close, assert_matches_reference};
use sampled_softmax::abi::*;

const INFINITY: f64 = f64::INFINITY;
const NEG_INFINITY: f64 = f64::NEG_INFINITY;
const NAN: f64 = f64::NAN;

fn run(case: &Case) -> Call {
    let mut call = Call::new(case);
    call.forward_backward().unwrap();
    call
}

#[test]
fn class_with_minus_infinite_bias_is_switched_off() {
    for dtype in [F32, F16, BF16, F64] {
        let mut case = Case::diagonal(5.0, &[[1.0, 0.0, 0.0]; 2], &[0, 1], &[2]);
        case.types = Types::all(dtype);
        case.biases = Some(vec![0.0, 0.0, NEG_INFINITY]);
        let call = run(&case);
        assert_eq!(call.outputs.loss.values(), [0.0, 0.0]);
        assert_eq!(call.outputs.d_inputs.values(), [0.0; 6]);
    }
}

#[test]
fn switched_off_negatives_leave_the_others_as_they_are() {
    let mut case = Case::random([5, 4, 12, 8, 1], &mut Random::new(1));
    case.labels = vec![0, 1, 2, 3, 4];
    case.ids = vec![5, 6, 7, 8, 9, 10, 11, 5];
    let mut off = case.clone();
    off.biases.as_mut().unwrap()[9] = NEG_INFINITY;
    assert_matches_reference(&run(&off));
    case.ids.remove(4);
    case.sampled_expected_count.remove(4);
    let (with, without) = (run(&off), run(&case));
    assert_close("loss", &with.outputs.loss.values(), &without.outputs.loss.values(), |_| 1e-6);
}

#[test]
fn switched_off_true_class_is_infinite_in_its_row_alone() {
    for dtype in [F32, F16, BF16, F64] {
        let mut case = Case::diagonal(5.0, &[[1.0, 0.0, 0.0]; 3], &[0, 1, 2], &[0, 1]);
        case.types = Types::all(dtype);
        let clean = run(&case).outputs;
        case.biases = Some(vec![0.0, 0.0, NEG_INFINITY]);
        let got = run(&case).outputs;
        assert_eq!(got.loss.get(2), INFINITY);
        assert_eq!((got.loss.get(0), got.loss.get(1)), (clean.loss.get(0), clean.loss.get(1)));
        assert_eq!(got.d_inputs.values()[..6], clean.d_inputs.values()[..6]);
    }
}

/// Nothing is left of the row: its label is switched off, its candidates are hits.
#[test]
fn row_without_any_finite_term_is_infinite() {
    let mut case = Case::diagonal(5.0, &[[1.0, 0.0, 0.0]; 2], &[2, 0], &[2]);
    case.biases = Some(vec![0.0, 0.0, NEG_INFINITY]);
    let losses = run(&case).outputs.loss.values();
    assert_eq!(losses, [INFINITY, 0.0]);
}

#[test]
fn non_finite_row_reaches_no_other_row() {
    for poison in [NAN, INFINITY, NEG_INFINITY, 1e38] {
        for dtype in [F32, BF16, F64] {
            let mut case = Case::random([40, 21, 60, 33, 2], &mut Random::new(2));
            case.types = Types::all(dtype);
            case.num_threads = 2;
            let clean = run(&case).outputs;
            case.inputs[17 * 21 + 4] = poison;
            let got = run(&case).outputs;
            for row in (0..40).filter(|&row| row != 17) {
                assert_eq!(got.loss.get(row), clean.loss.get(row), "row {row}, {poison}");
                let cells = row * 21..(row + 1) * 21;
                assert_eq!(got.d_inputs.values()[cells.clone()], clean.d_inputs.values()[cells]);
            }
            if poison.is_nan() {
                assert!(got.loss.get(17).is_nan());
            }
        }
    }
}

/// Weights of a class that no row looks at may hold anything.
#[test]
fn classes_outside_the_sample_are_not_read() {
    let mut case = Case::random([6, 5, 20, 4, 1], &mut Random::new(3));
    case.labels = vec![0, 1, 2, 0, 1, 2];
    case.ids = vec![3, 4, 5, 3];
    let clean = run(&case).outputs;
    case.weights[6 * 5..].fill(NAN);
    case.biases.as_mut().unwrap()[6..].fill(NAN);
    assert_eq!(run(&case).outputs, clean);
}

#[test]
fn huge_logits_are_exact() {
    let inputs = [[1.0, 0.0, 0.0]; 2];
    for (dtype, scale) in [(F32, 5e4), (F64, 5e4), (F16, 5e4), (BF16, 5e4), (F32, 1e30)] {
        let mut case = Case::diagonal(scale, &inputs, &[0, 1], &[2]);
        case.types = Types::all(dtype);
        let call = run(&case);
        assert_eq!(call.outputs.loss.get(0), 0.0);
        assert_close("loss", &[call.outputs.loss.get(1)], &[LN_2], |_| 1e-7);
        assert!(call.outputs.d_inputs.values().iter().all(|value| value.is_finite()));
    }
}

#[test]
fn huge_negative_margins_are_exact() {
    // The label lies 5e4 below, then above, its negative.
    let case = Case::diagonal(5e4, &[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], &[1, 1], &[0]);
    let call = run(&case);
    assert_eq!(call.outputs.loss.values(), [5e4, 0.0]);
    assert_eq!(call.outputs.d_inputs.values(), [5e4, -5e4, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn no_rows_have_an_empty_loss_and_no_gradient() {
    for reduction in 0..3 {
        for layout in 0..2 {
            let mut case = Case::random([0, 3, 5, 4, 1], &mut Random::new(4));
            (case.reduction, case.layout) = (reduction, layout);
            let call = run(&case);
            assert!(call.outputs.loss.values().iter().all(|&loss| loss == 0.0));
            assert_eq!(call.outputs.loss.len(), case.loss_len());
            assert_matches_reference(&call);
        }
    }
}

#[test]
fn no_rows_need_no_row_arrays() {
    let case = Case::random([0, 3, 5, 4, 1], &mut Random::new(5));
    let mut call = Call::new(&case);
    let mut arguments = call.arguments_with_workspace(1);
    arguments.batch.inputs = std::ptr::null();
    arguments.batch.labels = std::ptr::null();
    arguments.candidates.true_expected_count = std::ptr::null_mut();
    arguments.loss.loss = std::ptr::null_mut();
    arguments.loss.log_sum_exp = std::ptr::null_mut();
    arguments.forward_backward(&call.handle).unwrap();
}

#[test]
fn one_class_has_no_loss_or_ln_2() {
    for (hits, loss) in [(SSL_HITS_MASK, 0.0), (SSL_HITS_KEEP, LN_2)] {
        let mut case = Case::random([3, 4, 1, 1, 1], &mut Random::new(6));
        case.true_expected_count.fill(1.0);
        case.sampled_expected_count.fill(1.0);
        case.hits = hits;
        let call = run(&case);
        assert_close("loss", &call.outputs.loss.values(), &[loss; 3], |_| 1e-6);
        assert_matches_reference(&call);
    }
}

/// With every class sampled once and Q = 1 the loss is the full softmax's.
#[test]
fn every_class_once_is_the_full_softmax() {
    for dtype in [F32, F64] {
        let mut case = Case::random([17, 9, 40, 40, 1], &mut Random::new(7));
        case.types = Types::all(dtype);
        case.ids = (0..40).rev().collect();
        case.true_expected_count.fill(1.0);
        case.sampled_expected_count.fill(1.0);
        let rounded = case.rounded();
        let logit = |row: usize, class: usize| -> f64 {
            let (x, w) = (&rounded.inputs[row * 9..][..9], &rounded.weights[class * 9..][..9]);
            let product: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
            product + rounded.biases.as_ref().unwrap()[class]
        };
        let full: Vec<f64> = (0..17)
            .map(|row| {
                let normaliser: f64 = (0..40).map(|class| logit(row, class).exp()).sum();
                normaliser.ln() - logit(row, case.labels[row] as usize)
            })
            .collect();
        let bound = if dtype == F64 { 1e-13 } else { 1e-5 };
        assert_close("loss", &run(&case).outputs.loss.values(), &full, |_| bound);
    }
}

#[test]
fn as_many_labels_as_classes_are_allowed() {
    let mut case = Case::random([4, 5, 3, 6, 3], &mut Random::new(8));
    case.labels = vec![0, 1, 2, 2, 1, 0, 0, 0, 0, 1, 1, 2];
    assert_matches_reference(&run(&case));
}

#[test]
fn more_given_candidates_than_classes_are_allowed() {
    let case = Case::random([6, 5, 4, 50, 1], &mut Random::new(9));
    assert_matches_reference(&run(&case));
}

#[test]
fn subnormal_and_tiny_values_are_no_trouble() {
    for (dtype, input, weight) in [(F32, 1e-42, 1e-44), (F16, 1e-6, 1e-7), (BF16, 1e-39, 1e-40)] {
        let mut case = Case::random([3, 4, 6, 5, 1], &mut Random::new(10));
        case.types = Types::all(dtype);
        case.inputs.iter_mut().for_each(|x| *x *= input);
        case.weights[4..8].fill(weight);
        assert_matches_reference(&run(&case));
    }
}

#[test]
fn extreme_expected_counts_keep_their_logarithm() {
    for (sampled, label) in [(1e-30, 1e30), (1e30, 1e-30), (1e-38, 1e-38)] {
        let mut case = Case::diagonal(1.0, &[[0.0; 3]], &[0], &[1]);
        case.sampled_expected_count.fill(sampled);
        case.true_expected_count.fill(label);
        assert_matches_reference(&run(&case));
    }
}

/// Whatever S is: panels of candidates are filled up, and what they are filled up with
/// must not make the row NaN.
#[test]
fn an_infinite_input_that_switches_every_class_off_gives_an_infinite_loss() {
    for dtype in [F32, F64] {
        for sampled in [1, 7, 16, 33] {
            let mut case = Case::random([2, 3, 40, sampled, 1], &mut Random::new(5));
            case.types = Types::all(dtype);
            case.weights.iter_mut().for_each(|w| *w = w.abs() + 0.1);
            case.inputs[1] = NEG_INFINITY;
            let outputs = run(&case).outputs;
            assert_eq!((outputs.loss.get(0), outputs.log_sum_exp.get(0)), (INFINITY, NEG_INFINITY));
            assert!(outputs.loss.get(1).is_finite());
        }
    }
}

#[test]
fn an_infinite_logit_leaves_the_row_without_a_loss() {
    for sampled in [1, 7, 32, 33] {
        let mut case = Case::random([2, 3, 40, sampled, 1], &mut Random::new(6));
        // That of the label: all others are -inf.
        case.weights.iter_mut().for_each(|w| *w = -w.abs() - 0.1);
        case.labels[0] = 0;
        case.weights[1] = 1.0;
        case.inputs[1] = INFINITY;
        let outputs = run(&case).outputs;
        assert!(outputs.loss.get(0).is_nan() && outputs.log_sum_exp.get(0).is_nan());
        assert!(outputs.loss.get(1).is_finite());
    }
}

/// The floor must not stand in for the probability of a label that is switched off where
/// there is no probability at all.
#[test]
fn a_probability_floor_does_not_hide_nan() {
    for floor in [0.0, 1e-3, 1.0] {
        let mut case = Case::random([2, 3, 40, 7, 1], &mut Random::new(7));
        case.probability_floor = floor;
        case.labels = vec![3, 3];
        case.ids = vec![5; 7];
        case.biases.as_mut().unwrap()[3] = NEG_INFINITY;
        case.weights[5 * 3 + 1] = NAN;
        let outputs = run(&case).outputs;
        assert!(outputs.loss.values().iter().all(|loss| loss.is_nan()), "floor {floor}");
        assert!(outputs.d_inputs.get(1).is_nan());
    }
}

/// Logits of some 4096, exact in float32, whose log-sum-exp is not: what float32 leaves of
/// it is 2^-12 of every probability, and the rest must not be lost, or come in with the
/// wrong sign. (No tolerance of rounded logits could tell.)
#[test]
fn large_exact_logits_keep_the_digits_of_their_gradients() {
    let mut case = Case::random([3, 8, 40, 25, 1], &mut Random::new(8));
    case.inputs.iter_mut().for_each(|x| *x = (*x * 2.0).round());
    case.weights.iter_mut().for_each(|w| *w = (*w * 2.0).round());
    case.biases = Some((0..40).map(|class| 4096.0 + f64::from(class % 3)).collect());
    case.true_expected_count.fill(1.0);
    case.sampled_expected_count.fill(1.0);
    let want = case.solve();
    let outputs = run(&case).outputs;
    assert_close("loss", &outputs.loss.values(), &want.loss, |_| 1e-6);
    assert_close("d_inputs", &outputs.d_inputs.values(), &want.d_inputs, |_| 3e-6);
    let (_, biases) = common::weight_gradients(&run(&case), &case);
    assert_close("d_biases", &biases, &want.d_biases, |class| 1e-7 + 3e-6 * want.d_biases[class].abs());
}
