//! Results beside the reference, each within its own tolerance.

use sampled_softmax::abi::*;
use sampled_softmax::reference::Solution;

use super::accuracy::{Accuracy, both_roundings, rounding};
use super::outputs::earlier;
use super::tolerance::Tolerances;
use super::{Buffer, Call, Case, F64, Outputs, round};

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

/// The largest error of each output of a call, in units of its tolerance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worst {
    pub loss: f64,
    pub log_sum_exp: f64,
    pub d_inputs: f64,
    pub d_weights: f64,
    pub d_biases: f64,
}

/// Asserts that a forward and backward call wrote what the reference says.
pub fn assert_matches_reference(call: &Call) -> Worst {
    assert_matches_reference_within(call, Accuracy::FULL)
}

/// The same for an engine that rounds more on its way.
pub fn assert_matches_reference_within(call: &Call, accuracy: Accuracy) -> Worst {
    let case = call.drawn_case().rounded();
    let solution = case.problem().solve();
    let tolerances = Tolerances::of(&case, accuracy);
    let (loss, log_sum_exp) = assert_loss_within(call, &case, &solution, &tolerances);
    let (d_weights, d_biases) = assert_d_weights(call, &case, &solution, &tolerances);
    let d_inputs = assert_d_inputs(call, &case, &solution, &tolerances);
    Worst { loss, log_sum_exp, d_inputs, d_weights, d_biases }
}

/// Asserts that a forward call, perhaps without a backward one, wrote the right loss.
pub fn assert_loss_matches_reference(call: &Call, accuracy: Accuracy) -> Worst {
    let case = call.drawn_case().rounded();
    let tolerances = Tolerances::of(&case, accuracy);
    let (loss, log_sum_exp) = assert_loss_within(call, &case, &case.problem().solve(), &tolerances);
    Worst { loss, log_sum_exp, ..Worst::default() }
}

/// Asserts that each number lies within its tolerance, once it may be rounded to `dtype`,
/// and gives the largest error beyond that rounding in units of the tolerance.
pub fn worst_of(name: &str, dtype: u32, got: &[f64], want: &[f64], tolerances: &[f64]) -> f64 {
    assert_eq!((got.len(), tolerances.len()), (want.len(), want.len()), "{name}: length");
    let mut worst = 0.0;
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        let tolerance = tolerances[index];
        let beyond = (got - want).abs() - rounding(dtype, want);
        let alike = got == want || got.is_nan() && want.is_nan() || beyond <= 0.0;
        // Beyond the largest number of the dtype a result is infinite.
        let overflowed = got.is_infinite() && got == round(dtype, want + tolerance.copysign(got));
        let error = if alike || overflowed { 0.0 } else { beyond / tolerance };
        assert!(
            error <= 1.0,
            "{name}[{index}] is {got:e}, should be {want:e} within {tolerance:e}: {error:.3} times that"
        );
        worst = f64::max(worst, error);
    }
    worst
}

/// The same of gradients. Where an infinite input makes one infinite or NaN, it may be
/// anything: 0 times infinity is met or not, as the order of the products has it.
fn worst_gradient(case: &Case, name: &str, dtype: u32, got: &[f64], want: &[f64], tolerances: &[f64]) -> f64 {
    let infinite = case.inputs.iter().any(|x| x.is_infinite());
    let both = got.iter().zip(want);
    let got: Vec<f64> =
        both.map(|(&got, &want)| if infinite && !want.is_finite() { want } else { got }).collect();
    worst_of(name, dtype, &got, want, tolerances)
}

fn assert_loss_within(call: &Call, case: &Case, solution: &Solution, tolerances: &Tolerances) -> (f64, f64) {
    assert_eq!(call.outputs.device_status, 0);
    let got = call.outputs.loss.values();
    let loss = worst_of("loss", case.types.loss(), &got, &solution.loss, &tolerances.loss);
    let got = call.outputs.log_sum_exp.values();
    (loss, worst_of("log_sum_exp", F64, &got, &solution.log_sum_exp, &tolerances.log_sum_exp))
}

fn assert_d_inputs(call: &Call, case: &Case, solution: &Solution, tolerances: &Tolerances) -> f64 {
    if !case.wanted.d_inputs {
        assert_eq!(call.outputs.d_inputs, Outputs::new(case).d_inputs, "d_inputs: not asked for");
        return 0.0;
    }
    let (dtype, gap) = (case.types.d_inputs, case.gaps.d_inputs);
    let got = call.outputs.d_inputs.dense_rows(case.rows, case.dim, gap);
    assert!(call.outputs.d_inputs.gaps_are_untouched(case.dim, gap), "d_inputs: gaps");
    worst_gradient(case, "d_inputs", dtype, &got, &solution.d_inputs, &tolerances.d_inputs)
}

fn assert_d_weights(call: &Call, case: &Case, solution: &Solution, tolerances: &Tolerances) -> (f64, f64) {
    let (wanted, gap, untouched) = (case.wanted, case.gaps.d_weights, Outputs::new(case));
    if !wanted.d_weights {
        assert_eq!(call.outputs.d_weights, untouched.d_weights, "d_weights: not asked for");
    }
    if !wanted.d_biases {
        assert_eq!(call.outputs.d_biases, untouched.d_biases, "d_biases: not asked for");
    }
    if !wanted.d_weights && !wanted.d_biases {
        assert_eq!((&call.outputs.row_ids, call.outputs.num_rows), (&untouched.row_ids, untouched.num_rows));
        return (0.0, 0.0);
    }
    let (got_weights, got_biases) = weight_gradients(call, case);
    assert!(call.outputs.d_weights.gaps_are_untouched(case.dim, gap), "d_weights: gaps");
    let dense = case.layout == SSL_GRADIENTS_DENSE;
    if !dense {
        assert_sparse_rows(call, case);
    }
    // Added to what a dense array holds, in the accumulation's type.
    let u = both_roundings(case.types.loss());
    let add = |values: &[f64], tolerances: &[f64]| -> (Vec<f64>, Vec<f64>) {
        if !dense {
            return (values.to_vec(), tolerances.to_vec());
        }
        let sums: Vec<f64> =
            values.iter().zip(earlier(values.len())).map(|(value, before)| value + before).collect();
        let widened = tolerances.iter().zip(&sums).map(|(tolerance, sum)| tolerance + u * sum.abs());
        (sums.clone(), widened.collect())
    };
    let (want, tolerance) = add(&solution.d_weights, &tolerances.d_weights);
    let worst = |yes: bool, name: &str, dtype: u32, got: &[f64], want: &[f64], tolerance: &[f64]| -> f64 {
        if yes { worst_gradient(case, name, dtype, got, want, tolerance) } else { 0.0 }
    };
    let dtype = case.types.d_weights;
    let weights = worst(wanted.d_weights, "d_weights", dtype, &got_weights, &want, &tolerance);
    let (want, tolerance) = add(&solution.d_biases, &tolerances.d_biases);
    let dtype = case.types.d_biases;
    (weights, worst(wanted.d_biases, "d_biases", dtype, &got_biases, &want, &tolerance))
}

/// Asserts that the rows are those of the candidates and of the labels that are not
/// ignored, and that nothing is written behind them.
fn assert_sparse_rows(call: &Call, case: &Case) {
    let live = (0..case.rows).filter(|&row| !case.is_ignored(row));
    let labels = live.flat_map(|row| &case.labels[row * case.num_true..][..case.num_true]);
    let classes: std::collections::BTreeSet<i64> = labels.chain(&case.ids).copied().collect();
    let outputs = &call.outputs;
    assert_eq!(outputs.num_rows, classes.len() as i64, "num_rows");
    let missing = std::iter::repeat_n(-1, outputs.row_ids.len() - classes.len());
    let expected: Vec<i64> = classes.iter().copied().chain(missing).collect();
    assert_eq!(outputs.row_ids, expected, "row_ids");
    let (end, stride) = (classes.len(), case.dim + case.gaps.d_weights);
    let behind = |buffer: &Buffer, from: usize| (from..buffer.len()).all(|index| buffer.is_untouched(index));
    assert!(behind(&outputs.d_weights, end * stride), "d_weights: behind the last row");
    assert!(behind(&outputs.d_biases, end), "d_biases: behind the last row");
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
