//! Handles that draw S = 20 of C = 100 classes, and what they draw.

use std::ptr::{null, null_mut};
use std::sync::Arc;

use sampled_softmax::abi::*;
use sampled_softmax::capi::ssl_sample;

use super::{Call, Case, F64, Handle, Outputs, Random, Types, check, default_config};

/// All that draw by a distribution.
pub const SAMPLERS: [u32; 4] =
    [SSL_SAMPLER_UNIFORM, SSL_SAMPLER_LOG_UNIFORM, SSL_SAMPLER_FIXED_UNIGRAM, SSL_SAMPLER_LEARNED_UNIGRAM];

/// N = 6, T = 2, C = 100, S = 20; expected counts in float64.
pub fn drawing_case(seed: u64) -> Case {
    let mut case = Case::random([6, 5, 100, 20, 2], &mut Random::new(seed));
    case.types = Types::all(F64);
    case
}

/// Zipf's weights of 100 classes, so that they differ.
pub fn zipf_weights() -> Vec<f64> {
    (1..=100).map(|rank| 1.0 / f64::from(rank)).collect()
}

/// S = 20 of the 100 classes.
pub fn drawing_config(sampler: u32) -> ssl_config {
    ssl_config { num_classes: 100, num_sampled: 20, num_true: 2, sampler, seed: 7, ..default_config() }
}

/// A handle on a configuration of 100 classes; unigrams are Zipf's.
pub fn drawing_handle(mut config: ssl_config) -> Arc<Handle> {
    let weights = zipf_weights();
    if config.sampler == SSL_SAMPLER_FIXED_UNIGRAM {
        (config.unigrams, config.num_unigrams) = (weights.as_ptr(), 100);
    }
    Arc::new(Handle::create(&config).unwrap())
}

/// The same on a backend.
pub fn on(backend: u32, config: ssl_config) -> Arc<Handle> {
    drawing_handle(ssl_config { backend, ..config })
}

/// What a forward that draws writes in a step.
pub fn forward(case: &Case, handle: &Arc<Handle>, step: u64) -> Outputs {
    let mut call = Call::drawing(case, Arc::clone(handle), step);
    call.forward().unwrap();
    call.outputs
}

/// What `ssl_sample` draws in a step.
pub fn sampled(case: &Case, handle: &Arc<Handle>, step: u64) -> Outputs {
    let mut call = Call::drawing(case, Arc::clone(handle), step);
    call.sample().unwrap();
    call.outputs
}

/// Ids, expected counts of candidates and labels, tries.
pub type Draws = (Vec<i64>, Vec<f64>, Vec<f64>, i64);

/// The candidates of a call: ids, counts of both kinds, tries.
pub fn draws(outputs: &Outputs) -> Draws {
    let (sampled, labels) = (&outputs.sampled_expected_count, &outputs.true_expected_count);
    (outputs.ids.clone(), sampled.values(), labels.values(), outputs.num_tries)
}

/// The counts that a learning sampler has now; none of other samplers.
pub fn learned_counts(handle: &Handle) -> Option<Vec<i64>> {
    let mut counts = vec![i64::MIN; 100];
    let mut call = Call::drawing(&drawing_case(0), Arc::new(Handle::create(&drawing_config(0)).unwrap()), 0);
    let mut candidates = call.arguments().candidates;
    candidates.ids = null_mut();
    candidates.sampled_expected_count = null_mut();
    candidates.true_expected_count = null_mut();
    candidates.num_tries = null_mut();
    candidates.learned_counts = counts.as_mut_ptr();
    // SAFETY: a NULL batch means no labels, and what is drawn goes nowhere.
    check(unsafe { ssl_sample(handle.pointer(), null(), &candidates, null_mut()) }).ok()?;
    Some(counts)
}
