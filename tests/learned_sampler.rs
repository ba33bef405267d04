//! The sampler that learns: when it counts labels, and how a run is taken up again.

mod common;

use std::sync::Arc;

use common::drawing::{
    SAMPLERS, drawing_case, drawing_config, drawing_handle, draws, learned_counts, sampled,
};
use common::{Call, Case, Handle};
use sampled_softmax::abi::*;

/// Backward reads the candidates that forward wrote, whatever their source says, and
/// draws nothing: not even a learning sampler moves on.
#[test]
fn backward_does_not_draw() {
    let case = drawing_case(3);
    for sampler in SAMPLERS {
        let handle = drawing_handle(drawing_config(sampler));
        let mut call = Call::drawing(&case, Arc::clone(&handle), 5);
        call.forward().unwrap();
        let kept = draws(&call.outputs);
        for _ in 0..3 {
            call.backward().unwrap();
        }
        assert_eq!(draws(&call.outputs), kept);
        let counts = learned_counts(&handle);
        if let Some(counts) = counts {
            assert_eq!(counts.iter().sum::<i64>(), 100 + 12);
        }
    }
}

#[test]
fn learned_counts_are_those_of_the_labels_seen() {
    let case = drawing_case(15);
    let handle = drawing_handle(drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM));
    let mut expected = vec![1; 100];
    assert_eq!(learned_counts(&handle), Some(expected.clone()));
    for step in 0..3 {
        let mut call = Call::drawing(&case, Arc::clone(&handle), step);
        call.forward_backward().unwrap();
        case.labels.iter().for_each(|&label| expected[label as usize] += 1);
        assert_eq!(learned_counts(&handle), Some(expected.clone()));
    }
}

#[test]
fn learned_sampler_goes_on_from_saved_counts() {
    let straight = drawing_handle(drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM));
    let batches: Vec<Case> = (20..28).map(drawing_case).collect();
    let draws_of = |handle: &Arc<Handle>, steps: std::ops::Range<usize>| -> Vec<_> {
        steps.map(|step| draws(&sampled(&batches[step], handle, step as u64))).collect()
    };
    let first = draws_of(&straight, 0..4);
    let saved = learned_counts(&straight).unwrap();
    let rest = draws_of(&straight, 4..8);
    let learned = drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM);
    let restored = drawing_handle(ssl_config { learned_counts: saved.as_ptr(), ..learned });
    assert_eq!(draws_of(&restored, 4..8), rest);
    assert_eq!(learned_counts(&restored), learned_counts(&straight));
    assert_eq!(draws_of(&drawing_handle(learned), 0..4), first);
}

#[test]
fn a_call_that_draws_gives_the_counts_after_it() {
    let case = drawing_case(30);
    let mut call = Call::drawing(&case, drawing_handle(drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM)), 0);
    let mut counts = vec![0; 100];
    let mut arguments = call.arguments_for_all();
    arguments.candidates.learned_counts = counts.as_mut_ptr();
    arguments.forward(&call.handle).unwrap();
    let expected = |class| 1 + case.labels.iter().filter(|&&label| label == class).count() as i64;
    assert_eq!(counts, (0..100).map(expected).collect::<Vec<i64>>());
}

/// A draw that is refused teaches nothing.
#[test]
fn failed_call_counts_no_label() {
    let handle = drawing_handle(drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM));
    let mut case = drawing_case(31);
    case.labels[11] = 100;
    let mut call = Call::drawing(&case, Arc::clone(&handle), 0);
    assert_eq!(call.forward().unwrap_err().status, SSL_STATUS_LABEL_RANGE);
    assert_eq!(learned_counts(&handle), Some(vec![1; 100]));
    case.labels[11] = 0;
    let mut call = Call::drawing(&case, Arc::clone(&handle), 0);
    let mut arguments = call.arguments_for_all();
    arguments.workspace_size = 1;
    assert_eq!(arguments.forward(&handle).unwrap_err().status, SSL_STATUS_WORKSPACE);
    assert_eq!(learned_counts(&handle), Some(vec![1; 100]));
}

#[test]
fn other_samplers_have_no_learned_counts() {
    for sampler in [SSL_SAMPLER_UNIFORM, SSL_SAMPLER_LOG_UNIFORM, SSL_SAMPLER_FIXED_UNIGRAM] {
        let mut call = Call::drawing(&drawing_case(32), drawing_handle(drawing_config(sampler)), 0);
        let before = call.outputs.clone();
        let mut counts = vec![-7; 100];
        let mut arguments = call.arguments_for_all();
        arguments.candidates.learned_counts = counts.as_mut_ptr();
        for result in [arguments.forward(&call.handle), arguments.sample(&call.handle)] {
            let failure = result.unwrap_err();
            assert_eq!(failure.status, SSL_STATUS_INVALID_VALUE);
            assert!(failure.message.contains("learned_counts"), "{}", failure.message);
        }
        assert_eq!((counts, &call.outputs), (vec![-7; 100], &before));
    }
}
