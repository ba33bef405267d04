//! P(k) = 1 / C.

use super::distribution::{Distribution, rejection_budget};
use super::stream::Stream;
use crate::math;

/// The uniform distribution.
#[derive(Debug)]
pub(super) struct Uniform {
    num_classes: i64,
}

impl Uniform {
    /// Over `num_classes` classes, at least 1.
    pub(super) fn new(num_classes: i64) -> Uniform {
        Uniform { num_classes }
    }
}

impl Distribution for Uniform {
    const EQUIPROBABLE: bool = true;

    fn num_classes(&self) -> i64 {
        self.num_classes
    }

    fn num_positive(&self) -> i64 {
        self.num_classes
    }

    #[inline]
    fn probability(&self, _class: i64) -> f64 {
        1.0 / self.num_classes as f64
    }

    fn fill(&self, stream: &mut Stream, classes: &mut [i64]) {
        for class in classes {
            *class = stream.below(self.num_classes as u64) as i64;
        }
    }

    fn reach(&self) -> f64 {
        let per_class = rejection_budget(self.num_classes) / self.num_classes as f64;
        self.num_classes as f64 * math::one_minus_exp_neg(per_class)
    }
}
