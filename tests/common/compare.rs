//! How far a result may lie from the reference, from the lengths of the sums.
//!
//! A sum of n terms in arithmetic of unit roundoff u is off by at most
//! `CONFIDENCE * sqrt(n) * u` times the sum of its terms' sizes, except with a
//! probability below 2 exp(-CONFIDENCE^2 / 2) (Higham and Mary, 2019, "A new approach
//! to probabilistic rounding error analysis").

use sampled_softmax::abi::*;
use sampled_softmax::reference::Solution;

use super::outputs::earlier;
use super::{Call, Case, F16, F64, unit_roundoff};

const CONFIDENCE: f64 = 6.0;
/// Roundings of an exponential or a logarithm, of each product and of the scaling.
const STEPS: f64 = 16.0;

/// Asserts `|got - want| <= bound` where both are finite, else that they are alike.
pub fn assert_close(name: &str, got: &[f64], want: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len(), "{name}: length");
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        let bound = bound(index);
        let close = (got - want).abs() <= bound || got == want || got.is_nan() && want.is_nan();
        assert!(close, "{name}[{index}] is {got:e}, should be {want:e} within {bound:e}");
    }
}

/// The derivative of `value` by every element of an array of the case.
pub fn central_differences(
    case: &Case,
    value: fn(&Case) -> f64,
    array: fn(&mut Case) -> &mut Vec<f64>,
) -> Vec<f64> {
    let step = 1e-5;
    let moved = |index: usize, by: f64| {
        let mut moved = case.clone();
        array(&mut moved)[index] += by;
        value(&moved)
    };
    let count = array(&mut case.clone()).len();
    (0..count).map(|i| (moved(i, step) - moved(i, -step)) / (2.0 * step)).collect()
}

/// How exactly an engine computes beside the accumulation, which is in the loss's type.
#[derive(Clone, Copy, Debug)]
pub struct Accuracy {
    /// Relative error of the products that logits are sums of.
    pub products: f64,
    /// Of probabilities and rows as they enter the gradients' products.
    pub factors: f64,
}

impl Accuracy {
    /// All in the loss's type.
    pub const FULL: Accuracy = Accuracy { products: 0.0, factors: 0.0 };
}

/// Asserts that a forward and backward call wrote what the reference says.
pub fn assert_matches_reference(call: &Call) {
    assert_matches_reference_within(call, Accuracy::FULL);
}

/// The same for an engine that rounds more on its way.
pub fn assert_matches_reference_within(call: &Call, accuracy: Accuracy) {
    let case = call.drawn_case().rounded();
    let solution = case.problem().solve();
    let bounds = Bounds::new(&case, &solution, accuracy);
    assert_loss(call, &case, &solution, &bounds);
    assert_d_inputs(call, &case, &solution, &bounds);
    assert_d_weights(call, &case, &solution, &bounds);
    assert_eq!(call.outputs.device_status, 0);
}

struct Bounds {
    /// Error of a row's loss or log-sum-exp.
    row: f64,
    /// Relative error of a probability and of what is summed from them.
    slope: f64,
    /// |w_n| of the mean or sum, |upstream * share * w_n| of the gradients.
    loss_scale: Vec<f64>,
    gradient_scale: Vec<f64>,
}

impl Bounds {
    fn new(case: &Case, solution: &Solution, accuracy: Accuracy) -> Self {
        let u = both_roundings(case.types.loss());
        let norm = |values: &[f64]| {
            let squares = values.chunks(case.dim).map(|row| row.iter().map(|x| x * x).sum());
            squares.fold(0.0, f64::max).sqrt()
        };
        let product = norm(&case.inputs) * norm(&case.weights);
        let offsets = [&case.sampled_expected_count, &case.true_expected_count];
        let largest = product
            + case.biases.iter().flatten().map(|b| b.abs()).filter(|b| b.is_finite()).sum_max()
            + offsets.into_iter().flatten().map(|q| q.ln().abs()).sum_max();
        // Of one logit: d products, then bias, ln Q and what is taken out of the exponent.
        let logit = u * (CONFIDENCE * (case.dim as f64).sqrt() * product + STEPS * largest)
            + accuracy.products * product;
        let columns = (case.sampled() + case.num_true) as f64;
        let row = 2.0 * logit + u * (CONFIDENCE * columns.sqrt() + STEPS);
        let terms = columns + (case.rows * case.num_true) as f64;
        let total: f64 =
            (0..case.rows).filter(|&row| !case.is_ignored(row)).map(|row| case.sample_weight(row)).sum();
        let share = match case.reduction {
            SSL_REDUCTION_MEAN if total == 0.0 => 0.0,
            SSL_REDUCTION_MEAN => 1.0 / total,
            _ => 1.0,
        };
        let live = |n: usize| if case.is_ignored(n) { 0.0 } else { case.sample_weight(n).abs() };
        let upstream = |n: usize| match (&case.grad_output, case.reduction) {
            (None, _) => 1.0,
            (Some(gradient), SSL_REDUCTION_NONE) => gradient[n].abs(),
            (Some(gradient), _) => gradient[0].abs(),
        };
        assert_eq!(solution.log_sum_exp.len(), case.rows);
        Bounds {
            row,
            slope: row + accuracy.factors + u * (CONFIDENCE * terms.sqrt() + STEPS),
            loss_scale: (0..case.rows).map(|n| live(n) * share.abs()).collect(),
            gradient_scale: (0..case.rows).map(|n| live(n) * share.abs() * upstream(n)).collect(),
        }
    }
}

trait LargestOf {
    fn sum_max(self) -> f64;
}

impl<I: Iterator<Item = f64>> LargestOf for I {
    fn sum_max(self) -> f64 {
        self.fold(0.0, f64::max)
    }
}

/// Unit roundoff of a result and its reference together: in float64 both round.
fn both_roundings(dtype: u32) -> f64 {
    if dtype == F64 { 2.0 * unit_roundoff(F64) } else { unit_roundoff(dtype) }
}

/// Rounding a result to its dtype: relative, and absolute where it or its terms are so
/// small that they lose digits: among float16's subnormals, and below float32's normals.
fn rounding(dtype: u32, value: f64) -> f64 {
    let smallest = match dtype {
        F16 => 2.0_f64.powi(-25),
        F64 => f64::MIN_POSITIVE,
        _ => 2.0_f64.powi(-120),
    };
    both_roundings(dtype) * value.abs() + smallest
}

fn assert_loss(call: &Call, case: &Case, solution: &Solution, bounds: &Bounds) {
    let dtype = case.types.loss();
    let all: f64 = bounds.loss_scale.iter().sum();
    let spread = CONFIDENCE * (case.rows as f64).sqrt() * both_roundings(dtype);
    assert_close("loss", &call.outputs.loss.values(), &solution.loss, |row| {
        let value = solution.loss[row];
        match case.reduction {
            SSL_REDUCTION_NONE => bounds.row * bounds.loss_scale[row] + 4.0 * rounding(dtype, value),
            _ => bounds.row * all + (spread + 4.0 * both_roundings(dtype)) * value.abs(),
        }
    });
    for row in (0..case.rows).filter(|&row| bounds.loss_scale[row] != 0.0) {
        let got = call.outputs.log_sum_exp.get(row);
        assert_close("log_sum_exp", &[got], &solution.log_sum_exp[row..=row], |_| bounds.row);
    }
}

fn assert_d_inputs(call: &Call, case: &Case, solution: &Solution, bounds: &Bounds) {
    let largest = case.weights.iter().map(|w| w.abs()).sum_max();
    let (dtype, gap) = (case.types.d_inputs, case.gaps.d_inputs);
    let got = call.outputs.d_inputs.dense_rows(case.rows, case.dim, gap);
    assert_close("d_inputs", &got, &solution.d_inputs, |index| {
        // The probabilities sum to 1 and so do the targets.
        let mass = 2.0 * bounds.gradient_scale[index / case.dim];
        mass * largest * bounds.slope + rounding(dtype, solution.d_inputs[index])
    });
    assert!(call.outputs.d_inputs.gaps_are_untouched(case.dim, gap), "d_inputs: gaps");
}

fn assert_d_weights(call: &Call, case: &Case, solution: &Solution, bounds: &Bounds) {
    let largest = case.inputs.iter().map(|x| x.abs()).filter(|x| x.is_finite()).sum_max();
    let mass = class_mass(case, bounds);
    let (got_weights, got_biases) = weight_gradients(call, case);
    let dense = case.layout == SSL_GRADIENTS_DENSE;
    let before = |count: usize| if dense { earlier(count) } else { vec![0.0; count] };
    let sum = |values: &[f64]| -> Vec<f64> {
        values.iter().zip(before(values.len())).map(|(value, before)| value + before).collect()
    };
    let (want_weights, want_biases) = (sum(&solution.d_weights), sum(&solution.d_biases));
    assert_close("d_weights", &got_weights, &want_weights, |index| {
        let error = mass[index / case.dim] * largest * bounds.slope;
        error + rounding(case.types.d_weights, want_weights[index])
    });
    assert_close("d_biases", &got_biases, &want_biases, |class| {
        mass[class] * bounds.slope + rounding(case.types.d_biases, want_biases[class])
    });
    let gap = case.gaps.d_weights;
    assert!(call.outputs.d_weights.gaps_are_untouched(case.dim, gap), "d_weights: gaps");
}

/// Sum over the rows of the sizes that make up each class's gradient: |scale| times the
/// probability and the target. Without signs the bias gradient is their difference.
fn class_mass(case: &Case, bounds: &Bounds) -> Vec<f64> {
    let unsigned = Case {
        reduction: SSL_REDUCTION_NONE,
        sample_weights: None,
        grad_output: Some(bounds.gradient_scale.clone()),
        ..case.clone()
    };
    let mut mass = unsigned.problem().solve().d_biases;
    for (index, &label) in case.labels.iter().enumerate() {
        let row = index / case.num_true;
        if !case.is_ignored(row) {
            mass[label as usize] += 2.0 * bounds.gradient_scale[row] / case.num_true as f64;
        }
    }
    mass
}

/// The weight and bias gradients as dense arrays, whatever their layout.
pub fn weight_gradients(call: &Call, case: &Case) -> (Vec<f64>, Vec<f64>) {
    let (outputs, dim, gap) = (&call.outputs, case.dim, case.gaps.d_weights);
    if case.layout == SSL_GRADIENTS_DENSE {
        let weights = outputs.d_weights.dense_rows(case.classes, dim, gap);
        return (weights, outputs.d_biases.values());
    }
    let (mut weights, mut biases) = (vec![0.0; case.classes * dim], vec![0.0; case.classes]);
    let count = usize::try_from(outputs.num_rows).expect("num_rows was written");
    let rows = outputs.d_weights.dense_rows(count, dim, gap);
    for (row, &class) in outputs.row_ids[..count].iter().enumerate() {
        let class = class as usize;
        weights[class * dim..][..dim].copy_from_slice(&rows[row * dim..][..dim]);
        biases[class] = outputs.d_biases.get(row);
    }
    (weights, biases)
}
