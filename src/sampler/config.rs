//! What a sampler is made of.

use crate::error::{Error, Result};

/// A sampler's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// C, at least 1.
    pub num_classes: i64,
    /// S, at least 1; at most the classes of positive probability if `unique`.
    pub num_sampled: i64,
    /// The distribution.
    pub kind: Kind,
    /// Whether drawn classes are distinct.
    pub unique: bool,
    /// How expected counts are computed.
    pub counts: CountRule,
    /// Seed of the run.
    pub seed: u64,
    /// Tells apart the workers that share a seed.
    pub rank: u64,
    /// Where random numbers come from.
    pub generator: Generator,
}

/// The random numbers of a sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generator {
    /// A stream, read in order.
    #[default]
    Xoshiro,
    /// A function of a counter; for [`Kind::Uniform`] and [`Kind::LogUniform`].
    Philox,
}

/// The distribution of a sampler.
#[derive(Clone, Debug)]
pub enum Kind {
    /// P(k) = 1 / C.
    Uniform,
    /// P(k) = ln((k + 2) / (k + 1)) / ln(C + 1).
    LogUniform,
    /// P(k) proportional to given weights.
    FixedUnigram(Unigram),
    /// P(k) proportional to a count, 1 at first, to which every label of k adds 1.
    LearnedUnigram {
        /// `[C]`, each at least 1: the counts to start from instead.
        counts: Option<Vec<i64>>,
    },
    /// Every class once, with an expected count of 1.
    All,
    /// The caller brings the candidates.
    Caller,
}

/// The weights of [`Kind::FixedUnigram`]: P(k) is proportional to weight^distortion.
#[derive(Clone, Debug)]
pub struct Unigram {
    /// One weight a class of the whole vocabulary, without the reserved ids.
    pub weights: UnigramWeights,
    /// Exponent, finite. 0 makes all weights alike, 0 itself included.
    pub distortion: f64,
    /// Ids put before those of the weights, with probability 0.
    pub num_reserved_ids: i64,
    /// n of n shards; 0 means 1.
    pub num_shards: u32,
    /// Ids kept are those that are `shard` modulo `num_shards`; they are numbered anew.
    pub shard: u32,
}

/// Where weights come from.
#[derive(Clone, Debug)]
pub enum UnigramWeights {
    /// The weights.
    Memory(Vec<f64>),
    /// Path of a text file with one class a line, its weight in the last comma-separated
    /// field.
    File(String),
}

/// How expected counts are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountRule {
    /// From the observed number of tries, as TensorFlow does.
    Tf,
    /// The inclusion probability itself for uniform sampling of distinct classes; as `Tf`
    /// elsewhere.
    Exact,
}

impl Config {
    /// Checks the sizes and gives S.
    pub(super) fn check(&self) -> Result<usize> {
        let Config { num_classes, num_sampled, .. } = *self;
        let invalid = |text| Err(Error::InvalidValue(text));
        if num_classes < 1 {
            return invalid(format!("num_classes = {num_classes} must be at least 1"));
        }
        if num_sampled < 1 {
            return invalid(format!("num_sampled = {num_sampled} must be at least 1"));
        }
        if matches!(self.kind, Kind::All) && num_sampled != num_classes {
            return invalid(format!(
                "num_sampled = {num_sampled}, but SSL_SAMPLER_ALL takes all num_classes = \
                 {num_classes}"
            ));
        }
        let distinct = self.unique && !matches!(self.kind, Kind::Caller);
        if distinct && num_sampled > num_classes {
            return invalid(format!(
                "num_sampled = {num_sampled} distinct classes exceed num_classes = {num_classes}"
            ));
        }
        usize::try_from(num_sampled)
            .or_else(|_| invalid(format!("num_sampled = {num_sampled} exceeds this machine's address space")))
    }
}
