//! `ssl_config`, checked: what the loss is, how it samples, where it runs.

use std::ffi::CStr;

use super::{flag, pointer, slice, unknown, zero};
use crate::abi::{self, ssl_config};
use crate::allocation::reserve_exact;
use crate::error::{Error, Result};
use crate::sampler::{self, CountRule, Generator, Kind, Unigram, UnigramWeights};

/// What happens to accidental hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hits {
    Mask,
    Keep,
    Exclude,
}

/// How row losses become the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    None,
    Mean,
    Sum,
}

/// The loss that a handle computes, apart from the sizes of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    pub(crate) num_classes: i64,
    pub(crate) num_sampled: i64,
    pub(crate) num_true: i64,
    pub(crate) hits: Hits,
    pub(crate) reduction: Reduction,
    pub(crate) probability_floor: f64,
    pub(crate) precision: Precision,
}

/// What a device multiplies with, where types leave a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Bf16x3,
    Tf32,
    Ieee,
}

/// Says it for handles that ask for nothing in particular.
const PRECISION: &str = "SAMPLED_SOFTMAX_PRECISION";

impl Precision {
    fn check(value: u32) -> Result<Precision> {
        match value {
            abi::SSL_PRECISION_DEFAULT => match std::env::var(PRECISION) {
                Err(_) => Ok(Precision::Bf16x3),
                Ok(name) => Precision::named(&name),
            },
            abi::SSL_PRECISION_TF32 => Ok(Precision::Tf32),
            abi::SSL_PRECISION_IEEE => Ok(Precision::Ieee),
            abi::SSL_PRECISION_BF16X3 => Ok(Precision::Bf16x3),
            value => unknown("precision", value, "SSL_PRECISION_*"),
        }
    }

    fn named(name: &str) -> Result<Precision> {
        match name.trim() {
            "" | "bf16x3" => Ok(Precision::Bf16x3),
            "tf32" => Ok(Precision::Tf32),
            "ieee" => Ok(Precision::Ieee),
            _ => Err(Error::InvalidValue(format!("{PRECISION}={name} is none of bf16x3, tf32, ieee"))),
        }
    }
}

/// All that `ssl_create` needs.
pub(crate) struct Setup {
    pub(crate) problem: Problem,
    pub(crate) sampler: sampler::Config,
    pub(crate) backend: u32,
    pub(crate) device: i32,
    pub(crate) num_threads: u32,
}

/// Threads beyond this are a mistake, not a wish.
pub(crate) const MOST_THREADS: u32 = 1024;

impl Setup {
    /// # Safety
    /// The pointers of `raw` lead to what `ssl_config` says.
    pub(crate) unsafe fn check(raw: &ssl_config) -> Result<Setup> {
        zero("config.reserved", raw.reserved)?;
        zero("config.reserved_too", raw.reserved_too)?;
        if raw.num_threads > MOST_THREADS {
            return Err(Error::InvalidValue(format!(
                "num_threads = {} is more than {MOST_THREADS}",
                raw.num_threads
            )));
        }
        let problem = Problem::check(raw)?;
        let unique = match raw.sampling {
            abi::SSL_SAMPLING_UNIQUE => true,
            abi::SSL_SAMPLING_REPLACEMENT => false,
            value => return unknown("sampling", value, "SSL_SAMPLING_*"),
        };
        let counts = match raw.counts {
            abi::SSL_COUNTS_TF => CountRule::Tf,
            abi::SSL_COUNTS_EXACT => CountRule::Exact,
            value => return unknown("counts", value, "SSL_COUNTS_*"),
        };
        let generator = match raw.generator {
            abi::SSL_GENERATOR_XOSHIRO => Generator::Xoshiro,
            abi::SSL_GENERATOR_PHILOX if problem.hits == Hits::Exclude => {
                return Err(Error::InvalidValue(
                    "hits = SSL_HITS_EXCLUDE: SSL_GENERATOR_PHILOX leaves no class out; take SSL_GENERATOR_XOSHIRO".into(),
                ));
            }
            abi::SSL_GENERATOR_PHILOX => Generator::Philox,
            value => return unknown("generator", value, "SSL_GENERATOR_*"),
        };
        // SAFETY: the caller's promise.
        let kind = unsafe { kind(raw)? };
        let sampler = sampler::Config {
            num_classes: problem.num_classes,
            num_sampled: problem.num_sampled,
            kind,
            unique,
            counts,
            seed: raw.seed,
            rank: raw.rank,
            generator,
        };
        let (backend, device, num_threads) = (raw.backend, raw.device, raw.num_threads);
        Ok(Setup { problem, sampler, backend, device, num_threads })
    }
}

impl Problem {
    fn check(raw: &ssl_config) -> Result<Problem> {
        let num_true = if raw.num_true == 0 { 1 } else { raw.num_true };
        if raw.num_classes < 1 {
            return Err(Error::InvalidValue(format!("num_classes = {} is less than 1", raw.num_classes)));
        }
        if raw.num_sampled < 1 {
            return Err(Error::InvalidValue(format!("num_sampled = {} is less than 1", raw.num_sampled)));
        }
        if num_true < 1 || num_true > raw.num_classes {
            return Err(Error::InvalidValue(format!(
                "num_true = {num_true} is outside [1, num_classes = {}]",
                raw.num_classes
            )));
        }
        let hits = match raw.hits {
            abi::SSL_HITS_MASK => Hits::Mask,
            abi::SSL_HITS_KEEP => Hits::Keep,
            abi::SSL_HITS_EXCLUDE => Hits::Exclude,
            value => return unknown("hits", value, "SSL_HITS_*"),
        };
        let reduction = match raw.reduction {
            abi::SSL_REDUCTION_NONE => Reduction::None,
            abi::SSL_REDUCTION_MEAN => Reduction::Mean,
            abi::SSL_REDUCTION_SUM => Reduction::Sum,
            value => return unknown("reduction", value, "SSL_REDUCTION_*"),
        };
        let floor = raw.probability_floor;
        if !(0.0..=1.0).contains(&floor) {
            return Err(Error::InvalidValue(format!("probability_floor = {floor} is outside [0, 1]")));
        }
        Ok(Problem {
            num_classes: raw.num_classes,
            num_sampled: raw.num_sampled,
            num_true,
            hits,
            reduction,
            probability_floor: floor,
            precision: Precision::check(raw.precision)?,
        })
    }
}

/// # Safety
/// The pointers of `raw` lead to what `ssl_config` says.
unsafe fn kind(raw: &ssl_config) -> Result<Kind> {
    match raw.sampler {
        abi::SSL_SAMPLER_UNIFORM => Ok(Kind::Uniform),
        abi::SSL_SAMPLER_LOG_UNIFORM => Ok(Kind::LogUniform),
        // SAFETY: the caller's promise.
        abi::SSL_SAMPLER_FIXED_UNIGRAM => Ok(Kind::FixedUnigram(unsafe { unigram(raw)? })),
        abi::SSL_SAMPLER_LEARNED_UNIGRAM => {
            let counts = match raw.learned_counts.is_null() {
                true => None,
                // SAFETY: [C] by the caller's promise.
                false => Some(unsafe { copied("learned_counts", raw.learned_counts, raw.num_classes)? }),
            };
            Ok(Kind::LearnedUnigram { counts })
        }
        abi::SSL_SAMPLER_ALL => Ok(Kind::All),
        abi::SSL_SAMPLER_CALLER => Ok(Kind::Caller),
        value => unknown("sampler", value, "SSL_SAMPLER_*"),
    }
}

/// # Safety
/// `unigrams` and `vocab_file` lead to what `ssl_config` says.
unsafe fn unigram(raw: &ssl_config) -> Result<Unigram> {
    let memory = || {
        // SAFETY: the caller's promise.
        unsafe { copied("unigrams", raw.unigrams, raw.num_unigrams) }
    };
    let weights = match (raw.unigrams.is_null(), raw.vocab_file.is_null()) {
        (false, true) => UnigramWeights::Memory(memory()?),
        (true, false) => {
            // SAFETY: the caller's promise.
            let path = unsafe { CStr::from_ptr(raw.vocab_file) };
            let path = path.to_str().map_err(|error| {
                Error::InvalidValue(format!("vocab_file is not UTF-8 from byte {} on", error.valid_up_to()))
            })?;
            UnigramWeights::File(path.into())
        }
        (neither, _) => {
            let given = if neither { "neither is set" } else { "both are set" };
            return Err(Error::InvalidValue(format!(
                "SSL_SAMPLER_FIXED_UNIGRAM takes either unigrams or vocab_file, but {given}"
            )));
        }
    };
    Ok(Unigram {
        weights,
        distortion: if flag("has_distortion", raw.has_distortion)? { raw.distortion } else { 1.0 },
        num_reserved_ids: raw.num_reserved_ids,
        num_shards: raw.num_shards.max(1),
        shard: raw.shard,
    })
}

/// # Safety
/// `data` leads to `count` elements.
unsafe fn copied<T: Copy>(name: &'static str, data: *const T, count: i64) -> Result<Vec<T>> {
    let count = match usize::try_from(count) {
        Ok(count) if count <= isize::MAX as usize / size_of::<T>() => count,
        _ => return Err(Error::Shape(format!("{name}: {count} elements"))),
    };
    pointer(name, data, count, align_of::<T>())?;
    let mut copy = Vec::new();
    reserve_exact(&mut copy, count, name)?;
    // SAFETY: the caller's promise.
    copy.extend_from_slice(unsafe { slice(name, data, count)? });
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::Precision;

    #[test]
    fn precisions_have_names_and_others_are_refused() {
        assert_eq!(Precision::named("tf32").unwrap(), Precision::Tf32);
        assert_eq!(Precision::named(" ieee ").unwrap(), Precision::Ieee);
        assert_eq!(Precision::named("bf16x3").unwrap(), Precision::Bf16x3);
        assert_eq!(Precision::named("").unwrap(), Precision::Bf16x3);
        let refused = Precision::named("fp8").unwrap_err().to_string();
        assert!(refused.contains("SAMPLED_SOFTMAX_PRECISION=fp8"), "{refused}");
    }
}
