//! The sampler as the C ABI shows it: what `ssl_sample` and `ssl_forward` draw, and how
//! often they expect each class.

mod common;

use std::ptr::{null, null_mut};
use std::sync::Arc;

use common::drawing::{SAMPLERS, drawing_case, drawing_config, drawing_handle, draws, sampled, zipf_weights};
use common::{Call, Case, F64, Handle, Random, Types, assert_close, default_config};
use sampled_softmax::abi::*;
use sampled_softmax::capi::ssl_sample;

#[test]
fn forward_draws_what_sample_draws_for_the_same_step() {
    let case = drawing_case(1);
    for sampler in SAMPLERS {
        for sampling in [SSL_SAMPLING_UNIQUE, SSL_SAMPLING_REPLACEMENT] {
            let config = ssl_config { sampling, ..drawing_config(sampler) };
            for step in [0, 1, 2, u64::MAX] {
                // Of a learning sampler the second call would know more labels.
                let expected = draws(&sampled(&case, &drawing_handle(config), step));
                let mut forward = Call::drawing(&case, drawing_handle(config), step);
                forward.forward().unwrap();
                assert_eq!(draws(&forward.outputs), expected);
                let mut both = Call::drawing(&case, drawing_handle(config), step);
                both.forward_backward().unwrap();
                assert_eq!(draws(&both.outputs), expected);
            }
        }
    }
}

#[test]
fn loss_of_drawn_candidates_equals_the_reference() {
    let case = drawing_case(2);
    for sampler in SAMPLERS {
        for hits in [SSL_HITS_MASK, SSL_HITS_KEEP, SSL_HITS_EXCLUDE] {
            let case = Case { hits, ..case.clone() };
            let handle = drawing_handle(ssl_config { hits, ..drawing_config(sampler) });
            let mut call = Call::drawing(&case, handle, 3);
            call.forward().unwrap();
            call.backward().unwrap();
            common::assert_matches_reference(&call);
        }
    }
}

#[test]
fn seed_step_and_rank_decide_a_draw() {
    let case = drawing_case(4);
    for sampler in SAMPLERS {
        let ids = |seed, rank, step| {
            let config = ssl_config { seed, rank, ..drawing_config(sampler) };
            sampled(&case, &drawing_handle(config), step).ids
        };
        let first = ids(1, 0, 0);
        assert_eq!(ids(1, 0, 0), first);
        for other in [ids(2, 0, 0), ids(1, 1, 0), ids(1, 0, 1), ids(0, 1, 0), ids(0, 0, 1)] {
            assert_ne!(other, first);
        }
    }
}

#[test]
fn drawn_ids_ascend_and_are_distinct_where_asked() {
    let case = drawing_case(5);
    for sampler in SAMPLERS {
        let unique = drawing_handle(drawing_config(sampler));
        let repeated =
            drawing_handle(ssl_config { sampling: SSL_SAMPLING_REPLACEMENT, ..drawing_config(sampler) });
        for step in 0..50 {
            let drawn = sampled(&case, &unique, step);
            assert!(drawn.ids.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(drawn.num_tries >= 20);
            let drawn = sampled(&case, &repeated, step);
            assert!(drawn.ids.windows(2).all(|pair| pair[0] <= pair[1]));
            assert!(drawn.ids.iter().all(|id| (0..100).contains(id)));
            assert_eq!(drawn.num_tries, 20);
        }
    }
}

/// -expm1(tries log1p(-p)), or S p where no draw was rejected.
fn tf_count(p: f64, tries: i64) -> f64 {
    if tries == 20 { 20.0 * p } else { -(tries as f64 * (-p).ln_1p()).exp_m1() }
}

#[test]
fn expected_counts_are_tensorflows() {
    let case = drawing_case(6);
    let total: f64 = zipf_weights().iter().sum();
    let probability = |sampler: u32, class: i64| match sampler {
        SSL_SAMPLER_UNIFORM => 0.01,
        SSL_SAMPLER_LOG_UNIFORM => ((class + 2) as f64 / (class + 1) as f64).ln() / 101_f64.ln(),
        _ => zipf_weights()[class as usize] / total,
    };
    for sampler in [SSL_SAMPLER_UNIFORM, SSL_SAMPLER_LOG_UNIFORM, SSL_SAMPLER_FIXED_UNIGRAM] {
        for step in 0..20 {
            let drawn = sampled(&case, &drawing_handle(drawing_config(sampler)), step);
            let expected = |classes: &[i64]| -> Vec<f64> {
                let count = |&class: &i64| tf_count(probability(sampler, class), drawn.num_tries);
                classes.iter().map(count).collect()
            };
            let got = drawn.sampled_expected_count.values();
            assert_close("sampled", &got, &expected(&drawn.ids), |_| 1e-12);
            let got = drawn.true_expected_count.values();
            assert_close("true", &got, &expected(&case.labels), |_| 1e-12);
        }
    }
}

#[test]
fn exact_uniform_counts_are_the_inclusion_probability() {
    let config = ssl_config { counts: SSL_COUNTS_EXACT, ..drawing_config(SSL_SAMPLER_UNIFORM) };
    let drawn = sampled(&drawing_case(7), &drawing_handle(config), 0);
    assert_eq!(drawn.sampled_expected_count.values(), [0.2; 20]);
    assert_eq!(drawn.true_expected_count.values(), [0.2; 12]);
}

#[test]
fn all_classes_come_once_each_with_a_count_of_one() {
    let mut case = Case::random([6, 5, 20, 20, 2], &mut Random::new(8));
    case.types = Types::all(F64);
    let config = ssl_config { num_classes: 20, ..drawing_config(SSL_SAMPLER_ALL) };
    let drawn = sampled(&case, &drawing_handle(config), 9);
    assert_eq!(drawn.ids, (0..20).collect::<Vec<i64>>());
    assert_eq!(drawn.sampled_expected_count.values(), [1.0; 20]);
    assert_eq!(drawn.true_expected_count.values(), [1.0; 12]);
}

#[test]
fn as_many_as_there_are_classes_is_every_class() {
    let case = Case::random([6, 5, 20, 20, 2], &mut Random::new(8));
    for sampler in [SSL_SAMPLER_UNIFORM, SSL_SAMPLER_LOG_UNIFORM, SSL_SAMPLER_LEARNED_UNIGRAM] {
        let counts = SSL_COUNTS_EXACT;
        let handle = drawing_handle(ssl_config { num_classes: 20, counts, ..drawing_config(sampler) });
        for step in 0..5 {
            assert_eq!(sampled(&case, &handle, step).ids, (0..20).collect::<Vec<i64>>());
        }
    }
}

#[test]
fn sample_needs_neither_labels_nor_counts() {
    let case = drawing_case(16);
    for sampler in SAMPLERS {
        let full = sampled(&case, &drawing_handle(drawing_config(sampler)), 4);
        let mut ids = vec![0; 20];
        let mut call = Call::drawing(&case, drawing_handle(drawing_config(sampler)), 4);
        let mut candidates = call.arguments().candidates;
        candidates.ids = ids.as_mut_ptr();
        candidates.sampled_expected_count = null_mut();
        candidates.true_expected_count = null_mut();
        candidates.num_tries = null_mut();
        let handle = call.handle.pointer();
        // SAFETY: a NULL batch means no labels; `ids` has S elements.
        common::check(unsafe { ssl_sample(handle, null(), &candidates, null_mut()) }).unwrap();
        assert_eq!(ids, full.ids);
    }
}

#[test]
fn sample_refuses_to_draw_over_its_labels() {
    let mut call = Call::drawing(&drawing_case(16), drawing_handle(drawing_config(SSL_SAMPLER_UNIFORM)), 0);
    let mut joint = vec![3_i64; 20];
    let mut arguments = call.arguments();
    (arguments.batch.labels, arguments.batch.labels_dtype) = (joint.as_ptr().cast(), SSL_LABELS_INT64);
    arguments.candidates.ids = joint.as_mut_ptr();
    let handle = call.handle.pointer();
    // SAFETY: `joint` has room for the 12 labels and for the 20 ids.
    let status = unsafe { ssl_sample(handle, &arguments.batch, &arguments.candidates, null_mut()) };
    let failure = common::check(status).unwrap_err();
    assert_eq!((failure.status, failure.message.as_str()), (SSL_STATUS_OVERLAP, "labels and ids overlap"));
    assert_eq!(joint, vec![3; 20]);
}

/// S = 2^21 overflows a peer's generator, which then repeats itself at every step.
#[test]
fn large_samples_differ_from_step_to_step() {
    const SAMPLED: usize = 1 << 21;
    let config = ssl_config {
        num_classes: 1 << 40,
        num_sampled: SAMPLED as i64,
        sampler: SSL_SAMPLER_LOG_UNIFORM,
        ..default_config()
    };
    let handle = Handle::create(&config).unwrap();
    let draw = |step: u64| {
        let mut ids = vec![0_i64; SAMPLED];
        let mut call = Call::drawing(&drawing_case(0), Arc::new(Handle::create(&config).unwrap()), 0);
        let mut candidates = call.arguments().candidates;
        candidates.step = step;
        candidates.ids = ids.as_mut_ptr();
        candidates.sampled_expected_count = null_mut();
        candidates.true_expected_count = null_mut();
        // SAFETY: a NULL batch means no labels; `ids` has S elements.
        common::check(unsafe { ssl_sample(handle.pointer(), null(), &candidates, null_mut()) }).unwrap();
        ids
    };
    let (first, second) = (draw(0), draw(1));
    assert!(first.windows(2).all(|pair| pair[0] < pair[1]));
    assert_ne!(first, second);
    assert_eq!(draw(0), first);
}
