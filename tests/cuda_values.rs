//! Values that are hard on the CUDA engine, on the emulated driver: nothing to compute,
//! NaN and infinity, classes that are off, rows that do not take part, labels that are no
//! classes. What the CPU engine gives is what is due.

mod common;

use common::emulated::{emulated, on_all_kernels};
use common::{
    BF16, Call, Case, F16, F32, Outputs, Random, Types, assert_close, assert_matches_reference_within,
    weight_gradients,
};
use sampled_softmax::abi::*;

const INF: f64 = f64::INFINITY;

fn run(case: &Case, backend: u32) -> Call {
    let mut call = Call::new(&Case { backend, ..case.clone() });
    call.forward_backward().unwrap();
    call
}

/// Makes a case wrong.
type Spoil = fn(&mut Case);

/// Losses and gradients of both engines agree, infinities and NaN included.
fn assert_like_cpu(case: &Case) {
    let (cuda, cpu) = (run(case, SSL_BACKEND_CUDA), run(case, SSL_BACKEND_CPU));
    let half = case.types.inputs != F32;
    let relative = if half { 2e-2 } else { 1e-3 };
    let close = |name: &str, got: &[f64], want: &[f64], absolute: f64| {
        assert_close(name, got, want, |index| absolute + relative * want[index].abs());
    };
    let (got, want) = (&cuda.outputs, &cpu.outputs);
    close("loss", &got.loss.values(), &want.loss.values(), 1e-4);
    close("log_sum_exp", &got.log_sum_exp.values(), &want.log_sum_exp.values(), 1e-4);
    let absolute = if half { 1e-2 } else { 1e-4 };
    close("d_inputs", &got.d_inputs.values(), &want.d_inputs.values(), absolute);
    let (got_weights, got_biases) = weight_gradients(&cuda, case);
    let (want_weights, want_biases) = weight_gradients(&cpu, case);
    close("d_weights", &got_weights, &want_weights, absolute);
    close("d_biases", &got_biases, &want_biases, absolute);
    assert_eq!(got.num_rows, want.num_rows);
    assert_eq!(got.row_ids, want.row_ids);
}

/// One for each way to compute: short rows, long rows, each of both types.
fn each_route(num_true: usize, mut with: impl FnMut(Case)) {
    for dim in [6, 130, 270] {
        for dtype in [F32, BF16, F16] {
            let mut case = Case::random([9, dim, 30, 70, num_true], &mut Random::new(dim as u64));
            case.types = Types::all(dtype);
            case.inputs.iter_mut().for_each(|x| *x *= 0.3);
            with(case);
        }
    }
}

#[test]
fn no_rows_give_no_loss_and_no_gradient() {
    emulated(no_rows_give_no_loss_and_no_gradient, "all", &[], || {
        for reduction in [SSL_REDUCTION_NONE, SSL_REDUCTION_MEAN, SSL_REDUCTION_SUM] {
            for dim in [6, 300] {
                for layout in [SSL_GRADIENTS_SPARSE, SSL_GRADIENTS_DENSE] {
                    let mut case = Case::random([0, dim, 30, 10, 2], &mut Random::new(1));
                    (case.reduction, case.layout) = (reduction, layout);
                    assert_like_cpu(&case);
                }
            }
        }
    });
}

#[test]
fn nan_and_infinity_in_a_row_reach_no_other_row() {
    on_all_kernels(nan_and_infinity_in_a_row_reach_no_other_row, || {
        each_route(2, |mut case| {
            let dim = case.dim;
            let good = run(&case, SSL_BACKEND_CUDA).outputs;
            for value in [f64::NAN, INF, -INF] {
                case.inputs[4 * dim + 3] = value;
                let bad = run(&case, SSL_BACKEND_CUDA).outputs;
                let others = |outputs: &Outputs| -> Vec<u64> {
                    let of = |values: Vec<f64>, each: usize| -> Vec<f64> {
                        values
                            .chunks(each)
                            .enumerate()
                            .filter(|(n, _)| *n != 4)
                            .flat_map(|(_, x)| x.to_vec())
                            .collect()
                    };
                    let all = [of(outputs.loss.values(), 1), of(outputs.d_inputs.values(), dim)].concat();
                    all.iter().map(|x| x.to_bits()).collect()
                };
                assert_eq!(others(&bad), others(&good), "{value}");
                assert!(!bad.loss.get(4).is_finite());
            }
        });
    });
}

#[test]
fn rows_that_do_not_take_part_may_hold_anything() {
    on_all_kernels(rows_that_do_not_take_part_may_hold_anything, || {
        each_route(2, |mut case| {
            let dim = case.dim;
            case.ignore_index = Some(-1);
            case.labels[2..4].fill(-1);
            let mut weights = vec![1.0; 9];
            weights[3] = 0.0;
            case.sample_weights = Some(weights);
            let mut upstream = vec![0.5; 9];
            upstream[5] = 0.0;
            case.grad_output = Some(upstream);
            case.inputs[dim..2 * dim].fill(f64::NAN);
            case.inputs[3 * dim..4 * dim].fill(INF);
            let cuda = run(&case, SSL_BACKEND_CUDA).outputs;
            assert!(cuda.loss.values().iter().all(|x| x.is_finite()));
            assert_like_cpu(&case);
            // Backward sees the upstream gradient before anything else.
            case.inputs[5 * dim..6 * dim].fill(f64::NAN);
            for backend in [SSL_BACKEND_CUDA, SSL_BACKEND_CPU] {
                let mut call = Call::new(&Case { backend, ..case.clone() });
                call.forward().unwrap();
                call.backward().unwrap();
                assert!(call.outputs.d_inputs.values().iter().all(|x| x.is_finite()));
                let (weights, biases) = weight_gradients(&call, &case);
                assert!(weights.iter().chain(&biases).all(|x| x.is_finite()), "backend {backend}");
            }
        });
    });
}

#[test]
fn classes_that_are_off_count_for_nothing() {
    on_all_kernels(classes_that_are_off_count_for_nothing, || {
        each_route(1, |mut case| {
            let mut biases = vec![0.0; 30];
            biases[..10].fill(-INF);
            case.biases = Some(biases);
            // A true class that is off: that row alone is +inf.
            case.labels[2] = 3;
            case.labels[4] = 20;
            assert_like_cpu(&case);
            // Every class is off, the true ones too.
            case.biases = Some(vec![-INF; 30]);
            assert_like_cpu(&case);
        });
    });
}

#[test]
fn all_negatives_hit_leaves_ln_t() {
    on_all_kernels(all_negatives_hit_leaves_ln_t, || {
        each_route(1, |mut case| {
            case.labels.fill(7);
            case.ids.fill(7);
            case.true_expected_count.fill(0.5);
            assert_like_cpu(&case);
            let outputs = run(&case, SSL_BACKEND_CUDA).outputs;
            assert!(outputs.loss.values().iter().all(|&loss| loss == 0.0));
            assert!(outputs.d_inputs.values().iter().all(|&x| x == 0.0));
        });
    });
}

#[test]
fn huge_and_tiny_logits_stay_exact() {
    emulated(huge_and_tiny_logits_stay_exact, "all", &[], || {
        for scale in [1e-3, 30.0, 1e4] {
            let mut case = Case::random([9, 16, 30, 70, 1], &mut Random::new(3));
            case.inputs.iter_mut().for_each(|x| *x *= scale);
            case.precision = SSL_PRECISION_IEEE;
            let call = run(&case, SSL_BACKEND_CUDA);
            assert_matches_reference_within(&call, common::Accuracy::FULL);
        }
    });
}

/// Logits of candidates between -|s| and |s| above the label's, s another for each row: all, some
/// or none of a row's exponentials leave the range in which they are stored, in tiles that hold
/// rows of every kind, and of no such row at all.
fn far_from_the_label(dtype: u32, num_true: usize) -> Case {
    let (rows, dim, classes, sampled) = (300, 264, 60, 50);
    let mut case = Case::random([rows, dim, classes, sampled, num_true], &mut Random::new(7));
    case.types = Types::all(dtype);
    (case.types.d_inputs, case.types.d_weights, case.types.d_biases) = (F32, F32, F32);
    // Labels are of the last ten classes, which no candidate is.
    case.ids.iter_mut().for_each(|id| *id %= 50);
    case.labels.iter_mut().for_each(|label| *label = 50 + *label % 10);
    case.inputs.iter_mut().for_each(|x| *x *= 0.1);
    // Up to the 128th row those of the exponents at which exponentials cease to be kept, 48 ln 2, then every size.
    let sizes = [33.0, 33.25, 33.5, -34.0, 30.0, 0.0, 200.0, -200.0, 1.0, 60.0, -90.0, 150.0, -400.0];
    for row in 0..rows {
        let kinds = if row < 128 { &sizes[..6] } else { &sizes };
        case.inputs[row * dim] = if row >= 256 { 0.5 } else { kinds[row % kinds.len()] };
    }
    for class in 0..classes {
        case.weights[class * dim] = if class < 50 { (class % 5) as f64 / 2.0 - 1.0 } else { 0.0 };
        case.weights[class * dim + 1..][..dim - 1].iter_mut().for_each(|w| *w *= 0.1);
    }
    case
}

#[test]
fn labels_far_from_their_candidates_match_the_reference() {
    on_all_kernels(labels_far_from_their_candidates_match_the_reference, || {
        let precisions = [SSL_PRECISION_DEFAULT, SSL_PRECISION_TF32, SSL_PRECISION_IEEE];
        let all = [BF16, F16].map(|dtype| (dtype, SSL_PRECISION_DEFAULT)).into_iter();
        for (dtype, precision) in all.chain(precisions.map(|precision| (F32, precision))) {
            for (num_true, probability_floor) in [(1, 0.0), (3, 1e-3)] {
                let mut case = far_from_the_label(dtype, num_true);
                (case.precision, case.probability_floor) = (precision, probability_floor);
                assert_matches_reference_within(
                    &run(&case, SSL_BACKEND_CUDA),
                    common::Accuracy::of_cuda(&case),
                );
            }
        }
    });
}

/// The same with rows of NaN and infinity among them, which stay the only ones, and classes that are off.
#[test]
fn what_is_not_finite_stays_in_its_row_beside_labels_far_from_their_candidates() {
    on_all_kernels(what_is_not_finite_stays_in_its_row_beside_labels_far_from_their_candidates, || {
        for dtype in [BF16, F32] {
            let mut case = far_from_the_label(dtype, 1);
            case.reduction = SSL_REDUCTION_NONE;
            let (dim, mut biases) = (case.dim, vec![0.0; 60]);
            biases[3] = -INF;
            biases[55] = -INF;
            case.biases = Some(biases);
            let good = run(&case, SSL_BACKEND_CUDA).outputs;
            let losses = good.loss.values();
            let is_off = |row: usize| case.labels[row] == 55;
            assert!((0..300).all(|row| losses[row].is_finite() != is_off(row)));
            let spoilt = [(5, f64::NAN), (40, INF), (131, -INF), (200, f64::NAN), (299, f64::NAN)];
            for (row, value) in spoilt {
                case.inputs[row * dim + 7] = value;
            }
            let bad = run(&case, SSL_BACKEND_CUDA).outputs;
            let rows = (0..300).filter(|row| spoilt.iter().all(|(bad, _)| bad != row));
            for row in rows {
                assert_eq!(bad.loss.get(row).to_bits(), good.loss.get(row).to_bits(), "row {row}");
                let of = |outputs: &Outputs| outputs.d_inputs.values()[row * dim..][..dim].to_vec();
                assert_eq!(of(&bad), of(&good), "row {row}");
            }
            for (row, _) in spoilt {
                assert!(bad.loss.get(row).is_nan() && bad.d_inputs.get(row * dim).is_nan(), "row {row}");
            }
            // Their upstream gradient is 0: nothing of them is left.
            let mut upstream = vec![1.0; 300];
            spoilt.iter().for_each(|&(row, _)| upstream[row] = 0.0);
            case.grad_output = Some(upstream);
            let none = run(&case, SSL_BACKEND_CUDA);
            assert!(none.outputs.d_inputs.values().iter().all(|x| x.is_finite()));
            let (weights, biases) = weight_gradients(&none, &case);
            assert!(weights.iter().chain(&biases).all(|x| x.is_finite()));
        }
    });
}

#[test]
fn upstream_gradients_far_below_what_float16_holds_are_kept() {
    on_all_kernels(upstream_gradients_far_below_what_float16_holds_are_kept, || {
        each_route(1, |mut case| {
            case.grad_output = Some(vec![1e-9; 9]);
            (case.types.d_inputs, case.types.d_weights, case.types.d_biases) = (F32, F32, F32);
            let (cuda, cpu) = (run(&case, SSL_BACKEND_CUDA), run(&case, SSL_BACKEND_CPU));
            let want = cpu.outputs.d_inputs.values();
            assert_close("d_inputs", &cuda.outputs.d_inputs.values(), &want, |_| 2e-11);
            let (got, want) = (weight_gradients(&cuda, &case).0, weight_gradients(&cpu, &case).0);
            assert_close("d_weights", &got, &want, |_| 2e-11);
        });
    });
}

#[test]
fn what_is_wrong_with_labels_and_counts_is_in_the_status() {
    on_all_kernels(what_is_wrong_with_labels_and_counts_is_in_the_status, || {
        each_route(2, |good| {
            let spoil: [(Spoil, i32, bool); 6] = [
                (|case| case.labels[4] = -1, SSL_STATUS_LABEL_RANGE, false),
                (|case| case.labels[5] = 30, SSL_STATUS_LABEL_RANGE, false),
                (|case| case.true_expected_count[4] = 0.0, SSL_STATUS_EXPECTED_COUNT, false),
                (
                    |case| (case.ignore_index, case.labels[5]) = (Some(-1), -1),
                    SSL_STATUS_INVALID_VALUE,
                    false,
                ),
                (|case| case.ids[1] = 30, SSL_STATUS_LABEL_RANGE, true),
                (|case| case.sampled_expected_count[1] = 0.0, SSL_STATUS_EXPECTED_COUNT, true),
            ];
            for (spoil, status, all_rows) in spoil {
                let mut case = good.clone();
                spoil(&mut case);
                let outputs = run(&case, SSL_BACKEND_CUDA).outputs;
                assert_eq!(outputs.device_status, status as u32);
                for (row, loss) in outputs.loss.values().iter().enumerate() {
                    assert_eq!(loss.is_nan(), all_rows || row == 2, "loss[{row}] = {loss}");
                }
                let gradients = outputs.d_inputs.values();
                assert!(gradients[2 * case.dim..3 * case.dim].iter().all(|&x| x == 0.0));
                assert!(gradients.iter().all(|x| x.is_finite()));
            }
        });
    });
}

/// The floor must not stand in for the probability of a label that is switched off where
/// there is no probability at all.
#[test]
fn a_probability_floor_does_not_hide_nan() {
    emulated(a_probability_floor_does_not_hide_nan, "all", &[], || {
        each_route(1, |mut case| {
            case.probability_floor = 1e-3;
            case.labels.fill(3);
            case.ids.fill(5);
            case.biases = Some((0..30).map(|class| if class == 3 { -INF } else { 0.0 }).collect());
            case.weights[5 * case.dim + 1] = f64::NAN;
            let outputs = run(&case, SSL_BACKEND_CUDA).outputs;
            assert!(outputs.loss.values().iter().all(|loss| loss.is_nan()), "d {}", case.dim);
            assert!(outputs.d_inputs.get(1).is_nan());
        });
    });
}
