//! The bits of a recorded run. `recorded/` holds hashes of what a seed draws and of what
//! losses and gradients come to; here they are computed anew.
//!
//! What is promised, and why it can be: nothing but the operations that IEEE 754 fixes to
//! the last bit is used, in an order that depends neither on the machine nor on its
//! threads (src/math.rs stands in for the platform's libm).
//!
//! - Draws, that is ids, expected counts and tries: the same on every machine.
//! - Losses and gradients in float64: the same on every machine.
//! - In float32 and below: the same on every machine with the same instruction set, which
//!   `SAMPLED_SOFTMAX_ISA` names; `portable` runs everywhere. Sets differ from one another
//!   in how many partial sums they keep and in fused multiply-adds.
//!
//! The CUDA engine draws the same ids; its losses are not promised across GPU models.
//!
//! **A difference means that a run of a user that was stopped does not go on as it would
//! have: what draws must not change within a major version at all, and what is computed
//! only with a word in the release notes.** Then, and only then:
//!
//! ```text
//! SAMPLED_SOFTMAX_RECORD=1 cargo test --test recorded_run      writes tests/recorded/ anew
//! ```
//!
//! on a machine with AVX512-BF16, so that no set's lines are missing.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use common::own_process::in_own_process;
use common::{BF16, Buffer, Call, Case, F16, F32, F64, Handle, Outputs, Random, Types, default_config};
use sampled_softmax::abi::*;

/// FNV-1a of little-endian words, 64 bits.
struct Hash(u64);

impl Hash {
    fn of(words: impl IntoIterator<Item = u64>) -> u64 {
        words.into_iter().fold(Hash(0xcbf2_9ce4_8422_2325), Hash::add).0
    }

    fn add(self, word: u64) -> Hash {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Hash(word.to_le_bytes().iter().fold(self.0, step))
    }
}

fn bits(buffer: &Buffer) -> impl Iterator<Item = u64> {
    buffer.values().into_iter().map(f64::to_bits)
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name)
}

/// Compares lines of `name` and hashes with those that were recorded, or records them.
/// Lines of other parts, which `kept` picks, stay.
fn compare(name: &str, lines: BTreeMap<String, String>, kept: impl Fn(&str) -> bool) {
    let text = fs::read_to_string(file(name)).unwrap_or_default();
    let recorded: BTreeMap<String, String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(key, hash)| (key.to_owned(), hash.to_owned()))
        .collect();
    if env::var_os("SAMPLED_SOFTMAX_RECORD").is_some() {
        let mut all: BTreeMap<_, _> = recorded.into_iter().filter(|(key, _)| kept(key)).collect();
        all.extend(lines);
        let text: String = all.iter().map(|(key, hash)| format!("{key} {hash}\n")).collect();
        fs::create_dir_all(file("")).unwrap();
        fs::write(
            file(name),
            format!("# What these are and how they are written: tests/recorded_run.rs.\n{text}"),
        )
        .unwrap();
        return;
    }
    let mut differing = Vec::new();
    for (key, hash) in &lines {
        match recorded.get(key) {
            Some(recorded) if recorded == hash => {}
            recorded => differing.push(format!("{key}: {hash}, recorded {recorded:?}")),
        }
    }
    let expected = recorded.keys().filter(|key| !kept(key)).count();
    assert!(
        differing.is_empty() && expected == lines.len(),
        "runs that users have stopped would not go on as recorded (see tests/recorded_run.rs); of {} lines, and \
         {expected} in tests/recorded/{name}:\n{}",
        lines.len(),
        differing.join("\n")
    );
}

/// Weights that differ by several powers of ten, without a libm.
fn unigrams(classes: usize) -> Vec<f64> {
    (0..classes).map(|class| 1.0 / (1 + class * 7919 % classes) as f64).collect()
}

const SAMPLERS: [(&str, u32); 5] = [
    ("uniform", SSL_SAMPLER_UNIFORM),
    ("log_uniform", SSL_SAMPLER_LOG_UNIFORM),
    ("fixed_unigram", SSL_SAMPLER_FIXED_UNIGRAM),
    ("learned_unigram", SSL_SAMPLER_LEARNED_UNIGRAM),
    ("all", SSL_SAMPLER_ALL),
];

/// Hash of three consecutive draws for a batch of 4 x 2 labels.
fn draws(config: &ssl_config, step: u64) -> u64 {
    let classes = config.num_classes as usize;
    let weights = unigrams(classes);
    let mut config = ssl_config { num_true: 2, ..*config };
    if config.sampler == SSL_SAMPLER_FIXED_UNIGRAM {
        (config.unigrams, config.num_unigrams) = (weights.as_ptr(), classes as i64);
        (config.has_distortion, config.distortion) = (1, 0.75);
    }
    let handle = Arc::new(Handle::create(&config).unwrap());
    let mut case = Case::random([4, 1, 2, config.num_sampled as usize, 2], &mut Random::new(1));
    (case.classes, case.types.counts) = (classes, F64);
    let mut words = Vec::new();
    for step in step..step + 3 {
        case.labels = Random::new(step).classes(8, classes);
        let mut call = Call::drawing(&case, Arc::clone(&handle), step);
        call.sample().unwrap();
        let Outputs { ids, sampled_expected_count, true_expected_count, num_tries, .. } = &call.outputs;
        words.extend(ids.iter().map(|&id| id as u64));
        words.extend(bits(sampled_expected_count).chain(bits(true_expected_count)));
        words.push(*num_tries as u64);
    }
    Hash::of(words)
}

#[test]
fn draws_are_those_that_were_recorded() {
    let mut lines = BTreeMap::new();
    for (name, sampler) in SAMPLERS {
        for (sampling, with) in [("unique", SSL_SAMPLING_UNIQUE), ("replacement", SSL_SAMPLING_REPLACEMENT)] {
            for (num_classes, num_sampled) in [(7, 7), (100, 20), (1000, 900), (50_000, 64), (100_000, 2000)]
            {
                let all = sampler == SSL_SAMPLER_ALL;
                if all && (with != SSL_SAMPLING_UNIQUE || num_classes > 1000) {
                    continue;
                }
                for (seed, rank, step) in [(0, 0, 0), (7, 0, 5), (7, 3, 5), (u64::MAX, 1, 1 << 40)] {
                    let config = ssl_config {
                        num_classes,
                        num_sampled: if all { num_classes } else { num_sampled },
                        sampler,
                        sampling: with,
                        seed,
                        rank,
                        ..default_config()
                    };
                    let size = if all { "all".into() } else { format!("{num_sampled} of {num_classes}") };
                    let classes = if all { format!(" {num_classes}") } else { String::new() };
                    let key =
                        format!("{name} {sampling} {size}{classes} seed {seed} rank {rank} step {step}");
                    lines.insert(key, format!("{:016x}", draws(&config, step)));
                }
            }
        }
    }
    compare("draws.txt", lines, |_| false);
}

/// Losses to record: every option that is a path of its own, several chunks and panels.
fn cases() -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    let shapes = [[5, 3, 20, 7, 1], [33, 70, 90, 150, 3], [300, 40, 500, 270, 2]];
    for (number, shape) in shapes.into_iter().enumerate() {
        for (name, dtype) in [("float32", F32), ("float16", F16), ("bfloat16", BF16), ("float64", F64)] {
            for reduction in [SSL_REDUCTION_NONE, SSL_REDUCTION_MEAN, SSL_REDUCTION_SUM] {
                let mut case = Case::random(shape, &mut Random::new(number as u64));
                (case.types, case.reduction, case.num_threads) = (Types::all(dtype), reduction, 2);
                case.layout = (reduction + number as u32) % 2;
                case.probability_floor = [0.0, 1e-3, 0.0][(reduction as usize + number) % 3];
                case.hits = [SSL_HITS_MASK, SSL_HITS_KEEP][number % 2];
                let [rows, dim, classes, sampled, labels] = shape;
                let key = format!(
                    "{name} N {rows} d {dim} C {classes} S {sampled} T {labels} reduction {reduction}"
                );
                cases.push((key, case));
            }
        }
    }
    cases
}

/// Hash of all outputs of a call.
fn results(case: &Case) -> u64 {
    let mut call = Call::new(case);
    call.forward_backward().unwrap();
    let Outputs { loss, log_sum_exp, d_inputs, row_ids, .. } = &call.outputs;
    let (d_weights, d_biases) = common::weight_gradients(&call, case);
    let gradients = d_weights.into_iter().chain(d_biases).map(f64::to_bits);
    let ids = row_ids.iter().map(|&id| id as u64);
    Hash::of(bits(loss).chain(bits(log_sum_exp)).chain(bits(d_inputs)).chain(gradients).chain(ids))
}

/// One instruction set; the machine's own process for each, since it is chosen once.
#[test]
fn losses_and_gradients_are_those_that_were_recorded() {
    for set in common::instruction_sets() {
        let prepare = |command: &mut std::process::Command| {
            command.env("SAMPLED_SOFTMAX_ISA", set);
        };
        in_own_process(losses_and_gradients_are_those_that_were_recorded, set, prepare, || {
            let line = |(key, case): &(String, Case)| {
                // What is computed in float64 is the same for all sets.
                let of = if case.types.inputs == F64 { "every" } else { set };
                (format!("{of} {key}"), format!("{:016x}", results(case)))
            };
            let lines: BTreeMap<String, String> = cases().iter().map(line).collect();
            let own = format!("{set} ");
            compare("results.txt", lines, |key| !key.starts_with("every ") && !key.starts_with(&own));
        });
    }
}
