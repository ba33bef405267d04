//! A training that was stopped and taken up at step t is the one that was never stopped:
//! the same parameters to the last bit, for every sampler, alone and as the ranks of a
//! data-parallel run. What a caller keeps is the parameters, the step and, of a sampler
//! that learns, each rank's counts.

mod common;

use std::sync::Arc;

use common::drawing::{SAMPLERS, drawing_config, drawing_handle, learned_counts};
use common::{Call, Case, F32, Handle, Random, Types, round, weight_gradients};
use sampled_softmax::abi::*;

/// A linear classifier of 100 classes, and one handle for each rank.
struct Training {
    weights: Vec<f64>,
    biases: Vec<f64>,
    ranks: Vec<Arc<Handle>>,
}

/// What is kept of a training.
#[derive(Clone, PartialEq, Debug)]
struct Saved {
    weights: Vec<f64>,
    biases: Vec<f64>,
    counts: Vec<Option<Vec<i64>>>,
}

fn config(sampler: u32, sampling: u32) -> ssl_config {
    let mut config = ssl_config { sampling, reduction: SSL_REDUCTION_MEAN, ..drawing_config(sampler) };
    if sampler == SSL_SAMPLER_ALL {
        config.num_sampled = 100;
    }
    config
}

impl Training {
    fn new(config: ssl_config, ranks: u64) -> Training {
        let start = Case::random([1, 5, 100, 1, 1], &mut Random::new(1)).rounded();
        let counts = vec![None; ranks as usize];
        Training::from(config, &Saved { weights: start.weights, biases: start.biases.unwrap(), counts })
    }

    fn from(config: ssl_config, saved: &Saved) -> Training {
        let handle = |(rank, counts): (usize, &Option<Vec<i64>>)| {
            let learned_counts = counts.as_ref().map_or(std::ptr::null(), |counts| counts.as_ptr());
            drawing_handle(ssl_config { rank: rank as u64, learned_counts, ..config })
        };
        Training {
            weights: saved.weights.clone(),
            biases: saved.biases.clone(),
            ranks: saved.counts.iter().enumerate().map(handle).collect(),
        }
    }

    fn save(&self) -> Saved {
        let counts = self.ranks.iter().map(|handle| learned_counts(handle)).collect();
        Saved { weights: self.weights.clone(), biases: self.biases.clone(), counts }
    }

    /// One step of every rank, each with its own examples, and of the shared parameters.
    fn step(&mut self, step: u64, config: &ssl_config) {
        let gradients: Vec<(Vec<f64>, Vec<f64>)> = self
            .ranks
            .iter()
            .enumerate()
            .map(|(rank, handle)| {
                let random = &mut Random::new(1000 * step + rank as u64);
                let mut case = Case::random([6, 5, 100, config.num_sampled as usize, 2], random);
                (case.weights, case.biases) = (self.weights.clone(), Some(self.biases.clone()));
                (case.reduction, case.types) = (config.reduction, Types::all(F32));
                let mut call = Call::drawing(&case, Arc::clone(handle), step);
                call.forward_backward().unwrap();
                weight_gradients(&call, &case)
            })
            .collect();
        for (weights, biases) in gradients {
            descend(&mut self.weights, &weights);
            descend(&mut self.biases, &biases);
        }
    }
}

fn descend(parameters: &mut [f64], gradients: &[f64]) {
    for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
        *parameter = round(F32, *parameter - 0.5 * gradient);
    }
}

#[test]
fn a_run_taken_up_at_any_step_is_one_that_was_never_stopped() {
    const STEPS: u64 = 6;
    for sampler in SAMPLERS.into_iter().chain([SSL_SAMPLER_ALL]) {
        for sampling in [SSL_SAMPLING_UNIQUE, SSL_SAMPLING_REPLACEMENT] {
            if sampler == SSL_SAMPLER_ALL && sampling == SSL_SAMPLING_REPLACEMENT {
                continue;
            }
            for ranks in [1, 3] {
                let config = config(sampler, sampling);
                let mut run = Training::new(config, ranks);
                let mut kept = vec![run.save()];
                for step in 0..STEPS {
                    run.step(step, &config);
                    kept.push(run.save());
                }
                let end = &kept[STEPS as usize];
                assert_ne!(end.weights, kept[STEPS as usize - 1].weights);
                for stopped in 0..STEPS {
                    let mut resumed = Training::from(config, &kept[stopped as usize]);
                    (stopped..STEPS).for_each(|step| resumed.step(step, &config));
                    assert_eq!(
                        &resumed.save(),
                        end,
                        "sampler {sampler}, {ranks} ranks, stopped before {stopped}"
                    );
                }
            }
        }
    }
}

/// Ranks share the seed and see different examples; a rank's candidates are its own.
#[test]
fn a_run_taken_up_with_another_rank_or_step_is_another_run() {
    for sampler in SAMPLERS {
        let config = config(sampler, SSL_SAMPLING_UNIQUE);
        let one_step = |config: ssl_config, step: u64| {
            let case = common::drawing::drawing_case(1);
            common::drawing::sampled(&case, &drawing_handle(config), step).ids
        };
        let ids = one_step(config, 3);
        assert_eq!(ids, one_step(config, 3));
        assert_ne!(ids, one_step(config, 4));
        assert_ne!(ids, one_step(ssl_config { rank: 1, ..config }, 3));
        assert_ne!(ids, one_step(ssl_config { seed: 8, ..config }, 3));
    }
}
