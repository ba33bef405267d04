//! Every mix of element types: values are read exactly, sums are float32 or better, and
//! only what is written is rounded.

mod common;

use common::{BF16, Call, Case, F16, F32, F64, Random, Types, assert_close, assert_matches_reference};
use sampled_softmax::abi::*;

const HALVES_AND_SINGLES: [u32; 3] = [F32, F16, BF16];

fn run(case: &Case) -> Call {
    let mut call = Call::new(case);
    call.forward_backward().unwrap();
    call
}

fn some_case(seed: u64) -> Case {
    Case::random([13, 37, 50, 29, 1 + seed as usize % 2], &mut Random::new(seed))
}

#[test]
fn every_mix_of_inputs_weights_and_biases_equals_the_reference() {
    let mut seed = 0;
    for inputs in HALVES_AND_SINGLES {
        for weights in HALVES_AND_SINGLES {
            for biases in HALVES_AND_SINGLES {
                let types = Types { inputs, weights, biases, ..Types::all(F32) };
                assert_matches_reference(&run(&Case { types, ..some_case(seed) }));
                seed += 1;
            }
        }
    }
}

#[test]
fn every_mix_of_gradient_types_equals_the_reference() {
    let mut seed = 100;
    for d_inputs in HALVES_AND_SINGLES {
        for d_weights in HALVES_AND_SINGLES {
            for d_biases in HALVES_AND_SINGLES {
                let types = Types { d_inputs, d_weights, d_biases, ..Types::all(BF16) };
                let layout = (seed % 2) as u32;
                assert_matches_reference(&run(&Case { types, layout, ..some_case(seed) }));
                seed += 1;
            }
        }
    }
}

#[test]
fn sparse_and_dense_gradients_of_every_type_agree_bit_for_bit() {
    for dtype in [F32, F16, BF16, F64] {
        let types = Types::all(dtype);
        let sparse = Case { types, ..some_case(7) };
        let dense = Case { layout: SSL_GRADIENTS_DENSE, ..sparse.clone() };
        let mut dense = Call::new(&dense);
        // Into zeros, a sum is the summand.
        dense.outputs.d_weights = common::Buffer::new(dtype, &vec![0.0; 50 * 37]);
        dense.outputs.d_biases = common::Buffer::new(dtype, &[0.0; 50]);
        dense.forward_backward().unwrap();
        let sparse_gradients = common::weight_gradients(&run(&sparse), &sparse);
        let dense_gradients = common::weight_gradients(&dense, &dense.case);
        assert_eq!(sparse_gradients, dense_gradients, "dtype {dtype}");
    }
}

#[test]
fn dense_gradients_are_added_to_what_is_there() {
    for dtype in [F32, F16, BF16, F64] {
        let types = Types::all(dtype);
        let case = Case { types, layout: SSL_GRADIENTS_DENSE, ..some_case(8) };
        assert_matches_reference(&run(&case));
    }
}

#[test]
fn labels_of_either_width_give_the_same_bits() {
    for seed in 0..4 {
        let mut case = some_case(seed);
        case.ignore_index = Some(-1);
        case.labels[0..case.num_true].fill(-1);
        let wide = run(&case);
        case.types.labels = SSL_LABELS_INT32;
        assert_eq!(run(&case).outputs, wide.outputs);
    }
}

#[test]
fn expected_counts_of_either_width_agree() {
    let mut case = some_case(3);
    // Exact in float32, so that both widths hold the same numbers.
    case.sampled_expected_count.iter_mut().for_each(|q| *q = common::round(F32, *q));
    case.true_expected_count.iter_mut().for_each(|q| *q = common::round(F32, *q));
    let single = run(&case);
    case.types.counts = F64;
    let double = run(&case);
    assert_eq!(single.outputs.loss, double.outputs.loss);
    assert_eq!(single.outputs.d_weights, double.outputs.d_weights);
}

#[test]
fn float64_counts_are_read_in_float64() {
    let mut case = some_case(4);
    case.types = Types::all(F64);
    case.sampled_expected_count.fill(1.0 + 1e-12);
    case.true_expected_count.fill(1.0 + 3e-12);
    assert_matches_reference(&run(&case));
}

/// The forward pass reads bfloat16 exactly: float32 copies of the same values give the
/// same numbers to float32's own accuracy.
#[test]
fn halves_are_as_good_as_the_singles_they_stand_for() {
    for half in [F16, BF16] {
        let types = Types { inputs: half, weights: half, biases: half, ..Types::all(F32) };
        let case = Case { types, ..some_case(5) };
        let single = Case { types: Types::all(F32), ..case.rounded() };
        let (half, single) = (run(&case), run(&single));
        let bound = |_: usize| 1e-5;
        assert_close("loss", &half.outputs.loss.values(), &single.outputs.loss.values(), bound);
        let d_inputs = (half.outputs.d_inputs.values(), single.outputs.d_inputs.values());
        assert_close("d_inputs", &d_inputs.0, &d_inputs.1, bound);
    }
}

#[test]
fn ieee_precision_rounds_nothing_before_the_gradients() {
    for seed in 10..14 {
        let mut case = Case::random([70, 60, 300, 200, 1], &mut Random::new(seed));
        (case.types, case.precision) = (Types::all(BF16), SSL_PRECISION_IEEE);
        case.layout = (seed % 2) as u32;
        assert_matches_reference(&run(&case));
    }
}

/// Whichever gradients are returned in bfloat16, a float32 one is float32's own.
#[test]
fn float32_gradients_of_halves_do_not_depend_on_the_other_gradients() {
    let mut case = Case::random([70, 61, 300, 201, 1], &mut Random::new(15));
    case.types = Types { d_inputs: F32, d_weights: F32, ..Types::all(BF16) };
    let both = run(&case).outputs;
    case.types.d_inputs = BF16;
    assert_eq!(run(&case).outputs.d_weights, both.d_weights);
    (case.types.d_inputs, case.types.d_weights) = (F32, BF16);
    assert_eq!(run(&case).outputs.d_inputs, both.d_inputs);
}

#[test]
fn without_a_bias_the_bias_type_does_not_matter() {
    let mut case = some_case(6);
    case.biases = None;
    let plain = run(&case);
    case.types.biases = BF16;
    assert_eq!(run(&case).outputs, plain.outputs);
}

/// float16 holds 65504 at most: a masked hit must not come in as a huge finite number.
#[test]
fn halves_with_hits_stay_finite() {
    for dtype in [F16, BF16] {
        let mut case = Case { types: Types::all(dtype), ..some_case(9) };
        for row in 0..case.rows {
            case.labels[row * case.num_true] = case.ids[row % case.ids.len()];
        }
        let call = run(&case);
        let outputs = &call.outputs;
        assert!(outputs.loss.values().iter().all(|loss| loss.is_finite()));
        assert!(outputs.d_inputs.values().iter().all(|gradient| gradient.is_finite()));
        assert_matches_reference(&call);
    }
}
