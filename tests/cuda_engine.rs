//! The CUDA engine on the emulated driver against the float64 reference: every shape,
//! type and option, and the CPU engine beside it.

mod common;

use common::driver::Driver;
use common::emulated::{emulated, folder};
use common::{
    Accuracy, BF16, Call, Case, F16, F32, Gaps, Random, Types, assert_matches_reference,
    assert_matches_reference_within,
};
use sampled_softmax::abi::*;

/// One of several.
fn choose<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

/// Any shape with these dimensions and rows, any option.
fn any_case(random: &mut Random, dims: &[usize]) -> Case {
    let rows = choose(random, &[1, 2, 7, 33, 64, 70, 129]);
    let dim = choose(random, dims);
    let classes = choose(random, &[5, 20, 90, 1000]);
    let sampled = choose(random, &[1, 3, 11, 64, 65, 150, 300]);
    let num_true = choose(random, &[1, 1, 2, 5]);
    let mut case = Case::random([rows, dim, classes, sampled, num_true], random);
    let scale = 4.0 / (dim as f64).sqrt();
    case.inputs.iter_mut().for_each(|x| *x *= scale);
    let types = [F32, BF16, F16];
    let both = choose(random, &types);
    case.types = Types {
        inputs: both,
        weights: if random.below(3) == 0 { choose(random, &types) } else { both },
        biases: choose(random, &types),
        labels: choose(random, &[SSL_LABELS_INT64, SSL_LABELS_INT32]),
        counts: choose(random, &[F32, common::F64]),
        d_inputs: choose(random, &types),
        d_weights: choose(random, &types),
        d_biases: choose(random, &types),
    };
    case.precision = choose(
        random,
        &[SSL_PRECISION_DEFAULT, SSL_PRECISION_DEFAULT, SSL_PRECISION_TF32, SSL_PRECISION_IEEE],
    );
    case.hits = choose(random, &[SSL_HITS_MASK, SSL_HITS_MASK, SSL_HITS_KEEP]);
    case.reduction = choose(random, &[SSL_REDUCTION_NONE, SSL_REDUCTION_MEAN, SSL_REDUCTION_SUM]);
    case.layout = choose(random, &[SSL_GRADIENTS_SPARSE, SSL_GRADIENTS_DENSE]);
    case.probability_floor = choose(random, &[0.0, 0.0, 1e-3]);
    if random.below(2) == 0 {
        case.biases = None;
    }
    if random.below(2) == 0 {
        case.grad_output = Some(random.values(case.loss_len(), -1.0, 1.0));
    }
    if random.below(2) == 0 {
        let mut weights = random.values(rows, 0.0, 2.0);
        weights[random.below(rows)] = 0.0;
        case.sample_weights = Some(weights);
    }
    if random.below(2) == 0 {
        case.ignore_index = Some(-100);
        let row = random.below(rows);
        case.labels[row * num_true..][..num_true].fill(-100);
    }
    if random.below(2) == 0 {
        let mut gap = || random.below(9);
        case.gaps = Gaps { inputs: gap(), weights: gap(), d_inputs: gap(), d_weights: gap() };
    }
    case
}

/// Both engines on the same case, in one call and in two.
fn check(case: &Case) {
    let accuracy = Accuracy::of_cuda(case);
    let cuda = Case { backend: SSL_BACKEND_CUDA, ..case.clone() };
    let mut one = Call::new(&cuda);
    one.forward_backward().unwrap();
    assert_matches_reference_within(&one, accuracy);
    let mut two = Call::on(&cuda, one.handle.clone());
    two.forward().unwrap();
    two.backward().unwrap();
    assert_matches_reference_within(&two, accuracy);
    let mut cpu = Call::new(case);
    cpu.forward_backward().unwrap();
    assert_matches_reference(&cpu);
    assert_eq!(one.outputs.num_rows, cpu.outputs.num_rows);
    assert_eq!(one.outputs.row_ids, cpu.outputs.row_ids);
    assert_eq!(two.outputs.row_ids, cpu.outputs.row_ids);
}

fn check_many(seeds: std::ops::Range<u64>, dims: &[usize]) {
    for seed in seeds {
        let case = any_case(&mut Random::new(seed), dims);
        println!(
            "seed {seed}: N {} d {} C {} S {} T {} {:?} precision {}",
            case.rows,
            case.dim,
            case.classes,
            case.sampled(),
            case.num_true,
            case.types,
            case.precision
        );
        check(&case);
    }
}

#[test]
fn short_rows_match_the_reference() {
    emulated(short_rows_match_the_reference, "all", &[], || check_many(0..60, &[1, 2, 3, 5, 8, 17, 31, 64]));
}

#[test]
fn rows_up_to_256_match_the_reference() {
    emulated(rows_up_to_256_match_the_reference, "all", &[], || {
        check_many(100..130, &[65, 100, 128, 129, 200, 256])
    });
}

#[test]
fn long_rows_match_the_reference() {
    emulated(long_rows_match_the_reference, "all", &[], || check_many(200..225, &[257, 300, 512, 1000]));
}

#[test]
fn devices_without_tensor_cores_match_the_reference() {
    emulated(devices_without_tensor_cores_match_the_reference, "all", &[("FAKE_CUDA_ARCH", "75")], || {
        for seed in 300..320 {
            let mut case = any_case(&mut Random::new(seed), &[3, 16, 100, 256, 300]);
            case.precision = SSL_PRECISION_IEEE;
            check(&case);
        }
    });
}

#[test]
fn kernels_for_compute_capability_9_match_the_reference() {
    let asked = [("SAMPLED_SOFTMAX_HOPPER", "1")];
    emulated(kernels_for_compute_capability_9_match_the_reference, "all", &asked, || {
        for seed in 400..430 {
            let mut random = Random::new(seed);
            let mut case = any_case(&mut random, &[3, 16, 64, 65, 100, 128, 200, 256]);
            let dtype = choose(&mut random, &[BF16, F16]);
            (case.types.inputs, case.types.weights, case.precision) = (dtype, dtype, SSL_PRECISION_DEFAULT);
            check(&case);
        }
        assert!(Driver::books().calls("cuTensorMapEncodeTiled") > 0);
    });
}

#[test]
fn other_devices_and_older_drivers_keep_the_kernels_they_have() {
    let all = folder();
    let without = format!("{}/without/cuTensorMapEncodeTiled:{}", all.display(), all.display());
    let settings: [&[(&str, &str)]; 3] =
        [&[("FAKE_CUDA_ARCH", "100")], &[("LD_LIBRARY_PATH", &without)], &[("SAMPLED_SOFTMAX_HOPPER", "0")]];
    for (part, settings) in ["arch", "driver", "switch"].into_iter().zip(settings) {
        let settings = [&[("SAMPLED_SOFTMAX_HOPPER", "1")], settings].concat();
        emulated(other_devices_and_older_drivers_keep_the_kernels_they_have, part, &settings, || {
            let mut case = Case::random([9, 60, 30, 70, 1], &mut Random::new(1));
            case.types = Types::all(BF16);
            check(&case);
            assert_eq!(Driver::books().calls("cuTensorMapEncodeTiled"), 0);
        });
    }
}
