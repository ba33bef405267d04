//! Draws that do not depend on one another: attempt i of a draw is a function of (seed,
//! rank, step, i), so that a device can make all at once. `kernels/draw.cuh` makes the
//! same ones.
//!
//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
//! 1, 2, 3", 2011). Its key is mix(rank + mix(seed)) with the finaliser of SplitMix64, its
//! counter (i, step), low words first. An attempt is a class, or none: the sample is the
//! first S classes that come, distinct ones where it is unique, and its tries are the
//! attempts until then that gave a class. That is successive drawing with rejection, as
//! [`super::unique`] describes it, in a defined order.

use super::config::{Config, Kind};
use super::draw::Draw;
use super::excluded::Excluded;
use super::expected_count::ExpectedCount;
use super::log_uniform::LogUniform;
use super::membership::{Members, Membership};
use super::scratch::Scratch;
use super::stream::{mix, unit};
use super::uniform::Uniform;
use super::{CountRule, Sampler, unique};
use crate::error::{Error, Result};
use crate::math;

/// What an attempt gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Uniform,
    LogUniform,
    /// Attempt i is class i: where all are wanted nothing is left to chance.
    Everything,
}

/// The generator of a sampler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Philox {
    pub(crate) key: u64,
    pub(crate) attempt: Attempt,
    /// Attempts that almost surely suffice: eight standard deviations more than expected.
    pub(crate) enough: u64,
}

const ROUNDS: usize = 10;

/// The four words of a counter.
fn philox(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let first = u64::from(counter[0]) * 0xd251_1f53;
        let second = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

impl Philox {
    /// The generator of a configuration; refuses those that it is not there for.
    pub(super) fn new(config: &Config) -> Result<Philox> {
        let Config { num_classes, num_sampled, unique, seed, rank, .. } = *config;
        let everything = unique && num_sampled == num_classes;
        let count = num_sampled as usize;
        let (attempt, few, enough) = match &config.kind {
            Kind::Uniform => {
                let law = Uniform::new(num_classes);
                let few = unique::method(&law, count, num_classes, 0) == unique::Method::Rejection;
                (Attempt::Uniform, few, enough_uniform(num_classes as f64, num_sampled as f64, unique))
            }
            Kind::LogUniform => {
                let law = LogUniform::new(num_classes);
                let few = unique::method(&law, count, num_classes, 0) == unique::Method::Rejection;
                (Attempt::LogUniform, few, law.enough(num_sampled as f64, unique))
            }
            _ => {
                return Err(Error::InvalidValue(
                    "generator = SSL_GENERATOR_PHILOX is for SSL_SAMPLER_UNIFORM and SSL_SAMPLER_LOG_UNIFORM; other \
                     samplers take SSL_GENERATOR_XOSHIRO"
                        .into(),
                ));
            }
        };
        if unique && !everything && !few {
            return Err(Error::InvalidValue(format!(
                "num_sampled = {num_sampled} distinct classes are too many of num_classes = {num_classes} for \
                 SSL_GENERATOR_PHILOX, which draws until they have come; take SSL_GENERATOR_XOSHIRO"
            )));
        }
        let (attempt, enough) =
            if everything { (Attempt::Everything, num_classes as f64) } else { (attempt, enough) };
        Ok(Philox { key: mix(rank.wrapping_add(mix(seed))), attempt, enough: enough as u64 })
    }

    /// The class of an attempt, if it gives one.
    fn class(&self, num_classes: i64, step: u64, index: u64) -> Option<i64> {
        let halves = |word: u64| [word as u32, (word >> 32) as u32];
        let ([i0, i1], [s0, s1]) = (halves(index), halves(step));
        let [a, b, c, d] = philox(halves(self.key), [i0, i1, s0, s1]).map(u64::from);
        let (first, second) = (a | b << 32, c | d << 32);
        match self.attempt {
            Attempt::Uniform => {
                // The high part of the 128-bit fraction times C: without any bias that shows.
                let wide = |word: u64| u128::from(word) * num_classes as u128;
                Some(((wide(first) + (wide(second) >> 64)) >> 64) as i64)
            }
            Attempt::LogUniform => {
                let octaves = u128::from(64 - num_classes.leading_zeros());
                let product = u128::from(first) * octaves;
                LogUniform::class((product >> 64) as u32, unit(product as u64), second, num_classes)
            }
            Attempt::Everything => (index < num_classes as u64).then_some(index as i64),
        }
    }
}

/// Draws until `count` distinct ones of `classes` have come: their mean is the sum of
/// C / (C - k) for k < count, their variance that of C k / (C - k)^2.
fn enough_uniform(classes: f64, count: f64, unique: bool) -> f64 {
    if !unique || count >= classes {
        return count;
    }
    // By the integral, which the sum is below.
    let left = classes - count;
    let log = math::ln(classes / left);
    let mean = classes * log + count / left;
    let variance = classes * (classes / left - 1.0 - log) + classes * count / (left * left);
    mean + 8.0 * variance.max(0.0).sqrt() + 16.0
}

impl Sampler {
    /// `draw_from` by the attempts of `philox`.
    pub(super) fn draw_by_attempts(
        &self,
        philox: &Philox,
        scratch: &mut Scratch,
        draw: &mut Draw<'_>,
    ) -> Result<(i64, ExpectedCount)> {
        if draw.excluded().len_bound() > 0 {
            return Err(no_exclusions());
        }
        if !self.unique {
            let mut attempts = (0..).filter_map(|index| philox.class(self.num_classes, draw.step, index));
            draw.ids.iter_mut().zip(&mut attempts).for_each(|(id, class)| *id = class);
            draw.ids.sort_unstable();
            return Ok((self.num_sampled as i64, self.rule_of_attempts(philox, 0)));
        }
        let (membership, _) = scratch.members(self.num_classes, self.num_sampled, self.num_sampled)?;
        let tries = match membership {
            Membership::Bitmap(set) => self.insert_attempts(philox, set, draw),
            Membership::Table(set) => self.insert_attempts(philox, set, draw),
        };
        Ok((tries, self.rule_of_attempts(philox, tries)))
    }

    fn insert_attempts(&self, philox: &Philox, members: &mut impl Members, draw: &mut Draw<'_>) -> i64 {
        let (mut tries, mut missing) = (0, self.num_sampled);
        for index in 0.. {
            if missing == 0 {
                break;
            }
            if let Some(class) = philox.class(self.num_classes, draw.step, index) {
                tries += 1;
                missing -= usize::from(members.insert(class));
            }
        }
        members.take(&Excluded { labels: None, ignored: None, avoid: &[] }, draw.ids);
        tries
    }

    /// How expected counts follow from the tries, 0 where they are not known yet.
    pub(crate) fn rule_of_attempts(&self, philox: &Philox, tries: i64) -> ExpectedCount {
        let count = self.num_sampled;
        match philox.attempt {
            _ if !self.unique => ExpectedCount::Proportional(count as f64),
            Attempt::Everything => ExpectedCount::Constant(1.0),
            Attempt::Uniform if self.counts == CountRule::Exact => {
                ExpectedCount::Constant(count as f64 / self.num_classes as f64)
            }
            _ => ExpectedCount::of_tries(count, tries),
        }
    }
}

/// A draw that is asked to leave classes out.
pub(crate) fn no_exclusions() -> Error {
    Error::InvalidValue("avoid: SSL_GENERATOR_PHILOX leaves no class out; take SSL_GENERATOR_XOSHIRO".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kat_vectors` of Random123 1.14, philox4x32 10.
    #[test]
    fn the_generator_gives_the_published_answers() {
        let ones = u32::MAX;
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        for (counter, key, want) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ] {
            assert_eq!(philox(key, counter), want);
        }
    }
}
