//! What the loss means where other libraries leave it open: saturation, accidental
//! hits, several labels, ignored and weighted rows, reductions.

mod common;

use std::f64::consts::LN_2;

use common::{BF16, Call, Case, F16, F32, F64, Random, Types, assert_close, assert_matches_reference};
use sampled_softmax::abi::*;

fn run(case: &Case) -> Call {
    let mut call = Call::new(case);
    call.forward_backward().unwrap();
    call
}

fn some_case(num_true: usize, seed: u64) -> Case {
    Case::random([9, 6, 30, 12, num_true], &mut Random::new(seed))
}

/// One row whose label lies 100 below its only negative.
fn hardest_row() -> Case {
    Case::diagonal(100.0, &[[1.0, 0.0, 0.0]], &[1], &[0])
}

#[test]
fn hardest_row_has_its_whole_loss_and_gradient() {
    for dtype in [F32, F64] {
        let call = run(&Case { types: Types::all(dtype), ..hardest_row() });
        assert_eq!(call.outputs.loss.get(0), 100.0);
        assert_eq!(call.outputs.row_ids[..2], [0, 1]);
        assert_eq!(call.outputs.d_biases.get(0), 1.0);
        assert_eq!(call.outputs.d_biases.get(1), -1.0);
        assert_eq!(call.outputs.d_inputs.values(), [100.0, -100.0, 0.0]);
    }
}

#[test]
fn probability_floor_caps_the_loss_and_lets_the_gradient_die() {
    let case = Case { probability_floor: 1e-20, types: Types::all(F64), ..hardest_row() };
    let call = run(&case);
    assert_close("loss", &call.outputs.loss.values(), &[46.051_701_859_880_91], |_| 1e-11);
    // p / (p + floor) with p = exp(-100).
    let kept = (-100.0_f64).exp() / ((-100.0_f64).exp() + 1e-20);
    assert_close("d_biases", &[call.outputs.d_biases.get(1)], &[-kept], |_| 1e-12 * kept);
}

/// MindSpore's published behaviour by logit gap.
#[test]
fn probability_floor_scales_the_gradient_as_in_mindspore() {
    for (gap, gradient) in [(30.0, -1.0), (40.0, -0.998), (46.0, -0.513), (50.0, -0.019)] {
        let mut case = Case::diagonal(gap, &[[1.0, 0.0, 0.0]], &[1], &[0]);
        case.probability_floor = 1e-20;
        assert_matches_reference(&run(&case));
        assert_close("d_biases", &[run(&case).outputs.d_biases.get(1)], &[gradient], |_| 6e-4);
    }
}

#[test]
fn probability_floor_equals_the_reference_for_several_labels() {
    for floor in [1e-30, 1e-20, 1e-3, 0.5, 1.0] {
        let case = Case { probability_floor: floor, ..some_case(3, 5) };
        assert_matches_reference(&run(&case));
    }
}

#[test]
fn every_copy_of_a_repeated_hit_is_masked() {
    for dtype in [F32, F16, BF16, F64] {
        let mut case = Case::diagonal(2.0, &[[0.0; 3]; 2], &[1, 2], &[1, 1, 0, 1]);
        case.types = Types::all(dtype);
        let losses = run(&case).outputs.loss.values();
        // Row 0 keeps one negative of equal logit, row 1 all four.
        assert_close("loss", &losses, &[LN_2, 5.0_f64.ln()], |_| 1e-6);
    }
}

#[test]
fn hits_stay_in_when_removal_is_off() {
    let mut case = Case::diagonal(2.0, &[[0.0; 3]; 2], &[1, 2], &[1, 1, 0, 1]);
    case.hits = SSL_HITS_KEEP;
    let call = run(&case);
    assert_close("loss", &call.outputs.loss.values(), &[5.0_f64.ln(); 2], |_| 1e-6);
    assert_matches_reference(&call);
}

/// Candidates that the caller brings are masked under exclusion too: exclusion is for
/// the sampler, and there is none.
#[test]
fn given_hits_are_masked_under_exclusion() {
    let case = some_case(1, 8);
    let excluded = Case { hits: SSL_HITS_EXCLUDE, ..case.clone() };
    assert_eq!(run(&excluded).outputs, run(&case).outputs);
}

#[test]
fn row_of_nothing_but_hits_has_loss_ln_t_and_no_gradient() {
    for dtype in [F32, F16, BF16, F64] {
        let mut case = Case::diagonal(5.0, &[[1.0, 0.3, -2.0]], &[1], &[1, 1]);
        case.types = Types::all(dtype);
        let call = run(&case);
        assert_eq!(call.outputs.loss.get(0), 0.0, "dtype {dtype}");
        assert_eq!(call.outputs.d_inputs.values(), [0.0; 3]);
        assert_eq!(call.outputs.row_ids[0], 1);
        assert_eq!(call.outputs.d_weights.dense_rows(1, 3, 0), [0.0; 3]);
        assert_eq!(call.outputs.d_biases.get(0), 0.0);
    }
}

#[test]
fn several_equal_labels_and_nothing_but_hits_have_loss_ln_t() {
    for num_true in 2..=4 {
        let mut case = Case::diagonal(5.0, &[[1.0, 1.0, 1.0]], &[1], &[1, 1]);
        case.num_true = num_true;
        case.classes = 4;
        case.weights.extend([0.0; 3]);
        case.biases = None;
        case.labels = vec![1; num_true];
        case.true_expected_count = vec![0.5; num_true];
        let call = run(&case);
        assert_eq!(call.outputs.loss.get(0), f64::from((num_true as f32).ln()));
        assert_close("d_inputs", &call.outputs.d_inputs.values(), &[0.0; 3], |_| 1e-6);
    }
}

/// Each copy keeps its target of 1/2 and its own term of the normaliser.
#[test]
fn repeated_label_counts_as_often_as_it_is_given() {
    let mut case = Case::diagonal(5.0, &[[1.0, 1.0, 1.0]], &[1], &[0, 2]);
    case.num_true = 2;
    case.labels = vec![1, 1];
    case.true_expected_count = vec![0.5, 0.5];
    let call = run(&case);
    assert_close("loss", &call.outputs.loss.values(), &[4.0_f64.ln()], |_| 1e-6);
    assert_matches_reference(&call);
}

#[test]
fn given_candidates_may_be_unsorted_and_repeated() {
    let mut case = some_case(2, 11);
    case.ids = vec![29, 3, 3, 17, 0, 29, 29, 1, 3, 12, 28, 0];
    case.labels[0] = 3;
    case.labels[5] = 29;
    assert_matches_reference(&run(&case));
}

#[test]
fn ignored_rows_have_no_loss_and_no_gradient_whatever_they_hold() {
    for (reduction, num_true) in [(0, 1), (1, 2), (2, 3), (1, 1)] {
        let mut case = some_case(num_true, 21);
        case.reduction = reduction;
        case.ignore_index = Some(-100);
        for row in [0, 4, 8] {
            case.labels[row * num_true..][..num_true].fill(-100);
            case.true_expected_count[row * num_true..][..num_true].fill(0.0);
            case.inputs[row * 6..][..6].fill(f64::NAN);
        }
        let weights = (0..9).map(|row| if row % 4 == 0 { f64::NAN } else { 1.0 + row as f64 });
        case.sample_weights = Some(weights.collect());
        let call = run(&case);
        let rows = call.outputs.d_inputs.dense_rows(9, 6, 0);
        assert_eq!(rows[4 * 6..5 * 6], [0.0; 6]);
        let finite = Case {
            inputs: no_nan(&case.inputs),
            sample_weights: case.sample_weights.as_deref().map(no_nan),
            ..case.clone()
        };
        let want = finite.solve();
        let bound = |_: usize| 5e-5;
        assert_close("loss", &call.outputs.loss.values(), &want.loss, bound);
        assert_close("d_inputs", &rows, &want.d_inputs, bound);
        let (weights, biases) = common::weight_gradients(&call, &case);
        assert_close("d_weights", &weights, &want.d_weights, bound);
        assert_close("d_biases", &biases, &want.d_biases, bound);
    }
}

fn no_nan(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| if value.is_nan() { 0.0 } else { *value }).collect()
}

/// A class may serve as the ignore index: its rows are ignored, and as a candidate it
/// is a class like any other.
#[test]
fn ignore_index_may_be_a_class() {
    let mut case = some_case(1, 22);
    case.ignore_index = Some(5);
    case.labels[2] = 5;
    case.ids[3] = 5;
    let call = run(&case);
    assert_eq!(call.outputs.loss.get(2), 0.0);
    assert_matches_reference(&call);
}

#[test]
fn ignore_index_is_not_in_force_unless_asked_for() {
    let mut case = some_case(1, 23);
    case.labels[2] = 0;
    assert!(run(&case).outputs.loss.get(2) > 0.0);
    assert_matches_reference(&run(&case));
}

#[test]
fn rows_of_weight_zero_add_nothing_not_even_nan() {
    for reduction in 0..3 {
        let mut case = some_case(2, 24);
        case.reduction = reduction;
        case.sample_weights = Some(vec![1.0, 0.0, 0.5, 2.0, 0.0, 1.0, 3.0, -1.5, 0.25]);
        case.inputs[6..12].fill(f64::NAN);
        case.inputs[24..30].fill(f64::INFINITY);
        let mut clean = case.clone();
        clean.inputs[6..12].fill(0.0);
        clean.inputs[24..30].fill(0.0);
        let want = run(&clean);
        assert_matches_reference(&want);
        let mut got = run(&case).outputs;
        got.log_sum_exp = want.outputs.log_sum_exp.clone();
        assert_eq!(got, want.outputs);
    }
}

#[test]
fn rows_without_upstream_gradient_have_none_whatever_they_hold() {
    let mut case = some_case(1, 25);
    let mut upstream = vec![1.0; 9];
    upstream[3] = 0.0;
    case.grad_output = Some(upstream);
    case.inputs[18..24].fill(f64::NAN);
    let call = run(&case);
    assert!(call.outputs.loss.get(3).is_nan());
    let gradient = call.outputs.d_inputs.values();
    assert_eq!(gradient[18..24], [0.0; 6]);
    assert!(gradient.iter().all(|value| value.is_finite()));
    let (weights, biases) = common::weight_gradients(&call, &case);
    assert!(weights.iter().chain(&biases).all(|value| value.is_finite()));
}

/// Not even a class of infinite weights reaches them.
#[test]
fn rows_without_upstream_gradient_have_none_whatever_their_classes_hold() {
    for kind in 0..2 {
        let mut case = some_case(1, 25);
        case.weights.fill(f64::INFINITY);
        let mut upstream = vec![1.0; 9];
        upstream[3] = 0.0;
        case.grad_output = Some(upstream);
        let mut call = Call::new(&case);
        if kind == 0 {
            call.forward_backward().unwrap();
        } else {
            call.forward().unwrap();
            call.backward().unwrap();
        }
        assert_eq!(call.outputs.d_inputs.values()[18..24], [0.0; 6]);
    }
}

#[test]
fn reductions_put_the_same_row_losses_together() {
    let mut case = some_case(1, 26);
    let weights = vec![1.0, 2.0, 0.5, 0.0, 1.0, 1.0, 4.0, 0.25, 1.0];
    case.sample_weights = Some(weights.clone());
    case.ignore_index = Some(-1);
    case.labels[1] = -1;
    let rows = run(&case).outputs.loss.values();
    let sum: f64 = rows.iter().sum();
    case.reduction = SSL_REDUCTION_SUM;
    assert_close("sum", &run(&case).outputs.loss.values(), &[sum], |_| 1e-5);
    case.reduction = SSL_REDUCTION_MEAN;
    let total = weights.iter().sum::<f64>() - weights[1];
    assert_close("mean", &run(&case).outputs.loss.values(), &[sum / total], |_| 1e-6);
}

#[test]
fn mean_of_nothing_is_zero_with_zero_gradients() {
    let all_ignored = {
        let mut case = some_case(1, 27);
        case.ignore_index = Some(-1);
        case.labels.fill(-1);
        case
    };
    let weightless = Case { sample_weights: Some(vec![0.0; 9]), ..some_case(1, 27) };
    for case in [all_ignored, weightless] {
        for reduction in [SSL_REDUCTION_MEAN, SSL_REDUCTION_SUM] {
            let case = Case { reduction, ..case.clone() };
            let call = run(&case);
            assert_eq!(call.outputs.loss.values(), [0.0]);
            assert_eq!(call.outputs.d_inputs.values(), [0.0; 54]);
            let (weights, biases) = common::weight_gradients(&call, &case);
            assert!(weights.iter().chain(&biases).all(|&value| value == 0.0));
        }
    }
}

#[test]
fn upstream_gradient_of_one_is_the_default() {
    for reduction in 0..3 {
        let mut case = some_case(2, 28);
        case.reduction = reduction;
        let default = run(&case).outputs;
        case.grad_output = Some(vec![1.0; case.loss_len()]);
        assert_eq!(run(&case).outputs, default);
    }
}
