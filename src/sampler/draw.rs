//! One draw: its arguments, and the order of its steps.

use super::checks::{check_classes, check_lengths, check_room};
use super::distribution::Distribution;
use super::excluded::Excluded;
use super::expected_count::ExpectedCount;
use super::membership::{Members, Membership};
use super::scratch::{Buffers, Scratch};
use super::stream::Stream;
use super::{CountRule, Law, Sampler, State, exponential_keys, replacement, unique};
use crate::error::{Error, Result};
use crate::labels::Labels;

/// An array of expected counts to write, float32 or float64.
#[derive(Debug)]
pub enum Counts<'a> {
    /// float32. A positive count that float32 would round to 0 becomes the smallest
    /// positive number instead, for its logarithm is needed.
    F32(&'a mut [f32]),
    /// float64.
    F64(&'a mut [f64]),
}

impl Counts<'_> {
    /// Number of counts.
    pub(super) fn len(&self) -> usize {
        match self {
            Counts::F32(out) => out.len(),
            Counts::F64(out) => out.len(),
        }
    }

    /// Writes `values` from element `start` on.
    pub(super) fn store(&mut self, start: usize, values: &[f64]) {
        match self {
            Counts::F32(out) => {
                for (to, from) in out[start..].iter_mut().zip(values) {
                    let floor = if *from > 0.0 { f32::from_bits(1) } else { 0.0 };
                    *to = (*from as f32).max(floor);
                }
            }
            Counts::F64(out) => out[start..][..values.len()].copy_from_slice(values),
        }
    }
}

/// What to draw and where to put it.
#[derive(Debug)]
pub struct Draw<'a> {
    /// Which draw of the run.
    pub step: u64,
    /// `[N, T]`, each a class or `ignored`; may be empty.
    pub labels: Labels<'a>,
    /// T.
    pub num_true: usize,
    /// A label that stands for no class: its count is 0, it excludes and teaches nothing.
    pub ignored: Option<i64>,
    /// Whether no label of the batch may be drawn.
    pub exclude_labels: bool,
    /// Other classes that must not be drawn, in any order, repeats allowed.
    pub avoid: &'a [i64],
    /// `[S]`, written: the drawn classes, ascending.
    pub ids: &'a mut [i64],
    /// `[S]`, written: the expected count of each id.
    pub sampled: Option<Counts<'a>>,
    /// `[N, T]`, written: the expected count of each label.
    pub expected_true: Option<Counts<'a>>,
    /// `[C]`, written: a learned sampler's counts after this draw.
    pub learned: Option<&'a mut [i64]>,
}

impl<'a> Draw<'a> {
    pub(super) fn excluded(&self) -> Excluded<'a> {
        let labels = self.exclude_labels.then_some(self.labels);
        Excluded { labels, ignored: self.ignored, avoid: self.avoid }
    }
}

impl Sampler {
    /// Draws S classes and computes the expected counts asked for; a learned sampler then
    /// adds the labels to its counts. Gives the number of tries, those included that were
    /// rejected because their class had come before or is excluded.
    ///
    /// From the second draw of the same sizes on, nothing is allocated.
    ///
    /// # Errors
    /// Nothing has been written, and nothing learned, when this fails.
    ///
    /// - `InvalidValue`: the sampler is `Caller`; too few classes are left to draw from;
    ///   `learned` without a learned sampler; the learned counts would overflow.
    /// - `LabelRange`: a label or an element of `avoid` is no class.
    /// - `ExpectedCount`: a label of probability 0 where `expected_true` is asked for.
    /// - `Shape`: an output of the wrong length.
    /// - `HostMemory`.
    pub fn draw(&self, draw: Draw<'_>) -> Result<i64> {
        self.draw_with_rule(draw).map(|(tries, _)| tries)
    }

    /// As `draw`, and says how expected counts follow from the probabilities, for those
    /// that are computed elsewhere.
    ///
    /// # Errors
    /// As `draw`.
    pub(crate) fn draw_with_rule(&self, mut draw: Draw<'_>) -> Result<(i64, ExpectedCount)> {
        let mut state = self.lock()?;
        let State { unclean, scratch, learned } = &mut *state;
        if *unclean {
            scratch.clear();
        }
        // Stays so if this draw fails, however it does.
        *unclean = true;
        let drawn = match (&self.law, learned) {
            (Law::Uniform(law) | Law::All(law), _) => self.draw_from(law, scratch, &mut draw)?,
            (Law::LogUniform(law), _) => self.draw_from(law, scratch, &mut draw)?,
            (Law::FixedUnigram(law), _) => self.draw_from(law, scratch, &mut draw)?,
            (Law::LearnedUnigram, Some(law)) => {
                law.check_room(draw.labels.len())?;
                let drawn = self.draw_from(law, scratch, &mut draw)?;
                law.learn(draw.labels, draw.ignored);
                if let Some(out) = draw.learned {
                    out.copy_from_slice(law.counts());
                }
                drawn
            }
            (Law::LearnedUnigram, None) | (Law::Caller, _) => {
                return Err(Error::InvalidValue(
                    "sampler = SSL_SAMPLER_CALLER draws nothing: pass candidates with source = \
                     SSL_CANDIDATES_GIVEN"
                        .into(),
                ));
            }
        };
        *unclean = false;
        Ok(drawn)
    }

    fn draw_from<D: Distribution>(
        &self,
        distribution: &D,
        scratch: &mut Scratch,
        draw: &mut Draw<'_>,
    ) -> Result<(i64, ExpectedCount)> {
        check_lengths(self, draw)?;
        check_classes(distribution, draw)?;
        let mut stream = Stream::new(self.seed, draw.step, self.rank);
        let excluded = draw.excluded().len_bound();
        let (tries, rule) = if let Some(philox) = &self.philox {
            self.draw_by_attempts(philox, scratch, draw)?
        } else if self.unique || excluded > 0 {
            let drawn = if self.unique { self.num_sampled } else { 0 };
            let members = drawn.saturating_add(excluded);
            let (membership, buffers) = scratch.members(self.num_classes, self.num_sampled, members)?;
            match membership {
                Membership::Bitmap(set) => self.draw_around(distribution, set, buffers, &mut stream, draw)?,
                Membership::Table(set) => self.draw_around(distribution, set, buffers, &mut stream, draw)?,
            }
        } else {
            distribution.fill(&mut stream, draw.ids);
            draw.ids.sort_unstable();
            (self.num_sampled as i64, ExpectedCount::Proportional(self.num_sampled as f64))
        };
        if let Some(out) = &mut draw.sampled {
            rule.write_sampled(distribution, draw.ids, out);
        }
        if let Some(out) = &mut draw.expected_true {
            rule.write_true(distribution, draw.labels, draw.ignored, out);
        }
        Ok((tries, rule))
    }

    /// A draw that must keep account of classes: of those drawn, of those excluded.
    fn draw_around<D: Distribution, M: Members>(
        &self,
        distribution: &D,
        members: &mut M,
        Buffers { keys, arrivals }: &mut Buffers,
        stream: &mut Stream,
        draw: &mut Draw<'_>,
    ) -> Result<(i64, ExpectedCount)> {
        let count = self.num_sampled;
        let excluded = draw.excluded();
        let mass = excluded.mark(distribution, members);
        let allowed = distribution.num_positive() - mass.classes;
        check_room(self, distribution.num_positive(), mass.classes)?;
        let sets = (members, &excluded);
        if !self.unique {
            let method = replacement::method(mass);
            if method == replacement::Method::Inversion {
                replacement::reserve(arrivals, count)?;
            }
            let tries = replacement::sample(method, distribution, sets, stream, arrivals, draw.ids);
            return Ok((tries, ExpectedCount::Proportional(count as f64)));
        }
        let method = unique::method(distribution, count, allowed, mass.classes);
        if method == unique::Method::ExponentialKeys {
            exponential_keys::reserve(keys, count, distribution.num_classes())?;
        }
        let tries = unique::sample((method, allowed), distribution, sets, stream, keys, draw.ids);
        let rule = if method == unique::Method::Everything {
            ExpectedCount::Constant(1.0)
        } else if D::EQUIPROBABLE && self.counts == CountRule::Exact {
            ExpectedCount::Constant(count as f64 / allowed as f64)
        } else {
            ExpectedCount::of_tries(count, tries)
        };
        Ok((tries, rule))
    }
}
