//! Configurations: a valid one, then perhaps changed, with what is wrong with it, and what
//! the rules of later calls must know of the handle.

use std::mem::zeroed;

use sampled_softmax::abi::*;

use super::choices::Choices;
use super::faults::Faults;

/// Sizes that all handles of a case share, so that their arrays fit one another.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    pub classes: i64,
    pub sampled: i64,
    pub num_true: i64,
}

impl Dims {
    pub fn new(choices: &mut Choices) -> Dims {
        let classes = match choices.below(16) {
            0 => 1,
            1..=12 => 2 + choices.below(20) as i64,
            13 | 14 => 20 + choices.below(80) as i64,
            _ => choices.pick(&[300, 1000, 5000]),
        };
        let most = classes.min(if choices.one_in(8) { 70 } else { 12 });
        let sampled = if choices.one_in(8) { most } else { 1 + choices.below(most as usize) as i64 };
        let num_true = if choices.one_in(2) { 1 } else { 1 + choices.below(classes.min(3) as usize) as i64 };
        Dims { classes, sampled, num_true }
    }
}

/// What the rules know of a handle.
#[derive(Clone, Debug)]
pub struct Model {
    pub backend: u32,
    pub dims: Dims,
    pub sampler: u32,
    pub unique: bool,
    pub hits: u32,
    pub reduction: u32,
    pub precision: u32,
    pub generator: u32,
    pub probability_floor: f64,
    /// Whether each class can be drawn; all can where this is empty.
    pub positive: Vec<bool>,
    /// Whether what can be drawn depends on roundings, or on what has been learned.
    pub is_unsure: bool,
}

impl Model {
    pub fn is_positive(&self, class: i64) -> bool {
        self.positive.is_empty() || self.positive[class as usize]
    }

    pub fn num_positive(&self) -> i64 {
        match self.positive.is_empty() {
            true => self.dims.classes,
            false => self.positive.iter().filter(|positive| **positive).count() as i64,
        }
    }
}

/// A configuration and the arrays it leads to; its pointers are set where these are placed.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub config: ssl_config,
    pub unigrams: Option<Vec<f64>>,
    pub learned_counts: Option<Vec<i64>>,
    pub vocab_file: Option<&'static [u8]>,
}

/// Files that are no vocabulary, whatever the machine: NUL-terminated paths.
const FILES: [&[u8]; 4] = [b"/nonexistent/vocabulary\0", b"/\0", b"\0", b"/dev/null/under\xFF\0"];

fn weights(choices: &mut Choices, count: usize) -> Vec<f64> {
    let mut weights: Vec<f64> =
        (0..count).map(|index| if choices.one_in(6) { 0.0 } else { 0.5 + (index * 7 % 13) as f64 }).collect();
    if choices.one_in(8) && count > 0 {
        let odd =
            choices.pick(&[f64::NAN, -1.0, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0, 1e-300]);
        weights[usize::from(choices.byte()) % count] = odd;
    }
    weights
}

impl Attempt {
    pub fn new(choices: &mut Choices, dims: Dims, backend: u32) -> Attempt {
        // SAFETY: zero is a value of every field.
        let mut config: ssl_config = unsafe { zeroed() };
        config.backend = backend;
        config.num_threads = if choices.one_in(32) { choices.pick(&[0, 2, 3]) } else { 1 };
        (config.num_classes, config.num_sampled, config.num_true) =
            (dims.classes, dims.sampled, dims.num_true);
        config.sampler = choices.code(&[0, 1, 2, 3, 4, 5, 5, 1]);
        if config.sampler == SSL_SAMPLER_ALL {
            // Needs S = C; the case's sizes rarely say so.
            let is_all = dims.sampled == dims.classes || choices.one_in(8);
            config.sampler = if is_all { SSL_SAMPLER_ALL } else { SSL_SAMPLER_UNIFORM };
        }
        config.sampling = choices.code(&[0, 1]);
        config.counts = choices.code(&[0, 1]);
        config.hits = choices.code(&[0, 0, 1, 2]);
        config.reduction = choices.code(&[0, 1, 2]);
        config.precision = choices.code(&[0, 1, 2, 3]);
        if matches!(config.sampler, SSL_SAMPLER_UNIFORM | SSL_SAMPLER_LOG_UNIFORM) || choices.one_in(64) {
            config.generator = choices.code(&[SSL_GENERATOR_XOSHIRO, SSL_GENERATOR_PHILOX]);
        }
        if config.generator == SSL_GENERATOR_PHILOX && config.hits == SSL_HITS_EXCLUDE && !choices.one_in(16)
        {
            config.hits = SSL_HITS_MASK;
        }
        config.seed = u64::from(choices.byte());
        config.rank = u64::from(choices.byte() % 4);
        config.probability_floor =
            if choices.one_in(4) { choices.pick(&[1e-6, 0.5, 1.0, 5e-324]) } else { 0.0 };
        let mut attempt = Attempt { config, unigrams: None, learned_counts: None, vocab_file: None };
        match config.sampler {
            SSL_SAMPLER_FIXED_UNIGRAM => attempt.set_unigrams(choices),
            SSL_SAMPLER_LEARNED_UNIGRAM if choices.one_in(2) => attempt.set_learned(choices),
            _ => {}
        }
        if choices.one_in(5) {
            attempt.change(choices);
        }
        attempt
    }

    fn set_unigrams(&mut self, choices: &mut Choices) {
        let config = &mut self.config;
        config.num_reserved_ids = i64::from(choices.byte() % 4 / 2).min(config.num_classes - 1);
        (config.num_shards, config.shard) = choices.pick(&[(0, 0), (0, 0), (1, 0), (2, 1), (3, 0)]);
        let shards = i64::from(config.num_shards.max(1));
        let total = i64::from(config.shard) + (config.num_classes - 1) * shards + 1;
        if choices.one_in(4) {
            config.has_distortion = 1;
            config.distortion = choices.pick(&[1.0, 0.75, 0.0, 2.0, -1.0, f64::NAN, f64::INFINITY, 700.0]);
        }
        if choices.one_in(16) {
            self.vocab_file = Some(choices.pick(&FILES));
        }
        if self.vocab_file.is_none() || choices.one_in(4) {
            let count = (total - config.num_reserved_ids).max(0);
            config.num_unigrams = count;
            self.unigrams = Some(weights(choices, count as usize));
        }
    }

    fn set_learned(&mut self, choices: &mut Choices) {
        let mut counts: Vec<i64> = (0..self.config.num_classes).map(|class| 1 + class % 5).collect();
        if choices.one_in(4) {
            let index = usize::from(choices.byte()) % counts.len();
            counts[index] = choices.pick(&[0, -1, i64::MIN, i64::MAX, i64::MAX - 400, 1 << 60]);
        }
        self.learned_counts = Some(counts);
    }

    /// One field is not what a caller means.
    fn change(&mut self, choices: &mut Choices) {
        let config = &mut self.config;
        match choices.below(20) {
            0 => config.backend = choices.pick(&[2, 77, u32::MAX]),
            1 => config.device = choices.wild() as i32,
            2 => config.num_threads = choices.pick(&[1025, 4096, u32::MAX, 8]),
            3 => config.num_classes = choices.wild(),
            4 => config.num_sampled = choices.wild(),
            5 => config.num_true = choices.wild(),
            6 => config.reserved = 1 + u32::from(choices.byte()),
            7 => {
                config.probability_floor =
                    choices.pick(&[-1.0, 1.5, f64::NAN, f64::INFINITY, -0.0, 1e-320, f64::MIN_POSITIVE]);
            }
            8 => config.num_reserved_ids = choices.wild(),
            9 => config.has_distortion = choices.pick(&[2, u32::MAX]),
            10 => config.shard = choices.wild() as u32,
            11 => config.num_shards = choices.wild() as u32,
            12 => self.unigrams = None,
            13 => self.vocab_file = Some(choices.pick(&FILES)),
            // Fewer than there are; more would be a lie about memory.
            14 => config.num_unigrams = choices.pick(&[0, 1, -1, i64::MIN, 1 << 61, i64::MAX]),
            15 => (config.seed, config.rank) = (choices.word(), choices.word()),
            _ => {}
        }
        // Arrays of [C] are read as such: none where there is not so much memory.
        if let Some(counts) = &self.learned_counts
            && self.config.num_classes > counts.len() as i64
            && self.config.num_classes < i64::MAX / 8
        {
            self.learned_counts = None;
        }
        if let Some(weights) = &self.unigrams
            && self.config.num_unigrams > weights.len() as i64
            && self.config.num_unigrams < i64::MAX / 8
        {
            self.config.num_unigrams = weights.len() as i64;
        }
    }

    /// What is wrong with it, and the handle that comes of it if nothing is.
    pub fn rules(&self) -> (Faults, Model) {
        let (config, mut faults) = (&self.config, Faults::default());
        let invalid = SSL_STATUS_INVALID_VALUE;
        let num_true = if config.num_true == 0 { 1 } else { config.num_true };
        let dims = Dims { classes: config.num_classes, sampled: config.num_sampled, num_true };
        faults.must_if(config.reserved != 0, invalid, "reserved");
        faults.must_if(config.num_threads > 1024, invalid, "num_threads");
        faults.must_if(dims.classes < 1, invalid, "num_classes");
        faults.must_if(dims.sampled < 1, invalid, "num_sampled");
        faults.must_if(!(1..=dims.classes).contains(&num_true), invalid, "num_true");
        for (value, most, name) in [
            (config.hits, SSL_HITS_EXCLUDE, "hits"),
            (config.reduction, SSL_REDUCTION_SUM, "reduction"),
            (config.precision, SSL_PRECISION_BF16X3, "precision"),
            (config.sampling, SSL_SAMPLING_REPLACEMENT, "sampling"),
            (config.counts, SSL_COUNTS_EXACT, "counts"),
            (config.sampler, SSL_SAMPLER_CALLER, "sampler"),
            (config.generator, SSL_GENERATOR_PHILOX, "generator"),
            (config.backend, SSL_BACKEND_CUDA, "backend"),
        ] {
            faults.must_if(value > most, invalid, name);
        }
        faults.must_if(!(0.0..=1.0).contains(&config.probability_floor), invalid, "probability_floor");
        faults.must_if(config.device != 0, invalid, "device");

        let mut model = Model {
            backend: config.backend,
            dims,
            sampler: config.sampler,
            unique: config.sampling == SSL_SAMPLING_UNIQUE || config.sampler == SSL_SAMPLER_ALL,
            hits: config.hits,
            reduction: config.reduction,
            precision: config.precision,
            generator: config.generator,
            probability_floor: config.probability_floor,
            positive: Vec::new(),
            is_unsure: false,
        };
        match config.sampler {
            SSL_SAMPLER_FIXED_UNIGRAM => self.unigram_rules(&mut faults, &mut model),
            SSL_SAMPLER_LEARNED_UNIGRAM => self.learned_rules(&mut faults, &mut model),
            SSL_SAMPLER_ALL => {
                faults.must_if(dims.sampled != dims.classes, invalid, "SSL_SAMPLER_ALL");
            }
            _ => {}
        }
        if config.generator == SSL_GENERATOR_PHILOX {
            self.philox_rules(&mut faults, &model);
        }
        let draws = config.sampler != SSL_SAMPLER_CALLER;
        if draws && model.unique && dims.sampled > model.num_positive() {
            match model.is_unsure {
                true => faults.may(invalid, "num_sampled"),
                false => faults.must(invalid, "num_sampled"),
            }
        } else if draws && model.is_unsure {
            faults.may(invalid, "num_sampled");
        }
        // Tables and buffers of these sizes, and threads.
        if dims.classes > 1 << 24 || dims.sampled > 1 << 24 || config.num_threads > 4 {
            faults.may(SSL_STATUS_HOST_MEMORY, "out of host memory");
            faults.may(SSL_STATUS_DEVICE_MEMORY, "out of device memory");
        }
        (faults, model)
    }

    fn philox_rules(&self, faults: &mut Faults, model: &Model) {
        let (invalid, Dims { classes, sampled, .. }) = (SSL_STATUS_INVALID_VALUE, model.dims);
        faults.must_if(model.hits == SSL_HITS_EXCLUDE, invalid, "hits");
        let few = match model.sampler {
            SSL_SAMPLER_UNIFORM => sampled <= classes - classes / 4,
            SSL_SAMPLER_LOG_UNIFORM => {
                // How far rejection reaches is the library's choice.
                faults.may(invalid, "num_sampled");
                true
            }
            _ => return faults.must(invalid, "SSL_GENERATOR_PHILOX"),
        };
        faults.must_if(model.unique && sampled != classes && !few, invalid, "num_sampled");
        if model.backend == SSL_BACKEND_CUDA && (classes > 1 << 32 || sampled > 1 << 20) {
            faults.may(SSL_STATUS_SHAPE, "num_sampled");
        }
    }

    fn unigram_rules(&self, faults: &mut Faults, model: &mut Model) {
        let (config, invalid) = (&self.config, SSL_STATUS_INVALID_VALUE);
        faults.must_if(config.has_distortion > 1, invalid, "has_distortion");
        let distortion = if config.has_distortion == 1 { config.distortion } else { 1.0 };
        faults.must_if(!distortion.is_finite(), invalid, "distortion");
        let shards = i64::from(config.num_shards.max(1));
        faults.must_if(i64::from(config.shard) >= shards, invalid, "shard");
        faults.must_if(config.num_reserved_ids < 0, invalid, "num_reserved_ids");
        if self.unigrams.is_some() == self.vocab_file.is_some() {
            return faults.must(invalid, "unigrams");
        }
        let Some(weights) = &self.unigrams else {
            // None of the files is one.
            faults.must(SSL_STATUS_FILE, "");
            return faults.may(invalid, "vocab_file");
        };
        if config.num_unigrams < 0 || config.num_unigrams > weights.len() as i64 {
            return faults.must(SSL_STATUS_SHAPE, "unigrams");
        }
        let weights = &weights[..config.num_unigrams as usize];
        let is_bad = |weight: &f64| !weight.is_finite() || *weight < 0.0;
        faults.must_if(weights.iter().any(is_bad), invalid, "unigrams");
        if faults.are_certain() {
            return faults.may(invalid, "");
        }
        // Every id of the whole vocabulary, then those that this shard keeps.
        let total = i128::from(config.num_reserved_ids) + weights.len() as i128;
        let kept = (total - i128::from(config.shard) + i128::from(shards) - 1).max(0) / i128::from(shards);
        if kept != i128::from(model.dims.classes) {
            faults.must(invalid, "num_classes");
            return faults.may(invalid, "unigrams");
        }
        let powers: Vec<f64> = (0..model.dims.classes)
            .map(|class| class * shards + i64::from(config.shard) - config.num_reserved_ids)
            .map(|place| if place < 0 { 0.0 } else { weights[place as usize].powf(distortion) })
            .collect();
        let largest = powers.iter().copied().fold(0.0, f64::max);
        faults.must_if(powers.iter().any(|power| !power.is_finite()), invalid, "unigrams");
        faults.must_if(largest == 0.0, invalid, "unigrams");
        model.is_unsure = powers.iter().any(|power| *power > 0.0 && power / largest < 1e-290);
        model.positive = powers.iter().map(|power| *power > 0.0).collect();
    }

    fn learned_rules(&self, faults: &mut Faults, model: &mut Model) {
        let (invalid, classes) = (SSL_STATUS_INVALID_VALUE, model.dims.classes);
        let Some(counts) = &self.learned_counts else { return };
        if classes < 1 || classes > counts.len() as i64 {
            return faults.must(if classes < 1 { invalid } else { SSL_STATUS_SHAPE }, "");
        }
        let counts = &counts[..classes as usize];
        let total = counts.iter().try_fold(0_i64, |sum, count| sum.checked_add(*count));
        faults.must_if(counts.iter().any(|count| *count < 1) || total.is_none(), invalid, "learned_counts");
        // The sum may overflow as labels are learned.
        model.is_unsure = total.is_none_or(|total| total > i64::MAX / 2);
    }
}
