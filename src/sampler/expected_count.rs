//! Q, the expected count of a class in the sample.
//!
//! TensorFlow's form takes the observed number of tries for granted: S p where none was
//! rejected or with replacement, else 1 - (1 - p)^tries
//! (`ExpectedCountHelper` in tensorflow/core/kernels/range_sampler.cc).

use super::distribution::Distribution;
use super::draw::Counts;
use crate::labels::Labels;
use crate::math;
use crate::vectorised::{LANES, vectorised};

/// How an expected count follows from a probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ExpectedCount {
    /// The same for every class.
    Constant(f64),
    /// This many times the probability.
    Proportional(f64),
    /// The probability to come in this many tries.
    Inclusion(f64),
}

const BLOCK: usize = 128;

vectorised! {
    /// Probabilities into those of coming at least once in `tries`.
    fn include(values: &mut [f64], tries: f64) {
        for block in values.chunks_mut(LANES) {
            if block.iter().all(|p| *p < math::SMALL) {
                for p in block {
                    *p = math::one_minus_exp_neg(tries * math::neg_ln_1m_small(*p));
                }
            } else {
                for p in block {
                    *p = math::one_minus_exp_neg(tries * math::neg_ln_1m(*p));
                }
            }
        }
    }
}

impl ExpectedCount {
    /// TensorFlow's rule for `count` distinct classes that took `tries`.
    pub(super) fn of_tries(count: usize, tries: i64) -> ExpectedCount {
        if tries == count as i64 {
            ExpectedCount::Proportional(count as f64)
        } else {
            ExpectedCount::Inclusion(tries as f64)
        }
    }

    /// Turns probabilities into expected counts.
    pub(super) fn apply(self, values: &mut [f64]) {
        match self {
            ExpectedCount::Constant(count) => values.fill(count),
            ExpectedCount::Proportional(count) => values.iter_mut().for_each(|p| *p *= count),
            ExpectedCount::Inclusion(tries) => include(values, tries),
        }
    }

    /// Writes the counts of `ids`.
    pub(super) fn write_sampled<D: Distribution>(self, distribution: &D, ids: &[i64], out: &mut Counts<'_>) {
        let mut values = [0.0; BLOCK];
        for (block, ids) in ids.chunks(BLOCK).enumerate() {
            let values = &mut values[..ids.len()];
            distribution.probabilities(ids, values);
            self.apply(values);
            out.store(block * BLOCK, values);
        }
    }

    /// Writes the counts of `labels`, 0 for those equal to `ignored`.
    pub(super) fn write_true<D: Distribution>(
        self,
        distribution: &D,
        labels: Labels<'_>,
        ignored: Option<i64>,
        out: &mut Counts<'_>,
    ) {
        let mut values = [0.0; BLOCK];
        let mut classes = [0; BLOCK];
        for start in (0..labels.len()).step_by(BLOCK) {
            let len = BLOCK.min(labels.len() - start);
            let (values, classes) = (&mut values[..len], &mut classes[..len]);
            for (offset, class) in classes.iter_mut().enumerate() {
                let label = labels.get(start + offset);
                // Any class will do for a label that is none: its count is overwritten.
                *class = if Some(label) == ignored { 0 } else { label };
            }
            distribution.probabilities(classes, values);
            self.apply(values);
            for (offset, value) in values.iter_mut().enumerate() {
                if Some(labels.get(start + offset)) == ignored {
                    *value = 0.0;
                }
            }
            out.store(start, values);
        }
    }
}
