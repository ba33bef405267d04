//! Any call that a seed decides: shape, types, options, candidates, values and how it is made.

use std::ptr::null;
use std::sync::Arc;

use sampled_softmax::abi::*;

use crate::common::{BF16, Call, Case, F16, F32, F64, Gaps, Handle, Random, Types, Wanted};

/// How loss and gradients are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    Forward,
    ForwardThenBackward,
    Both,
}

/// A sampler's part of the configuration, and what its pointers lead to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampler {
    pub(crate) kind: u32,
    pub(crate) sampling: u32,
    pub(crate) counts: u32,
    pub(crate) seed: u64,
    pub(crate) rank: u64,
    pub(crate) unigrams: Vec<f64>,
    pub(crate) distortion: Option<f64>,
    pub(crate) reserved: usize,
    pub(crate) shards: [u32; 2],
    pub(crate) learned: Option<Vec<i64>>,
    /// Classes not to draw.
    pub(crate) avoid: Vec<i64>,
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) case: Case,
    /// None where the candidates are given.
    pub(crate) sampler: Option<Sampler>,
    pub(crate) route: Route,
    pub(crate) step: u64,
}

/// One of several.
fn choose<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

fn one_in(random: &mut Random, count: usize) -> bool {
    random.below(count) == 0
}

impl Trial {
    /// The call of a seed.
    pub(crate) fn of(seed: u64, backend: u32) -> Trial {
        let random = &mut Random::new(seed);
        let mut case = shape(random);
        case.backend = backend;
        case.types = types(random, backend);
        options(&mut case, random);
        values(&mut case, random);
        let sampler = one_in(random, 2).then(|| sampler(&mut case, random));
        if sampler.is_none() && one_in(random, 2) {
            // Counts over many orders of magnitude.
            let mut spread = |q: &mut f64| *q = 10.0_f64.powf(random.uniform(-7.0, 1.0));
            case.sampled_expected_count.iter_mut().for_each(&mut spread);
            case.true_expected_count.iter_mut().for_each(&mut spread);
        }
        left_out(&mut case, random);
        let route = choose(random, &[Route::Forward, Route::ForwardThenBackward, Route::Both, Route::Both]);
        Trial { case, sampler, route, step: random.below(1 << 40) as u64 }
    }

    /// A call made ready, on a handle of its own.
    pub(crate) fn call(&self) -> Call {
        let mut config = self.case.config();
        let Some(sampler) = &self.sampler else { return Call::new(&self.case) };
        sampler.configure(&mut config);
        let handle = Handle::create(&config).unwrap_or_else(|failure| panic!("{failure:?}"));
        let mut call = Call::drawing(&self.case, Arc::new(handle), self.step);
        call.avoid = sampler.avoid.clone();
        call
    }
}

impl Sampler {
    fn configure(&self, config: &mut ssl_config) {
        (config.sampler, config.sampling, config.counts) = (self.kind, self.sampling, self.counts);
        (config.seed, config.rank) = (self.seed, self.rank);
        config.learned_counts = self.learned.as_ref().map_or(null(), |counts| counts.as_ptr());
        if self.kind != SSL_SAMPLER_FIXED_UNIGRAM {
            return;
        }
        (config.unigrams, config.num_unigrams) = (self.unigrams.as_ptr(), self.unigrams.len() as i64);
        (config.has_distortion, config.distortion) =
            (u32::from(self.distortion.is_some()), self.distortion.unwrap_or(0.0));
        config.num_reserved_ids = self.reserved as i64;
        [config.shard, config.num_shards] = self.shards;
    }
}

fn shape(random: &mut Random) -> Case {
    let large = one_in(random, 100);
    let pick = |random: &mut Random, small: &[usize], more: &[usize]| {
        choose(random, if large { more } else { small })
    };
    let rows = pick(random, &[0, 1, 1, 2, 3, 5, 8, 9, 17, 33], &[70, 130, 300]);
    let dim = pick(random, &[1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 70], &[100, 257, 300]);
    let classes = pick(random, &[1, 2, 3, 7, 20, 64, 100, 300], &[90, 1000, 5000]);
    let sampled = pick(random, &[1, 1, 2, 3, 7, 15, 16, 17, 33, 64, 65, 100], &[150, 300, 600]);
    let num_true = choose(random, &[1, 1, 1, 2, 3, 5]).min(classes);
    Case::random([rows, dim, classes, sampled, num_true], random)
}

fn types(random: &mut Random, backend: u32) -> Types {
    let counts = choose(random, &[F32, F64]);
    let labels = choose(random, &[SSL_LABELS_INT64, SSL_LABELS_INT32]);
    if backend == SSL_BACKEND_CPU && one_in(random, 5) {
        return Types { counts, labels, ..Types::all(F64) };
    }
    let any = [F32, F16, BF16];
    let (inputs, mixed) = (choose(random, &any), one_in(random, 2));
    let mut like_inputs = || if mixed { choose(random, &any) } else { inputs };
    Types {
        inputs,
        weights: like_inputs(),
        biases: like_inputs(),
        labels,
        counts,
        d_inputs: like_inputs(),
        d_weights: like_inputs(),
        d_biases: like_inputs(),
    }
}

fn options(case: &mut Case, random: &mut Random) {
    case.hits = choose(random, &[SSL_HITS_MASK, SSL_HITS_MASK, SSL_HITS_KEEP, SSL_HITS_EXCLUDE]);
    case.reduction = choose(random, &[SSL_REDUCTION_NONE, SSL_REDUCTION_MEAN, SSL_REDUCTION_SUM]);
    case.layout = choose(random, &[SSL_GRADIENTS_SPARSE, SSL_GRADIENTS_DENSE]);
    case.precision = choose(
        random,
        &[SSL_PRECISION_DEFAULT, SSL_PRECISION_DEFAULT, SSL_PRECISION_TF32, SSL_PRECISION_IEEE],
    );
    case.probability_floor = choose(random, &[0.0, 0.0, 0.0, 1e-20, 1e-3, 0.5, 1.0]);
    case.num_threads = choose(random, &[1, 1, 2, 3, 7]);
    if one_in(random, 2) {
        let mut gap = || random.below(9);
        case.gaps = Gaps { inputs: gap(), weights: gap(), d_inputs: gap(), d_weights: gap() };
    }
    if one_in(random, 4) {
        let mut yes = || one_in(random, 2);
        case.wanted = Wanted { d_inputs: yes(), d_weights: yes(), d_biases: yes() };
    }
    if one_in(random, 2) {
        let signed = case.reduction != SSL_REDUCTION_MEAN && one_in(random, 3);
        let size = choose(random, &[1.0, 1.0, 1e-12, 1e6]);
        let mut weights = random.values(case.rows, if signed { -size } else { 0.0 }, size);
        weights.iter_mut().filter(|_| one_in(random, 4)).for_each(|weight| *weight = 0.0);
        case.sample_weights = Some(weights);
    }
    if one_in(random, 2) {
        let size = choose(random, &[2.0, 2.0, 1e-9, 1e-30, 65536.0]);
        let mut upstream = random.values(case.loss_len(), -size, size);
        upstream.iter_mut().filter(|_| one_in(random, 6)).for_each(|gradient| *gradient = 0.0);
        case.grad_output = Some(upstream);
    }
}

/// Inputs, weights and biases: of moderate size, and then again not.
fn values(case: &mut Case, random: &mut Random) {
    let half = case.types.inputs == F16;
    let logits = 1.0 / (case.dim as f64).sqrt();
    match random.below(8) {
        // Logits of up to some 10^5, of next to nothing, and inputs below the normal range.
        0 => scale(&mut case.inputs, logits * choose(random, &[30.0, 1e3, if half { 1e3 } else { 1e5 }])),
        1 => scale(&mut case.inputs, if half { 1e-3 } else { 1e-12 }),
        2 if case.types.inputs == F64 => scale(&mut case.inputs, 1e-310),
        2 => scale(&mut case.inputs, if half { 1e-6 } else { 1e-39 }),
        3 if case.types.weights != F64 => scale(&mut case.weights, if half { 1e-6 } else { 1e-39 }),
        // Numbers of which sums are exact.
        4 => {
            case.inputs.iter_mut().for_each(|x| *x = (*x * 4.0).round());
            case.weights.iter_mut().for_each(|w| *w = (*w * 4.0).round());
        }
        _ => scale(&mut case.inputs, 4.0 * logits),
    }
    match random.below(5) {
        0 => case.biases = None,
        1 => scale(case.biases.as_mut().expect("random cases have some"), 60.0),
        2 => {
            let biases = case.biases.iter_mut().flatten();
            biases.filter(|_| one_in(random, 4)).for_each(|bias| *bias = f64::NEG_INFINITY);
        }
        _ => {}
    }
    if case.rows > 0 && one_in(random, 8) {
        let cell = random.below(case.inputs.len());
        // A device splits a number into parts, whose sum is NaN where it is infinite; and products
        // of bfloat16 in pairs take a subnormal number for 0, which infinity makes NaN.
        let in_pairs = (case.types.inputs, case.types.weights) == (BF16, BF16);
        let kinds = if case.backend == SSL_BACKEND_CPU && !in_pairs { 4 } else { 2 };
        case.inputs[cell] = [f64::NAN, f64::NAN, f64::INFINITY, f64::NEG_INFINITY][random.below(kinds)];
    }
}

fn scale(values: &mut [f64], by: f64) {
    values.iter_mut().for_each(|value| *value *= by);
}

/// Rows that are ignored.
fn left_out(case: &mut Case, random: &mut Random) {
    if !one_in(random, 3) {
        return;
    }
    let ignored = choose(random, &[-100, -1, i64::from(i32::MAX)]);
    case.ignore_index = Some(ignored);
    let rows = case.labels.chunks_mut(case.num_true);
    rows.filter(|_| one_in(random, 3)).for_each(|row| row.fill(ignored));
}

/// A sampler that can serve the case, once S and the labels are made to suit it.
fn sampler(case: &mut Case, random: &mut Random) -> Sampler {
    let kinds = [
        SSL_SAMPLER_UNIFORM,
        SSL_SAMPLER_LOG_UNIFORM,
        SSL_SAMPLER_FIXED_UNIGRAM,
        SSL_SAMPLER_FIXED_UNIGRAM,
        SSL_SAMPLER_LEARNED_UNIGRAM,
        SSL_SAMPLER_ALL,
    ];
    let mut sampler = Sampler {
        kind: choose(random, &kinds),
        sampling: choose(random, &[SSL_SAMPLING_UNIQUE, SSL_SAMPLING_UNIQUE, SSL_SAMPLING_REPLACEMENT]),
        counts: choose(random, &[SSL_COUNTS_TF, SSL_COUNTS_EXACT]),
        seed: random.below(usize::MAX) as u64,
        rank: random.below(4) as u64,
        shards: [0, 1],
        ..Sampler::default()
    };
    let mut drawable: Vec<i64> = (0..case.classes as i64).collect();
    match sampler.kind {
        SSL_SAMPLER_FIXED_UNIGRAM => drawable = fixed_unigram(&mut sampler, case, random),
        SSL_SAMPLER_LEARNED_UNIGRAM if one_in(random, 2) => {
            let count = |_| 1 + random.below(50) as i64;
            sampler.learned = Some((0..case.classes).map(count).collect());
        }
        SSL_SAMPLER_ALL => sampler.sampling = SSL_SAMPLING_UNIQUE,
        _ => {}
    }
    for label in &mut case.labels {
        *label = drawable[random.below(drawable.len())];
    }
    if sampler.kind == SSL_SAMPLER_ALL {
        case.hits = case.hits.min(SSL_HITS_KEEP);
        resize(case, case.classes);
        return sampler;
    }
    let mut left = drawable.clone();
    if case.hits == SSL_HITS_EXCLUDE {
        left.retain(|class| !case.labels.contains(class));
        if left.is_empty() {
            case.hits = SSL_HITS_MASK;
            left.clone_from(&drawable);
        }
    }
    if left.len() > 1 && one_in(random, 4) {
        let mut avoid: Vec<i64> = left.iter().copied().filter(|_| one_in(random, 5)).collect();
        avoid.truncate(left.len() - 1);
        left.retain(|class| !avoid.contains(class));
        avoid.extend(avoid.first().copied());
        sampler.avoid = avoid;
    }
    if sampler.sampling == SSL_SAMPLING_UNIQUE {
        resize(case, case.sampled().min(left.len()));
    }
    sampler
}

/// S candidates of no interest: they will be drawn.
fn resize(case: &mut Case, sampled: usize) {
    case.ids = vec![0; sampled];
    case.sampled_expected_count = vec![1.0; sampled];
}

/// Weights, some of them 0, of a vocabulary whose shard has C classes; what can be drawn.
fn fixed_unigram(sampler: &mut Sampler, case: &Case, random: &mut Random) -> Vec<i64> {
    let shards = choose(random, &[1, 1, 3]);
    let shard = random.below(shards);
    sampler.shards = [shard as u32, shards as u32];
    // Ids kept are shard, shard + shards, ...: C of them, the last of which has a weight.
    let all = shard + (case.classes - 1) * shards + 1;
    sampler.reserved = if case.classes > 1 { choose(random, &[0, 0, 1, 2]).min(all - 1) } else { 0 };
    sampler.distortion = choose(random, &[None, Some(0.75), Some(0.5), Some(1.0)]);
    sampler.unigrams = (sampler.reserved..all)
        .map(|_| if one_in(random, 6) { 0.0 } else { 10.0_f64.powf(random.uniform(-2.0, 2.0)) })
        .collect();
    *sampler.unigrams.last_mut().expect("the last class has a weight") = 1.0;
    let weight = |class: usize| {
        let id = shard + class * shards;
        if id < sampler.reserved { 0.0 } else { sampler.unigrams[id - sampler.reserved] }
    };
    (0..case.classes).filter(|&class| weight(class) > 0.0).map(|class| class as i64).collect()
}
