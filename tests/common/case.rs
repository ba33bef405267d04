//! One loss to compute, in float64, and how it is handed to the library.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use sampled_softmax::abi::*;
use sampled_softmax::reference::{Problem, Reduction, Solution};

use super::buffer::round;
use super::{F32, F64};

/// A stream of numbers that a seed decides.
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.0.next_u64() >> 11) as f64 * 2.0_f64.powi(-53)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    pub fn values(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        (0..count).map(|_| self.uniform(low, high)).collect()
    }

    pub fn classes(&mut self, count: usize, classes: usize) -> Vec<i64> {
        (0..count).map(|_| self.below(classes) as i64).collect()
    }
}

/// The dtype of every array of a call.
#[derive(Clone, Copy, Debug)]
pub struct Types {
    pub inputs: u32,
    pub weights: u32,
    pub biases: u32,
    pub labels: u32,
    pub counts: u32,
    pub d_inputs: u32,
    pub d_weights: u32,
    pub d_biases: u32,
}

impl Types {
    /// `dtype` everywhere; expected counts in float32 unless it is float64.
    pub fn all(dtype: u32) -> Self {
        let counts = if dtype == F64 { F64 } else { F32 };
        Types {
            inputs: dtype,
            weights: dtype,
            biases: dtype,
            labels: SSL_LABELS_INT64,
            counts,
            d_inputs: dtype,
            d_weights: dtype,
            d_biases: dtype,
        }
    }

    /// Of the loss, the sample weights, the upstream gradient and the accumulation.
    pub fn loss(&self) -> u32 {
        if self.inputs == F64 { F64 } else { F32 }
    }
}

/// Elements between one row's end and the next row's start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gaps {
    pub inputs: usize,
    pub weights: usize,
    pub d_inputs: usize,
    pub d_weights: usize,
}

/// Which gradients a call asks for; the pointers of the others are NULL.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub d_inputs: bool,
    pub d_weights: bool,
    pub d_biases: bool,
}

/// A loss in float64, row-major without gaps, with given candidates.
#[derive(Clone, Debug)]
pub struct Case {
    pub rows: usize,
    pub dim: usize,
    pub classes: usize,
    pub num_true: usize,
    pub inputs: Vec<f64>,
    pub weights: Vec<f64>,
    pub biases: Option<Vec<f64>>,
    pub labels: Vec<i64>,
    pub ids: Vec<i64>,
    pub sampled_expected_count: Vec<f64>,
    pub true_expected_count: Vec<f64>,
    pub sample_weights: Option<Vec<f64>>,
    pub ignore_index: Option<i64>,
    pub hits: u32,
    pub probability_floor: f64,
    pub reduction: u32,
    pub grad_output: Option<Vec<f64>>,
    pub layout: u32,
    pub types: Types,
    pub gaps: Gaps,
    pub wanted: Wanted,
    pub num_threads: u32,
    pub backend: u32,
    pub precision: u32,
}

impl Case {
    /// Random values of moderate size in float32, one thread, exact loss, masked hits,
    /// no reduction, sparse gradients.
    pub fn random([rows, dim, classes, sampled, num_true]: [usize; 5], random: &mut Random) -> Self {
        Case {
            rows,
            dim,
            classes,
            num_true,
            inputs: random.values(rows * dim, -1.0, 1.0),
            weights: random.values(classes * dim, -1.0, 1.0),
            biases: Some(random.values(classes, -1.0, 1.0)),
            labels: random.classes(rows * num_true, classes),
            ids: random.classes(sampled, classes),
            sampled_expected_count: random.values(sampled, 0.05, 1.5),
            true_expected_count: random.values(rows * num_true, 0.05, 1.5),
            sample_weights: None,
            ignore_index: None,
            hits: SSL_HITS_MASK,
            probability_floor: 0.0,
            reduction: SSL_REDUCTION_NONE,
            grad_output: None,
            layout: SSL_GRADIENTS_SPARSE,
            types: Types::all(F32),
            gaps: Gaps::default(),
            wanted: Wanted { d_inputs: true, d_weights: true, d_biases: true },
            num_threads: 1,
            backend: SSL_BACKEND_CPU,
            precision: SSL_PRECISION_DEFAULT,
        }
    }

    /// T = 1, C = 3, d = 3, weights `scale` times the identity, no candidate drawn as
    /// often as 1/2: the golden suite's frame for edge values.
    pub fn diagonal(scale: f64, inputs: &[[f64; 3]], labels: &[i64], ids: &[i64]) -> Self {
        let mut case = Case::random([inputs.len(), 3, 3, ids.len(), 1], &mut Random::new(0));
        case.inputs = inputs.concat();
        case.weights = (0..9).map(|i| if i % 4 == 0 { scale } else { 0.0 }).collect();
        case.biases = Some(vec![0.0; 3]);
        case.labels = labels.to_vec();
        case.ids = ids.to_vec();
        case.true_expected_count = vec![0.5; labels.len()];
        case.sampled_expected_count = vec![0.5; ids.len()];
        case
    }

    pub fn sampled(&self) -> usize {
        self.ids.len()
    }

    /// How many losses or upstream gradients there are.
    pub fn loss_len(&self) -> usize {
        if self.reduction == SSL_REDUCTION_NONE { self.rows } else { 1 }
    }

    /// Rows that sparse gradients can need.
    pub fn row_capacity(&self) -> usize {
        self.classes.min(self.sampled() + self.rows * self.num_true)
    }

    pub fn is_ignored(&self, row: usize) -> bool {
        let labels = &self.labels[row * self.num_true..][..self.num_true];
        self.ignore_index.is_some_and(|ignored| labels.iter().all(|&label| label == ignored))
    }

    pub fn is_ignored_label(&self, label: i64) -> bool {
        self.ignore_index == Some(label)
    }

    pub fn sample_weight(&self, row: usize) -> f64 {
        self.sample_weights.as_ref().map_or(1.0, |weights| weights[row])
    }

    pub fn config(&self) -> ssl_config {
        ssl_config {
            backend: self.backend,
            precision: self.precision,
            num_threads: self.num_threads,
            num_classes: self.classes as i64,
            num_sampled: self.sampled() as i64,
            num_true: self.num_true as i64,
            sampler: SSL_SAMPLER_CALLER,
            hits: self.hits,
            reduction: self.reduction,
            probability_floor: self.probability_floor,
            ..super::call::default_config()
        }
    }

    /// The same loss with every value as its dtype holds it.
    pub fn rounded(&self) -> Case {
        let to = |dtype: u32, values: &[f64]| -> Vec<f64> {
            values.iter().map(|&value| round(dtype, value)).collect()
        };
        let types = self.types;
        Case {
            inputs: to(types.inputs, &self.inputs),
            weights: to(types.weights, &self.weights),
            biases: self.biases.as_ref().map(|values| to(types.biases, values)),
            sampled_expected_count: to(types.counts, &self.sampled_expected_count),
            true_expected_count: to(types.counts, &self.true_expected_count),
            sample_weights: self.sample_weights.as_ref().map(|v| to(types.loss(), v)),
            grad_output: self.grad_output.as_ref().map(|v| to(types.loss(), v)),
            ..self.clone()
        }
    }

    /// What the reference makes of the rounded values.
    pub fn solve(&self) -> Solution {
        self.rounded().problem().solve()
    }

    pub fn problem(&self) -> Problem<'_> {
        Problem {
            dim: self.dim,
            num_true: self.num_true,
            inputs: &self.inputs,
            weights: &self.weights,
            biases: self.biases.as_deref(),
            labels: &self.labels,
            ids: &self.ids,
            sampled_expected_count: &self.sampled_expected_count,
            true_expected_count: &self.true_expected_count,
            sample_weights: self.sample_weights.as_deref(),
            ignore_index: self.ignore_index,
            mask_hits: self.hits != SSL_HITS_KEEP,
            probability_floor: self.probability_floor,
            reduction: match self.reduction {
                SSL_REDUCTION_MEAN => Reduction::Mean,
                SSL_REDUCTION_SUM => Reduction::Sum,
                _ => Reduction::None,
            },
            grad_output: self.grad_output.as_deref(),
        }
    }
}
