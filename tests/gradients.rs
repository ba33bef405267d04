//! Loss and gradients equal the float64 reference on random losses of every shape and
//! option, and are the derivatives of `ssl_forward`.

mod common;

use common::{
    BF16, Call, Case, F32, F64, Gaps, Random, Types, assert_close, assert_matches_reference,
    central_differences,
};
use proptest::prelude::*;
use sampled_softmax::abi::*;

/// A random case of random shape; `seed` decides the values.
fn cases() -> impl Strategy<Value = Case> {
    let shape = (0..40_usize, 1..70_usize, 1..300_usize, 1..200_usize, 1..5_usize);
    let enums = (0..2_u32, 0..3_u32, 0..2_u32, 0..3_usize);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (shape, enums, flags, any::<u64>()).prop_map(|(shape, enums, flags, seed)| {
        let (rows, dim, classes, sampled, num_true) = shape;
        let mut random = Random::new(seed);
        let num_true = num_true.min(classes);
        let mut case = Case::random([rows, dim, classes, sampled, num_true], &mut random);
        (case.hits, case.reduction, case.layout) = (enums.0, enums.1, enums.2);
        case.probability_floor = [0.0, 1e-20, 0.05][enums.3];
        case.num_threads = 2;
        let (biases, weighted, ignoring, upstream) = flags;
        if !biases {
            case.biases = None;
        }
        if weighted {
            case.sample_weights = Some(random.values(rows, 0.0, 2.0));
            case.sample_weights.iter_mut().flatten().step_by(3).for_each(|weight| *weight = 0.0);
        }
        if ignoring {
            case.ignore_index = Some(-100);
            for row in (1..rows).step_by(4) {
                case.labels[row * num_true..][..num_true].fill(-100);
            }
        }
        if upstream {
            case.grad_output = Some(random.values(case.loss_len(), -2.0, 2.0));
        }
        case
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_losses_and_gradients_equal_the_reference(case in cases()) {
        let mut call = Call::new(&case);
        call.forward_backward().unwrap();
        assert_matches_reference(&call);
    }

    #[test]
    fn backward_after_forward_equals_the_reference(case in cases()) {
        let mut call = Call::new(&case);
        call.forward().unwrap();
        call.backward().unwrap();
        assert_matches_reference(&call);
    }

    #[test]
    fn float64_equals_the_reference_to_its_last_digits(case in cases()) {
        let mut call = Call::new(&Case { types: Types::all(F64), ..case });
        call.forward_backward().unwrap();
        assert_matches_reference(&call);
    }

    #[test]
    fn row_strides_are_respected(case in cases(), gaps in [0..9_usize, 0..9, 0..9, 0..9]) {
        let [inputs, weights, d_inputs, d_weights] = gaps;
        let gaps = Gaps { inputs, weights, d_inputs, d_weights };
        let mut call = Call::new(&Case { gaps, ..case });
        call.forward_backward().unwrap();
        assert_matches_reference(&call);
    }
}

/// More rows, candidates and elements than any block holds, with rows left out between.
#[test]
fn large_losses_equal_the_reference() {
    let mut random = Random::new(1);
    let shapes = [
        [300, 130, 1000, 700, 1],
        [257, 65, 64, 513, 2],
        [33, 300, 5000, 1025, 1],
        [1300, 20, 500, 90, 2],
        [700, 40, 3000, 5000, 1],
        [20, 1100, 50, 40, 3],
    ];
    for (index, shape) in shapes.into_iter().enumerate() {
        for dtype in [F32, BF16, F64] {
            let mut case = Case::random(shape, &mut random);
            case.types = Types::all(dtype);
            case.num_threads = 2;
            case.layout = index as u32 % 2;
            case.reduction = index as u32 % 3;
            leave_rows_out(&mut case, &mut random);
            let mut call = Call::new(&case);
            call.forward_backward().unwrap();
            assert_matches_reference(&call);
        }
    }
}

/// Ignores every 7th row, and gives every 5th the weight 0 and every 3rd, where rows have
/// one each, the upstream gradient 0.
fn leave_rows_out(case: &mut Case, random: &mut Random) {
    let mut weights = random.values(case.rows, 0.5, 2.0);
    weights.iter_mut().step_by(5).for_each(|weight| *weight = 0.0);
    case.sample_weights = Some(weights);
    case.ignore_index = Some(-1);
    case.labels.chunks_mut(case.num_true).step_by(7).for_each(|row| row.fill(-1));
    let mut upstream = random.values(case.loss_len(), 0.5, 2.0);
    if case.reduction == SSL_REDUCTION_NONE {
        upstream.iter_mut().step_by(3).for_each(|gradient| *gradient = 0.0);
    }
    case.grad_output = Some(upstream);
}

/// Sizes around those that blocked code treats apart.
#[test]
fn sizes_beside_powers_of_two_equal_the_reference() {
    let mut random = Random::new(2);
    let sizes = [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65];
    for (index, &size) in sizes.iter().enumerate() {
        let other = sizes[(index * 5 + 3) % sizes.len()];
        for shape in [[size, other, 50, 20, 1], [5, size, 90, other, 1], [other, 6, 80, size, 2]] {
            let mut call = Call::new(&Case::random(shape, &mut random));
            call.forward_backward().unwrap();
            assert_matches_reference(&call);
        }
    }
}

/// What follows the loss: the sum of loss times upstream gradient, by `ssl_forward`.
fn downstream(case: &Case) -> f64 {
    let mut call = Call::new(case);
    call.forward().unwrap();
    let upstream = case.grad_output.as_ref().unwrap();
    call.outputs.loss.values().iter().zip(upstream).map(|(loss, g)| loss * g).sum()
}

#[test]
fn gradients_are_the_derivatives_of_the_forward_call() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut case = Case::random([4, 5, 6, 7, 1 + seed as usize % 3], &mut random);
        case.types = Types::all(F64);
        case.layout = SSL_GRADIENTS_SPARSE;
        case.reduction = (seed % 3) as u32;
        case.probability_floor = [0.0, 0.02][seed as usize % 2];
        case.grad_output = Some(random.values(case.loss_len(), -2.0, 2.0));
        let mut call = Call::new(&case);
        call.forward_backward().unwrap();
        let (weights, biases) = common::weight_gradients(&call, &case);
        // The step squared times a third derivative of order 1, and the loss's last bits
        // over the step, are each about 1e-10.
        let bound = |_: usize| 1e-8;
        let inputs = central_differences(&case, downstream, |case| &mut case.inputs);
        assert_close("d_inputs", &call.outputs.d_inputs.values(), &inputs, bound);
        assert_close(
            "d_weights",
            &weights,
            &central_differences(&case, downstream, |c| &mut c.weights),
            bound,
        );
        let expected = central_differences(&case, downstream, |case| case.biases.as_mut().unwrap());
        assert_close("d_biases", &biases, &expected, bound);
    }
}
