//! The float64 reference itself: values published by others, and its gradients against
//! its own loss by central differences.

mod common;

use common::{Case, Random, assert_close, central_differences};
use sampled_softmax::abi::*;

/// MindSpore's test of `nn.SampledSoftmaxLoss`: C = 7, N = 3, d = 10.
fn mindspore_case(ids: &[i64], hits: u32) -> Case {
    let mut case = Case::random([3, 10, 7, ids.len(), 1], &mut Random::new(0));
    case.weights = (1..=70).map(|i| f64::from(i) / 100.0).collect();
    case.biases = Some((1..=7).map(|i| f64::from(i) / 100.0).collect());
    case.inputs = (1..=30).map(|i| f64::from(i) / 100.0).collect();
    case.labels = vec![0, 1, 2];
    case.ids = ids.to_vec();
    case.sampled_expected_count = vec![0.5; ids.len()];
    case.true_expected_count = vec![0.5; 3];
    case.hits = hits;
    case
}

#[test]
fn agrees_with_mindspore_without_removal() {
    let case = mindspore_case(&[4, 0, 2, 3], SSL_HITS_KEEP);
    let published = [1.7318448, 1.8015041, 1.7211525];
    assert_close("loss", &case.problem().solve().loss, &published, |_| 1e-6);
}

#[test]
fn agrees_with_mindspore_where_no_candidate_is_a_label() {
    let case = mindspore_case(&[4, 5, 6, 3], SSL_HITS_MASK);
    let published = [1.85211, 2.10999, 2.20862];
    assert_close("loss", &case.problem().solve().loss, &published, |_| 1e-5);
}

#[test]
fn saturates_where_mindspore_does_with_its_floor() {
    let mut case = Case::diagonal(100.0, &[[1.0, 0.0, 0.0]], &[1], &[0]);
    case.probability_floor = 1e-20;
    assert_close("loss", &case.problem().solve().loss, &[46.0517], |_| 1e-4);
    case.probability_floor = 0.0;
    assert_close("loss", &case.problem().solve().loss, &[100.0], |_| 1e-12);
}

/// A case with every option that changes the formula, by number.
fn varied_case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let num_true = 1 + seed as usize % 3;
    let mut case = Case::random([4, 5, 6, 7, num_true], &mut random);
    case.reduction = (seed % 3) as u32;
    case.hits = if seed.is_multiple_of(2) { SSL_HITS_MASK } else { SSL_HITS_KEEP };
    case.probability_floor = [0.0, 0.01, 0.3][(seed / 2) as usize % 3];
    case.sample_weights = Some(vec![0.5, 0.0, 2.0, 1.25]);
    case.ignore_index = Some(-7);
    case.labels[3 * num_true..].fill(-7);
    case.grad_output = Some(random.values(case.loss_len(), -2.0, 2.0));
    case
}

/// The loss as what follows it sees it: the sum of loss times upstream gradient.
fn downstream(case: &Case) -> f64 {
    let loss = case.problem().solve().loss;
    loss.iter().zip(case.grad_output.as_ref().unwrap()).map(|(loss, g)| loss * g).sum()
}

#[test]
fn gradients_are_the_derivatives_of_the_loss() {
    for seed in 0..18 {
        let case = varied_case(seed);
        let solution = case.problem().solve();
        // The third derivative of the loss is of the order of 1, so the step's square
        // and the loss's last bits over the step are each about 1e-10.
        let bound = |_: usize| 1e-8;
        let d_inputs = central_differences(&case, downstream, |case| &mut case.inputs);
        assert_close("d_inputs", &solution.d_inputs, &d_inputs, bound);
        let d_weights = central_differences(&case, downstream, |case| &mut case.weights);
        assert_close("d_weights", &solution.d_weights, &d_weights, bound);
        let d_biases = central_differences(&case, downstream, |case| case.biases.as_mut().unwrap());
        assert_close("d_biases", &solution.d_biases, &d_biases, bound);
    }
}
