//! Candidate samplers: which S of C classes a batch is trained against, and how often
//! each was to be expected.
//!
//! ```text
//! Sampler::draw   draw -> checks
//!                      -> excluded      labels and avoided ids, in the membership set
//!                      -> unique        rejection, complement or exponential_keys
//!                         replacement   plain draws, rejection or inversion
//!                      -> expected_count
//! distributions   uniform, log_uniform, fixed_unigram (vocabulary), learned_unigram
//! membership      bitmap, or id_table for very many classes
//! randomness      stream, and crate::math; or philox, which draws in an order of its own
//! ```
//!
//! A draw is a function of (seed, step, rank) and, where the sampler learns, of its
//! counts: the same ids on every machine, whatever was drawn before.

mod bitmap;
mod checks;
mod config;
mod distribution;
mod draw;
mod excluded;
mod expected_count;
mod exponential_keys;
mod fixed_unigram;
mod id_table;
mod learned_unigram;
mod log_uniform;
mod membership;
mod philox;
mod replacement;
mod scratch;
mod stream;
mod uniform;
mod unique;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

pub use config::{Config, CountRule, Generator, Kind, Unigram, UnigramWeights};
pub use draw::{Counts, Draw};
pub(crate) use expected_count::ExpectedCount;
pub(crate) use philox::{Attempt, Philox, no_exclusions};

use crate::error::{Error, Result};
use distribution::Distribution;
use fixed_unigram::FixedUnigram;
use learned_unigram::LearnedUnigram;
use log_uniform::LogUniform;
use scratch::Scratch;
use uniform::Uniform;

/// A candidate sampler. Draws from several threads at once take their turns.
pub struct Sampler {
    num_classes: i64,
    num_sampled: usize,
    unique: bool,
    counts: CountRule,
    seed: u64,
    rank: u64,
    law: Law,
    /// In the place of the stream.
    philox: Option<Philox>,
    /// The process that made it.
    process: u32,
    state: Mutex<State>,
}

/// The distribution, where draws do not change it.
enum Law {
    Uniform(Uniform),
    LogUniform(LogUniform),
    FixedUnigram(FixedUnigram),
    /// In [`State`].
    LearnedUnigram,
    /// All classes: a uniform sample of C distinct ones.
    All(Uniform),
    Caller,
}

/// The probability of each class.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probabilities<'a> {
    /// 1 / C.
    Uniform,
    /// ln((k + 2) / (k + 1)) / ln(C + 1).
    LogUniform,
    /// `[C]`.
    Table(&'a [f64]),
    /// 1.
    All,
    /// They follow the labels.
    Learned,
    /// The caller brings the candidates.
    None,
}

/// What draws change.
#[derive(Default)]
struct State {
    /// Whether a draw failed and may have left members behind.
    unclean: bool,
    scratch: Scratch,
    learned: Option<LearnedUnigram>,
}

impl Sampler {
    /// Checks a configuration and builds its tables.
    ///
    /// # Errors
    /// `InvalidValue` naming the field and the numbers, `File` for a vocabulary file that
    /// cannot be read, `HostMemory`.
    pub fn new(config: Config) -> Result<Sampler> {
        let num_sampled = config.check()?;
        let philox = match config.generator {
            Generator::Xoshiro => None,
            Generator::Philox => Some(Philox::new(&config)?),
        };
        let Config { num_classes, unique, counts, seed, rank, kind, .. } = config;
        let mut state = State::default();
        let mut unique = unique;
        let law = match kind {
            Kind::Uniform => Law::Uniform(Uniform::new(num_classes)),
            Kind::LogUniform => Law::LogUniform(LogUniform::new(num_classes)),
            Kind::FixedUnigram(unigram) => {
                let weights = vocabulary::weights(&unigram, num_classes)?;
                Law::FixedUnigram(FixedUnigram::new(weights)?)
            }
            Kind::LearnedUnigram { counts } => {
                state.learned = Some(LearnedUnigram::new(num_classes, counts)?);
                Law::LearnedUnigram
            }
            Kind::All => {
                unique = true;
                Law::All(Uniform::new(num_classes))
            }
            Kind::Caller => Law::Caller,
        };
        let sampler = Sampler {
            num_classes,
            num_sampled,
            unique,
            counts,
            seed,
            rank,
            law,
            philox,
            process: std::process::id(),
            state: Mutex::default(),
        };
        sampler.prepare(&mut state)?;
        Ok(Sampler { state: Mutex::new(state), ..sampler })
    }

    /// Checks S against the classes that can be drawn, and makes the memory that a draw
    /// without exclusions needs.
    fn prepare(&self, state: &mut State) -> Result<()> {
        let State { scratch, learned, .. } = state;
        match (&self.law, learned) {
            (Law::Uniform(law) | Law::All(law), _) => self.prepare_for(law, scratch),
            (Law::LogUniform(law), _) => self.prepare_for(law, scratch),
            (Law::FixedUnigram(law), _) => self.prepare_for(law, scratch),
            (Law::LearnedUnigram, Some(law)) => self.prepare_for(law, scratch),
            (Law::LearnedUnigram, None) | (Law::Caller, _) => Ok(()),
        }
    }

    fn prepare_for<D: Distribution>(&self, distribution: &D, scratch: &mut Scratch) -> Result<()> {
        if !self.unique {
            // Which of its ways a draw takes, here and below, depends on what it excludes
            // and has learned: room for each is made now.
            return scratch.reserve_arrivals(self.num_sampled);
        }
        let positive = distribution.num_positive();
        if self.num_sampled as i64 > positive {
            return Err(Error::InvalidValue(format!(
                "num_sampled = {} distinct classes, but {positive} of num_classes = {} have a \
                 positive probability",
                self.num_sampled, self.num_classes
            )));
        }
        let count = self.num_sampled;
        let (_, buffers) = scratch.members(self.num_classes, count, count)?;
        match D::EQUIPROBABLE {
            true => Ok(()),
            false => exponential_keys::reserve(&mut buffers.keys, count, self.num_classes),
        }
    }

    /// Probability that a single draw gives `class`: 0 outside of `[0, C)`, 1 if all
    /// classes are taken, under the present counts if they are learned. `None` if the
    /// caller brings the candidates.
    pub fn probability(&self, class: i64) -> Option<f64> {
        if !(0..self.num_classes).contains(&class) && !matches!(self.law, Law::Caller) {
            return Some(0.0);
        }
        match &self.law {
            Law::Uniform(law) => Some(law.probability(class)),
            Law::LogUniform(law) => Some(law.probability(class)),
            Law::FixedUnigram(law) => Some(law.probability(class)),
            Law::LearnedUnigram => self.lock().ok()?.learned.as_ref().map(|law| law.probability(class)),
            Law::All(_) => Some(1.0),
            Law::Caller => None,
        }
    }

    /// The generator of independent attempts, where draws are made by one.
    pub(crate) fn philox(&self) -> Option<&Philox> {
        self.philox.as_ref()
    }

    /// Whether drawn classes are distinct.
    pub(crate) fn is_unique(&self) -> bool {
        self.unique
    }

    /// What the probabilities are, for expected counts that are computed elsewhere.
    pub(crate) fn probabilities(&self) -> Probabilities<'_> {
        match &self.law {
            Law::Uniform(_) => Probabilities::Uniform,
            Law::LogUniform(_) => Probabilities::LogUniform,
            Law::FixedUnigram(law) => Probabilities::Table(law.probabilities()),
            Law::All(_) => Probabilities::All,
            Law::LearnedUnigram => Probabilities::Learned,
            Law::Caller => Probabilities::None,
        }
    }

    /// Copies the learned counts, `[C]`, for [`Kind::LearnedUnigram`] of a later run.
    ///
    /// # Errors
    /// `InvalidValue` if the sampler learns nothing, `Shape` if `out` is not `[C]`.
    pub fn save_learned(&self, out: &mut [i64]) -> Result<()> {
        let state = self.lock()?;
        let Some(learned) = &state.learned else {
            return Err(checks::nothing_learned());
        };
        checks::check_learned_length(out.len(), self.num_classes)?;
        out.copy_from_slice(learned.counts());
        Ok(())
    }

    /// The state, whatever happened to a thread that held it: `unclean` says what a draw
    /// left unfinished.
    ///
    /// # Errors
    /// `InvalidValue` in a forked child if a thread that only its parent has was drawing.
    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        // Free, most often; only who has to wait asks for the process, by a system call.
        match self.state.try_lock() {
            Ok(state) => return Ok(state),
            Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if self.process != std::process::id() => {}
            Err(TryLockError::WouldBlock) => {
                return Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner));
            }
        }
        // The holder may be a thread of the parent, which will never let go here; a thread
        // of this process will, long before these attempts end.
        for _ in 0..FORKED_ATTEMPTS {
            match self.state.try_lock() {
                Ok(state) => return Ok(state),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        Err(Error::InvalidValue(format!(
            "handle: process {} was forked from {} while another thread drew from this handle; create a new one",
            std::process::id(),
            self.process
        )))
    }
}

/// Milliseconds that a forked child waits for the sampler.
const FORKED_ATTEMPTS: u32 = 500;
