//! Tests of the sampler as a whole. Seeds are fixed: what holds once holds always.

mod counts;
mod distributions;
mod exclusion;
mod failures;
mod learned;
mod membership;
mod philox;
mod statistics;
mod streams;
mod unique;
mod vocabulary;

use super::{Config, CountRule, Counts, Draw, Generator, Kind, Sampler, Unigram, UnigramWeights};
use crate::error::{Error, Result};
use crate::labels::Labels;

fn config(kind: Kind, num_classes: i64, num_sampled: i64, unique: bool) -> Config {
    let generator = Generator::Xoshiro;
    Config { num_classes, num_sampled, kind, unique, counts: CountRule::Tf, seed: 7, rank: 0, generator }
}

fn sampler(kind: Kind, num_classes: i64, num_sampled: i64, unique: bool) -> Sampler {
    Sampler::new(config(kind, num_classes, num_sampled, unique)).unwrap()
}

fn unigram(weights: &[f64]) -> Kind {
    Kind::FixedUnigram(Unigram {
        weights: UnigramWeights::Memory(weights.to_vec()),
        distortion: 1.0,
        num_reserved_ids: 0,
        num_shards: 1,
        shard: 0,
    })
}

/// The message of a configuration that must be refused.
fn refusal(config: Config) -> Error {
    Sampler::new(config).err().expect("a refused configuration")
}

/// Arguments of a draw, and its results in float64.
#[derive(Clone, Debug, Default, PartialEq)]
struct Trial {
    step: u64,
    labels: Vec<i64>,
    ignored: Option<i64>,
    exclude_labels: bool,
    avoid: Vec<i64>,
    ids: Vec<i64>,
    sampled: Vec<f64>,
    expected_true: Vec<f64>,
    tries: i64,
}

impl Trial {
    fn step(step: u64) -> Trial {
        Trial { step, ..Trial::default() }
    }

    fn labels(labels: &[i64]) -> Trial {
        Trial { labels: labels.to_vec(), ..Trial::default() }
    }

    fn avoiding(avoid: &[i64]) -> Trial {
        Trial { avoid: avoid.to_vec(), ..Trial::default() }
    }

    /// Draws, and checks what holds of every draw: the order of ids, their range.
    fn run(mut self, sampler: &Sampler) -> Result<Trial> {
        self.ids = vec![-7; sampler.num_sampled];
        self.sampled = vec![-7.0; sampler.num_sampled];
        self.expected_true = vec![-7.0; self.labels.len()];
        self.tries = sampler.draw(Draw {
            step: self.step,
            labels: Labels::I64(&self.labels),
            num_true: 1,
            ignored: self.ignored,
            exclude_labels: self.exclude_labels,
            avoid: &self.avoid,
            ids: &mut self.ids,
            sampled: Some(Counts::F64(&mut self.sampled)),
            expected_true: Some(Counts::F64(&mut self.expected_true)),
            learned: None,
        })?;
        let gap = i64::from(sampler.unique);
        assert!(self.ids.windows(2).all(|pair| pair[1] - pair[0] >= gap), "{:?}", self.ids);
        assert!(self.ids.iter().all(|id| (0..sampler.num_classes).contains(id)));
        assert!(self.tries >= sampler.num_sampled as i64);
        Ok(self)
    }
}

fn draw(sampler: &Sampler, step: u64) -> Trial {
    Trial::step(step).run(sampler).unwrap()
}

fn probabilities(sampler: &Sampler) -> Vec<f64> {
    (0..sampler.num_classes).map(|class| sampler.probability(class).unwrap()).collect()
}

#[track_caller]
fn assert_relative(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance * want.abs(), "got {got:e}, want {want:e}");
}
