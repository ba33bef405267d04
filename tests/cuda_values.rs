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
