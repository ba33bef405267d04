//! Identities of the sampled softmax that hold whatever the numbers are.

mod common;

use common::{Call, Case, F64, Random, Types, assert_close};
use proptest::prelude::*;
use sampled_softmax::abi::*;

/// float64, so that an identity is seen to 1e-10 or not at all.
fn some_case(num_true: usize, seed: u64) -> Case {
    let mut case = Case::random([7, 5, 20, 11, num_true], &mut Random::new(seed));
    case.types = Types::all(F64);
    case
}

fn run(case: &Case) -> Call {
    let mut call = Call::new(case);
    call.forward_backward().unwrap();
    call
}

/// Sums of about 30 terms of size 10 at most, each rounded to 1e-16.
const EXACT: f64 = 1e-12;

fn assert_same_loss_and_gradients(got: &Case, want: &Case) {
    let (got_call, want_call) = (run(got), run(want));
    let bound = |_: usize| EXACT;
    let outputs = (&got_call.outputs, &want_call.outputs);
    assert_close("loss", &outputs.0.loss.values(), &outputs.1.loss.values(), bound);
    assert_close("d_inputs", &outputs.0.d_inputs.values(), &outputs.1.d_inputs.values(), bound);
    let got = common::weight_gradients(&got_call, got);
    let want = common::weight_gradients(&want_call, want);
    assert_close("d_weights", &got.0, &want.0, bound);
    assert_close("d_biases", &got.1, &want.1, bound);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_shift_of_every_bias_changes_nothing(seed: u64, num_true in 1..4_usize, shift in -50.0..50.0) {
        let case = some_case(num_true, seed);
        let mut shifted = case.clone();
        shifted.biases.iter_mut().flatten().for_each(|bias| *bias += shift);
        assert_same_loss_and_gradients(&shifted, &case);
    }

    #[test]
    fn a_common_factor_of_the_expected_counts_changes_nothing(seed: u64, num_true in 1..4_usize, factor in 1e-3..1e3) {
        let case = some_case(num_true, seed);
        let mut scaled = case.clone();
        scaled.sampled_expected_count.iter_mut().for_each(|q| *q *= factor);
        scaled.true_expected_count.iter_mut().for_each(|q| *q *= factor);
        assert_same_loss_and_gradients(&scaled, &case);
    }

    #[test]
    fn the_order_of_given_candidates_does_not_matter(seed: u64, num_true in 1..4_usize) {
        let case = some_case(num_true, seed);
        let mut permuted = case.clone();
        let mut random = Random::new(!seed);
        for last in (1..permuted.ids.len()).rev() {
            let other = random.below(last + 1);
            permuted.ids.swap(last, other);
            permuted.sampled_expected_count.swap(last, other);
        }
        assert_same_loss_and_gradients(&permuted, &case);
    }

    #[test]
    fn the_order_of_a_rows_labels_does_not_matter(seed: u64) {
        let case = some_case(3, seed);
        let mut reversed = case.clone();
        for row in 0..7 {
            reversed.labels[row * 3..][..3].reverse();
            reversed.true_expected_count[row * 3..][..3].reverse();
        }
        assert_same_loss_and_gradients(&reversed, &case);
    }

    /// Every probability is balanced by a target: bias gradients of a row sum to 0.
    #[test]
    fn bias_gradients_sum_to_zero(seed: u64, num_true in 1..4_usize, floor in 0..2_usize, hits in 0..2_u32) {
        let mut case = some_case(num_true, seed);
        case.probability_floor = [0.0, 0.1][floor];
        case.hits = hits;
        let sum: f64 = common::weight_gradients(&run(&case), &case).1.iter().sum();
        prop_assert!(sum.abs() < EXACT, "sum {sum:e}");
    }

    #[test]
    fn gradients_are_linear_in_the_upstream_gradient(seed: u64, factor in -3.0..3.0_f64, reduction in 0..3_u32) {
        let mut case = some_case(2, seed);
        case.reduction = reduction;
        let mut random = Random::new(!seed);
        let first = random.values(case.loss_len(), -1.0, 1.0);
        let second = random.values(case.loss_len(), -1.0, 1.0);
        let mixed = first.iter().zip(&second).map(|(a, b)| a + factor * b).collect();
        let gradient = |upstream: Vec<f64>| {
            let case = Case { grad_output: Some(upstream), ..case.clone() };
            let call = run(&case);
            let (mut all, biases) = common::weight_gradients(&call, &case);
            all.extend(biases);
            all.extend(call.outputs.d_inputs.values());
            all
        };
        let (a, b, sum) = (gradient(first), gradient(second), gradient(mixed));
        let want: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + factor * b).collect();
        assert_close("gradients", &sum, &want, |_| EXACT);
    }

    #[test]
    fn the_loss_without_removal_is_at_least_ln_t(seed: u64, num_true in 1..4_usize) {
        let mut case = some_case(num_true, seed);
        case.hits = SSL_HITS_KEEP;
        let least = (num_true as f64).ln();
        prop_assert!(run(&case).outputs.loss.values().iter().all(|&loss| loss > least));
    }

    #[test]
    fn a_sample_weight_acts_as_an_upstream_gradient(seed: u64) {
        let mut weighted = some_case(2, seed);
        let mut upstream = weighted.clone();
        let factors = Random::new(!seed).values(7, -2.0, 2.0);
        weighted.sample_weights = Some(factors.clone());
        upstream.grad_output = Some(factors);
        let (weighted_call, upstream_call) = (run(&weighted), run(&upstream));
        let got = weighted_call.outputs.d_inputs.values();
        assert_close("d_inputs", &got, &upstream_call.outputs.d_inputs.values(), |_| EXACT);
    }

    /// Rows that come twice weigh twice.
    #[test]
    fn a_repeated_row_counts_as_one_of_twice_the_weight(seed: u64) {
        let mut once = some_case(1, seed);
        once.reduction = SSL_REDUCTION_MEAN;
        let mut twice = once.clone();
        once.sample_weights = Some(vec![2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        twice.rows = 8;
        twice.inputs.extend_from_within(..5);
        twice.labels.push(twice.labels[0]);
        twice.true_expected_count.push(twice.true_expected_count[0]);
        let (once_call, twice_call) = (run(&once), run(&twice));
        let got = twice_call.outputs.loss.values();
        assert_close("loss", &got, &once_call.outputs.loss.values(), |_| EXACT);
        let got = common::weight_gradients(&twice_call, &twice);
        let want = common::weight_gradients(&once_call, &once);
        assert_close("d_weights", &got.0, &want.0, |_| EXACT);
    }
}

/// The gradient averaged over every sample of S of C classes drawn uniformly comes
/// closer to the full softmax's with S, and is the same at S = C. (The estimator is
/// consistent, and biased for S < C.)
#[test]
fn average_gradient_approaches_the_full_softmax() {
    const CLASSES: usize = 6;
    let gradient = |subset: u32| {
        let ids: Vec<i64> = (0..CLASSES as i64).filter(|id| subset >> id & 1 == 1).collect();
        let mut case = Case::random([1, 4, CLASSES, ids.len(), 1], &mut Random::new(5));
        case.types = Types::all(F64);
        let inclusion = ids.len() as f64 / CLASSES as f64;
        // The label is in the sum with certainty; the negatives stand for all others.
        case.true_expected_count.fill(1.0);
        case.sampled_expected_count = vec![inclusion; ids.len()];
        case.labels = vec![2];
        case.ids = ids;
        common::weight_gradients(&run(&case), &case).1
    };
    let full = gradient((1 << CLASSES) - 1);
    let bias = |sampled: u32| {
        let subsets = (0..1_u32 << CLASSES).filter(|subset| subset.count_ones() == sampled);
        let gradients: Vec<Vec<f64>> = subsets.map(gradient).collect();
        let mean = |class: usize| gradients.iter().map(|g| g[class]).sum::<f64>() / gradients.len() as f64;
        (0..CLASSES).map(|class| (mean(class) - full[class]).powi(2)).sum::<f64>().sqrt()
    };
    let biases: Vec<f64> = (1..=CLASSES as u32).map(bias).collect();
    assert!(biases.windows(2).all(|pair| pair[1] < pair[0]), "{biases:?}");
    assert_eq!(biases[CLASSES - 1], 0.0);
}
