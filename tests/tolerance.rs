//! The tolerances that results are held to are no wider than they need be: an error of
//! the kind that a wrong engine makes is larger than what rounding in float32 explains.
//! That a right engine stays within them is for `soak` to show.

mod common;

use common::{Accuracy, BF16, Case, F16, F32, Random, Tolerances, round};
use sampled_softmax::abi::*;
use sampled_softmax::reference::Solution;

const DIM: usize = 64;

/// One row, one label and S distinct candidates, all in float32. With a single row, a
/// wrong logit is the same as a wrong bias.
fn one_row(sampled: usize) -> Case {
    let mut case = Case::random([1, DIM, sampled + 1, sampled, 1], &mut Random::new(sampled as u64));
    case.inputs.iter_mut().for_each(|x| *x *= 0.5);
    case.labels = vec![sampled as i64];
    case.ids = (0..sampled as i64).collect();
    case.sampled_expected_count.fill(0.75);
    case.layout = SSL_GRADIENTS_DENSE;
    case.rounded()
}

/// The products whose sum is class `class`'s logit, without bias and ln Q.
fn products(case: &Case, class: usize) -> Vec<f64> {
    case.inputs.iter().zip(&case.weights[class * DIM..]).map(|(x, w)| x * w).collect()
}

/// The case as it were if class `class`'s logit came out `by` larger.
fn with_logit_moved(case: &Case, class: usize, by: f64) -> Case {
    let mut moved = case.clone();
    moved.biases.as_mut().expect("it has some")[class] += by;
    moved
}

/// The largest difference in units of the tolerance.
fn excess(got: &[f64], want: &[f64], tolerances: &[f64]) -> f64 {
    let pairs = got.iter().zip(want).zip(tolerances);
    pairs.map(|((got, want), tolerance)| (got - want).abs() / tolerance).fold(0.0, f64::max)
}

fn assert_seen(what: &str, got: &[f64], want: &[f64], tolerances: &[f64]) {
    let excess = excess(got, want, tolerances);
    assert!(excess > 2.0, "{what}: {excess:.3} times the tolerance");
}

/// The loss and the gradient of the biases, whose terms are the slopes themselves, show
/// that a solution is wrong.
fn assert_wrong(what: &str, case: &Case, wrong: &Solution) {
    let (right, tolerances) = (case.problem().solve(), Tolerances::of(case, Accuracy::FULL));
    assert_seen(&format!("{what}: loss"), &wrong.loss, &right.loss, &tolerances.loss);
    assert_seen(&format!("{what}: d_biases"), &wrong.d_biases, &right.d_biases, &tolerances.d_biases);
}

#[test]
fn a_candidate_that_is_left_out_is_seen() {
    for sampled in [5, 100, 300] {
        let case = one_row(sampled);
        for left_out in [0, sampled / 2, sampled - 1] {
            let mut fewer = case.clone();
            fewer.ids.remove(left_out);
            fewer.sampled_expected_count.remove(left_out);
            let (wrong, right) = (fewer.problem().solve(), case.problem().solve());
            let what = format!("candidate {left_out} of {sampled}");
            assert_wrong(&what, &case, &wrong);
            let tolerances = Tolerances::of(&case, Accuracy::FULL);
            assert_seen(&what, &wrong.d_inputs, &right.d_inputs, &tolerances.d_inputs);
        }
    }
}

/// The product is one of median size among 64.
#[test]
fn a_product_of_the_wrong_sign_is_seen() {
    for sampled in [5, 100] {
        let case = one_row(sampled);
        for class in [0, sampled - 1, sampled] {
            let mut sizes = products(&case, class);
            sizes.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
            let wrong = with_logit_moved(&case, class, -2.0 * sizes[DIM / 2]).problem().solve();
            assert_wrong(&format!("class {class} of {sampled}"), &case, &wrong);
        }
    }
}

#[test]
fn logits_summed_in_sixteen_bits_are_seen() {
    for dtype in [BF16, F16] {
        let case = one_row(100);
        let mut wrong = case.clone();
        for class in 0..case.classes {
            let products = products(&case, class);
            let rounded = products.iter().fold(0.0, |sum, product| round(dtype, sum + product));
            let error = rounded - products.iter().sum::<f64>();
            wrong = with_logit_moved(&wrong, class, error);
        }
        assert_wrong(&format!("dtype {dtype}"), &case, &wrong.problem().solve());
    }
}

#[test]
fn a_normaliser_summed_in_sixteen_bits_is_seen() {
    for dtype in [BF16, F16] {
        let case = one_row(100);
        let right = case.problem().solve();
        let tolerances = Tolerances::of(&case, Accuracy::FULL);
        // The probabilities are the terms over their sum; without its label, the last one.
        let terms = &right.d_biases[..100];
        let sum: f64 = terms.iter().sum();
        let rounded = terms.iter().fold(0.0, |sum, term| round(dtype, sum + term));
        let loss = [right.loss[0] + (rounded - sum)];
        assert_seen("loss", &loss, &right.loss, &tolerances.loss);
    }
}

/// Even if nothing but their last rounding is to sixteen bits.
#[test]
fn gradients_summed_in_sixteen_bits_are_seen() {
    for dtype in [BF16, F16] {
        let mut case = Case::random([70, DIM, 20, 100, 2], &mut Random::new(1)).rounded();
        case.inputs.iter_mut().for_each(|x| *x *= 0.25);
        let case = case.rounded();
        let (right, tolerances) = (case.problem().solve(), Tolerances::of(&case, Accuracy::FULL));
        let rounded = |values: &[f64]| -> Vec<f64> { values.iter().map(|v| round(dtype, *v)).collect() };
        let gradients = [
            ("d_inputs", &right.d_inputs, &tolerances.d_inputs),
            ("d_weights", &right.d_weights, &tolerances.d_weights),
            ("d_biases", &right.d_biases, &tolerances.d_biases),
        ];
        for (name, right, tolerances) in gradients {
            assert_seen(name, &rounded(right), right, tolerances);
        }
    }
}

#[test]
fn a_row_that_is_left_out_of_the_weights_gradient_is_seen() {
    let mut case = Case::random([500, 8, 20, 30, 1], &mut Random::new(2)).rounded();
    case.layout = SSL_GRADIENTS_DENSE;
    let (right, tolerances) = (case.problem().solve(), Tolerances::of(&case, Accuracy::FULL));
    let mut upstream = vec![1.0; 500];
    upstream[321] = 0.0;
    let wrong = Case { grad_output: Some(upstream), ..case.clone() }.problem().solve();
    assert_seen("d_weights", &wrong.d_weights, &right.d_weights, &tolerances.d_weights);
    assert_seen("d_biases", &wrong.d_biases, &right.d_biases, &tolerances.d_biases);
}

/// An exponential good to some 2^-11, as fast ones are.
#[test]
fn a_coarse_exponential_is_seen() {
    let case = one_row(100);
    let mut wrong = case.clone();
    for class in 0..100 {
        let error = if class % 3 == 0 { 5e-4 } else { 2e-4 };
        wrong = with_logit_moved(&wrong, class, error);
    }
    assert_wrong("exp", &case, &wrong.problem().solve());
}

#[test]
fn an_expected_count_read_in_sixteen_bits_is_seen() {
    let mut case = one_row(100);
    case.true_expected_count = vec![round(F32, 0.1)];
    let mut wrong = case.clone();
    wrong.true_expected_count = vec![round(BF16, 0.1)];
    assert_wrong("Q of the label", &case, &wrong.problem().solve());
}

/// ln(1 + x) of a float32 x, where 1 + x is rounded first.
#[test]
fn a_small_loss_without_its_digits_is_seen() {
    let mut case = one_row(5);
    let label = case.labels[0] as usize;
    for (bias, bits) in [(12.0, 24), (30.0, 53)] {
        case.biases.as_mut().unwrap()[label] = bias;
        let (right, tolerances) = (case.problem().solve(), Tolerances::of(&case, Accuracy::FULL));
        let unit = 2.0_f64.powi(1 - bits);
        let wrong = [((1.0 + right.loss[0].exp_m1()) / unit).round() * unit - 1.0];
        assert_seen("loss", &wrong, &right.loss, &tolerances.loss);
    }
}
