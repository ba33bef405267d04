//! What a draw must be: distinct, allowed, ascending ids, and expected counts by the
//! formulas of the header, in the platform's float64 functions.

use std::collections::BTreeSet;

use sampled_softmax::abi::*;

use crate::common::{Call, Case, F64, unit_roundoff, worst_of};
use crate::trial::{Sampler, Trial};

/// Asserts all of it, and gives the largest error of a count in units of its tolerance.
pub(crate) fn assert_draw(trial: &Trial, sampler: &Sampler, call: &Call) -> f64 {
    let (case, outputs) = (&trial.case, &call.outputs);
    let weights = weights(sampler, case.classes);
    let excluded = excluded(trial, sampler);
    let ids = &outputs.ids;
    let unique = sampler.sampling == SSL_SAMPLING_UNIQUE;
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1] || !unique && pair[0] == pair[1]), "{ids:?}");
    for id in ids {
        assert!(weights[*id as usize] > 0.0 && !excluded.contains(id), "id {id} was drawn");
    }
    let num_tries = num_tries(trial, call);
    assert!(num_tries >= ids.len() as i64, "{num_tries} tries");

    let total: f64 = weights.iter().sum();
    let allowed =
        (0..case.classes as i64).filter(|class| weights[*class as usize] > 0.0 && !excluded.contains(class));
    let allowed = allowed.count();
    let (drawn, tries) = (ids.len() as f64, num_tries as f64);
    let count = |class: &i64| -> f64 {
        if case.is_ignored_label(*class) {
            return 0.0;
        }
        let p = weights[*class as usize] / total;
        let equiprobable = matches!(sampler.kind, SSL_SAMPLER_UNIFORM | SSL_SAMPLER_ALL);
        match (unique, sampler.counts) {
            (true, _) if allowed == ids.len() => 1.0,
            (true, SSL_COUNTS_EXACT) if equiprobable => drawn / allowed as f64,
            (true, _) if tries != drawn => -(tries * (-p).ln_1p()).exp_m1(),
            _ => drawn * p,
        }
    };
    // The sum of the weights, and some twenty roundings of both sides.
    let relative = (40.0 + (case.classes as f64).sqrt() * 6.0) * unit_roundoff(F64);
    let compare = |name: &str, got: Vec<f64>, classes: &[i64]| {
        let want: Vec<f64> = classes.iter().map(count).collect();
        let tolerances: Vec<f64> = want.iter().map(|want| relative * want).collect();
        worst_of(name, case.types.counts, &got, &want, &tolerances)
    };
    let sampled = compare("sampled_expected_count", outputs.sampled_expected_count.values(), ids);
    sampled.max(compare("true_expected_count", outputs.true_expected_count.values(), &case.labels))
}

/// How many tries a draw took. A CUDA handle that draws on the stream cannot say: the CPU's
/// draw is the same and can.
fn num_tries(trial: &Trial, call: &Call) -> i64 {
    if trial.case.backend == SSL_BACKEND_CPU || call.outputs.num_tries != -1 {
        return call.outputs.num_tries;
    }
    let case = Case { backend: SSL_BACKEND_CPU, ..trial.case.clone() };
    let mut on_cpu = Trial { case, ..trial.clone() }.call();
    on_cpu.sample().unwrap();
    assert_eq!(on_cpu.outputs.ids, call.outputs.ids, "ids of the CPU's draw, and of the CUDA engine's");
    on_cpu.outputs.num_tries
}

/// Up to a factor, the probability of each class.
fn weights(sampler: &Sampler, classes: usize) -> Vec<f64> {
    let weight = |class: usize| match sampler.kind {
        SSL_SAMPLER_LOG_UNIFORM => (1.0 / (class as f64 + 1.0)).ln_1p(),
        SSL_SAMPLER_LEARNED_UNIGRAM => sampler.learned.as_ref().map_or(1.0, |counts| counts[class] as f64),
        SSL_SAMPLER_FIXED_UNIGRAM => {
            let [shard, shards] = sampler.shards.map(|number| number as usize);
            match (shard + class * shards).checked_sub(sampler.reserved) {
                Some(place) => sampler.unigrams[place].powf(sampler.distortion.unwrap_or(1.0)),
                None => 0.0,
            }
        }
        _ => 1.0,
    };
    (0..classes).map(weight).collect()
}

fn excluded(trial: &Trial, sampler: &Sampler) -> BTreeSet<i64> {
    let labels = trial.case.labels.iter().filter(|label| !trial.case.is_ignored_label(**label));
    let labels = labels.filter(|_| trial.case.hits == SSL_HITS_EXCLUDE);
    labels.chain(&sampler.avoid).copied().collect()
}
