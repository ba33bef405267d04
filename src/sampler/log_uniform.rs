//! P(k) = ln(1 + 1/(k + 1)) / ln(C + 1), k from 0: Zipf's law, as TensorFlow has it.
//!
//! With m = k + 1 from 1 to C, P is proportional to ln(1 + 1/m), the integral of 1/x
//! from m to m + 1. Each octave [2^e, 2^(e+1)) of m has the same share, ln 2, so a draw
//! takes an octave and a number in it uniformly, and accepts m with probability
//!
//! ```text
//! 2^e ln(1 + 1/m)    between 1 and 1/2, ln 2 on average
//! ```
//!
//! or tries again; so it does where m > C in the last octave. Each attempt reads two words
//! of the stream: the octave and, from the rest of the word, the uniform number that
//! decides on acceptance; then the number, the word's highest e bits. This needs no
//! exponential, is exact up to the 53 bits of the acceptance, and reaches every class of
//! any C, which rounding down exp(u ln(C + 1)) does not.

use super::distribution::{Distribution, rejection_budget};
use super::stream::{Stream, unit};
use crate::math::{self, ln_1p_reciprocal, ln_1p_reciprocal_large};
use crate::vectorised::{LANES, vectorised};

/// The log-uniform distribution.
#[derive(Debug)]
pub(super) struct LogUniform {
    num_classes: i64,
    /// 1 / ln(C + 1).
    scale: f64,
    reach: f64,
}

impl LogUniform {
    /// Over `num_classes` classes, at least 1.
    pub(super) fn new(num_classes: i64) -> LogUniform {
        let scale = 1.0 / math::ln(num_classes as f64 + 1.0);
        let reach = reach(num_classes, scale);
        LogUniform { num_classes, scale, reach }
    }

    /// The class of one attempt, if it gives one: of an octave, a uniform number that
    /// decides, and the word whose highest bits are the place in the octave.
    #[inline(always)]
    pub(super) fn class(octave: u32, u: f64, word: u64, num_classes: i64) -> Option<i64> {
        let m = (1 << octave) | (word >> 1 >> (63 - octave));
        (m <= num_classes as u64 && accepts(u, octave, m)).then(|| (m - 1) as i64)
    }

    /// Attempts after which `count` classes, distinct ones if `unique`, have come but for
    /// eight standard deviations, those that give no class included; as many as rejection may take
    /// where fewer do not suffice.
    pub(super) fn enough(&self, count: f64, unique: bool) -> f64 {
        let octaves = f64::from(64 - self.num_classes.leading_zeros());
        let accepted = 1.0 / (self.scale * octaves);
        let mut draws = count;
        if unique {
            // The variance of a number of distinct classes is below its mean.
            let wanted = count + 8.0 * count.sqrt();
            let most = rejection_budget(self.num_classes);
            while draws < most && distinct(self.num_classes, self.scale, draws) < wanted {
                draws *= 1.0625;
            }
            draws = draws.min(most);
        }
        (draws + 8.0 * draws.sqrt() + 16.0) / accepted
    }
}

vectorised! {
    fn probabilities(classes: &[i64], scale: f64, out: &mut [f64]) {
        for (out, classes) in out.chunks_mut(LANES).zip(classes.chunks(LANES)) {
            if classes.iter().all(|class| *class >= 63) {
                for (p, class) in out.iter_mut().zip(classes) {
                    *p = ln_1p_reciprocal_large(*class as f64 + 1.0) * scale;
                }
            } else {
                for (p, class) in out.iter_mut().zip(classes) {
                    *p = ln_1p_reciprocal(*class as f64 + 1.0) * scale;
                }
            }
        }
    }
}

fn reach(num_classes: i64, scale: f64) -> f64 {
    distinct(num_classes, scale, rejection_budget(num_classes))
}

/// How many distinct classes a number of draws is expected to meet: the sum over the classes of
/// 1 - exp(-draws P), each term that of the last class of its block; blocks grow by 1/64, so
/// the sum is low by 2 % at most.
fn distinct(num_classes: i64, scale: f64, draws: f64) -> f64 {
    let mut sum = 0.0;
    let mut done = 0;
    while done < num_classes {
        let block = (1 + done / 64).min(num_classes - done);
        done += block;
        let p = ln_1p_reciprocal(done as f64) * scale;
        sum += block as f64 * math::one_minus_exp_neg(draws * p);
    }
    sum
}

/// Whether octave `exponent` accepts `m` at `u`, uniform in [0, 1).
///
/// ln(1 + 1/m) is 2/(2m + 1) times a factor between 1 and 1 + 1/(12 m^2), so that the
/// logarithm itself is needed in the narrow gap between these two bounds only.
#[inline(always)]
fn accepts(u: f64, exponent: u32, m: u64) -> bool {
    let octave = (1_u64 << exponent) as i64 as f64;
    let m = m as i64 as f64;
    let (left, right) = (u * (2.0 * m + 1.0), 2.0 * octave);
    let excess = left - right;
    // One test that almost never holds, since the excess itself has no predictable sign.
    if 12.0 * m * m * excess.abs() <= right { accepts_exactly(u, octave, m) } else { excess < 0.0 }
}

#[cold]
fn accepts_exactly(u: f64, octave: f64, m: f64) -> bool {
    u < octave * ln_1p_reciprocal(m)
}

impl Distribution for LogUniform {
    fn num_classes(&self) -> i64 {
        self.num_classes
    }

    fn num_positive(&self) -> i64 {
        self.num_classes
    }

    #[inline]
    fn probability(&self, class: i64) -> f64 {
        ln_1p_reciprocal(class as f64 + 1.0) * self.scale
    }

    fn fill(&self, stream: &mut Stream, classes: &mut [i64]) {
        let octaves = u64::from(64 - self.num_classes.leading_zeros());
        let mut filled = 0;
        while filled < classes.len() {
            let (exponent, rest) = stream.below_with_rest(octaves);
            // The highest `exponent` bits of a word, behind a leading 1; as `class`, but that a
            // refused one is overwritten.
            let m = (1 << exponent) | (stream.word() >> 1 >> (63 - exponent));
            classes[filled] = (m - 1) as i64;
            // Added, not branched on: three in ten are refused, which no branch
            // predictor can learn.
            let inside = m <= self.num_classes as u64;
            filled += usize::from(inside & accepts(unit(rest), exponent as u32, m));
        }
    }

    fn reach(&self) -> f64 {
        self.reach
    }

    fn probabilities(&self, classes: &[i64], out: &mut [f64]) {
        probabilities(classes, self.scale, out);
    }
}
