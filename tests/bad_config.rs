//! What `ssl_create` refuses, and that it then leaves the caller's pointer alone.

mod common;

use std::ptr::{null, null_mut, without_provenance_mut};

use common::{Handle, check, default_config};
use sampled_softmax::abi::*;
use sampled_softmax::capi::{ssl_create, ssl_destroy, ssl_handle};

fn valid() -> ssl_config {
    ssl_config { num_classes: 100, num_sampled: 10, ..default_config() }
}

/// Asserts the status, the words of the message, and that no handle came out.
fn refused(config: &ssl_config, status: i32, words: &[&str]) {
    let mark: *mut ssl_handle = without_provenance_mut(0x5A5A);
    let mut out = mark;
    // SAFETY: both pointers lead to live objects.
    let failure = check(unsafe { ssl_create(config, &mut out) }).expect_err(words[0]);
    assert_eq!(failure.status, status, "{}", failure.message);
    for word in words {
        assert!(failure.message.contains(word), "lacks {word}: {}", failure.message);
    }
    assert_eq!(out, mark, "out_handle was written");
}

#[test]
fn null_arguments() {
    let mut out = null_mut();
    // SAFETY: NULL is refused before it is followed.
    let failure = check(unsafe { ssl_create(null(), &mut out) }).unwrap_err();
    assert_eq!((failure.status, &failure.message[..]), (SSL_STATUS_NULL_POINTER, "config is NULL"));
    assert!(out.is_null());
    // SAFETY: as above.
    let failure = check(unsafe { ssl_create(&valid(), null_mut()) }).unwrap_err();
    assert_eq!(failure.status, SSL_STATUS_NULL_POINTER);
    assert_eq!(failure.message, "out_handle is NULL");
    assert_eq!(ssl_destroy(null_mut()), SSL_STATUS_OK);
}

#[test]
fn impossible_sizes() {
    let value = SSL_STATUS_INVALID_VALUE;
    refused(&ssl_config { num_classes: 0, ..valid() }, value, &["num_classes", "0"]);
    refused(&ssl_config { num_classes: -5, ..valid() }, value, &["num_classes", "-5"]);
    refused(&ssl_config { num_sampled: 0, ..valid() }, value, &["num_sampled", "0"]);
    refused(&ssl_config { num_sampled: -3, ..valid() }, value, &["num_sampled", "-3"]);
    refused(&ssl_config { num_true: -1, ..valid() }, value, &["num_true", "-1"]);
    refused(&ssl_config { num_true: 101, ..valid() }, value, &["num_true", "101", "100"]);
    refused(&ssl_config { num_threads: 1025, ..valid() }, value, &["num_threads", "1025", "1024"]);
    refused(&ssl_config { device: 1, ..valid() }, value, &["device", "1"]);
    refused(&ssl_config { device: -1, ..valid() }, value, &["device", "-1"]);
}

#[test]
fn more_distinct_candidates_than_classes() {
    for sampler in [SSL_SAMPLER_UNIFORM, SSL_SAMPLER_LOG_UNIFORM, SSL_SAMPLER_LEARNED_UNIGRAM] {
        let config = ssl_config { num_sampled: 101, sampler, ..valid() };
        refused(&config, SSL_STATUS_INVALID_VALUE, &["num_sampled", "101", "100"]);
        let repeated = ssl_config { sampling: SSL_SAMPLING_REPLACEMENT, ..config };
        Handle::create(&repeated).unwrap();
    }
    let all = ssl_config { sampler: SSL_SAMPLER_ALL, ..valid() };
    refused(&all, SSL_STATUS_INVALID_VALUE, &["num_sampled", "10", "100"]);
}

#[test]
fn unknown_enumerations() {
    let unknown = |name: &str, change: fn(&mut ssl_config)| {
        let mut config = valid();
        change(&mut config);
        refused(&config, SSL_STATUS_INVALID_VALUE, &[name, "99"]);
    };
    unknown("backend", |config| config.backend = 99);
    unknown("sampler", |config| config.sampler = 99);
    unknown("sampling", |config| config.sampling = 99);
    unknown("counts", |config| config.counts = 99);
    unknown("hits", |config| config.hits = 99);
    unknown("reduction", |config| config.reduction = 99);
    unknown("reserved", |config| config.reserved = 99);
    unknown("precision", |config| config.precision = 99);
}

#[test]
fn cuda_without_a_driver() {
    let config = ssl_config { backend: SSL_BACKEND_CUDA, ..valid() };
    refused(&config, SSL_STATUS_NO_BACKEND, &["backend", "1", "CUDA"]);
}

#[test]
fn floors_that_are_no_probability() {
    for floor in [-1e-300, 1.5, f64::NAN, f64::INFINITY] {
        let config = ssl_config { probability_floor: floor, ..valid() };
        let number = floor.to_string();
        refused(&config, SSL_STATUS_INVALID_VALUE, &["probability_floor", &number]);
    }
    Handle::create(&ssl_config { probability_floor: 1.0, ..valid() }).unwrap();
}

fn unigram(weights: &[f64]) -> ssl_config {
    ssl_config {
        num_classes: 4,
        num_sampled: 2,
        sampler: SSL_SAMPLER_FIXED_UNIGRAM,
        unigrams: weights.as_ptr(),
        num_unigrams: weights.len() as i64,
        ..default_config()
    }
}

#[test]
fn unigrams_that_are_no_distribution() {
    let value = SSL_STATUS_INVALID_VALUE;
    for weight in [-1.0, f64::NAN, f64::INFINITY] {
        let weights = [1.0, 1.0, weight, 1.0];
        refused(&unigram(&weights), value, &["unigrams[2]", &weight.to_string()]);
    }
    let none = ssl_config { unigrams: null(), num_unigrams: 0, ..unigram(&[]) };
    refused(&none, value, &["unigrams", "vocab_file"]);
    let weights = [1.0; 4];
    let both = ssl_config { vocab_file: c"/nowhere".as_ptr(), ..unigram(&weights) };
    refused(&both, value, &["unigrams", "vocab_file"]);
    let two_of_four = [1.0, 0.0, 0.0, 0.0];
    refused(&unigram(&two_of_four), value, &["num_sampled", "2", "1"]);
}

#[test]
fn unigrams_that_do_not_fit_the_classes() {
    let weights = [1.0; 3];
    refused(&unigram(&weights), SSL_STATUS_INVALID_VALUE, &["num_classes", "3", "4"]);
    let weights = [1.0; 4];
    let reserved = ssl_config { num_reserved_ids: -1, ..unigram(&weights) };
    refused(&reserved, SSL_STATUS_INVALID_VALUE, &["num_reserved_ids", "-1"]);
    let shard = ssl_config { num_shards: 2, shard: 2, ..unigram(&weights) };
    refused(&shard, SSL_STATUS_INVALID_VALUE, &["shard", "2"]);
    let flag = ssl_config { has_distortion: 3, ..unigram(&weights) };
    refused(&flag, SSL_STATUS_INVALID_VALUE, &["has_distortion", "3"]);
    let nan = ssl_config { has_distortion: 1, distortion: f64::NAN, ..unigram(&weights) };
    refused(&nan, SSL_STATUS_INVALID_VALUE, &["distortion", "NaN"]);
    let huge = ssl_config { num_unigrams: i64::MAX, ..unigram(&weights) };
    refused(&huge, SSL_STATUS_SHAPE, &["unigrams", &i64::MAX.to_string()]);
    let odd = ssl_config { unigrams: weights.as_ptr().wrapping_byte_add(4), ..unigram(&weights) };
    refused(&odd, SSL_STATUS_ALIGNMENT, &["unigrams", "8"]);
}

#[test]
fn vocabulary_file_that_is_not_there() {
    let config = ssl_config {
        unigrams: null(),
        num_unigrams: 0,
        vocab_file: c"no/such/vocabulary.txt".as_ptr(),
        ..unigram(&[])
    };
    refused(&config, SSL_STATUS_FILE, &["no/such/vocabulary.txt"]);
}

#[test]
fn learned_counts_below_one() {
    for count in [0, -1, i64::MIN] {
        let counts = [1, 2, count, 1];
        let config = ssl_config {
            num_classes: 4,
            num_sampled: 2,
            sampler: SSL_SAMPLER_LEARNED_UNIGRAM,
            learned_counts: counts.as_ptr(),
            ..default_config()
        };
        let number = count.to_string();
        refused(&config, SSL_STATUS_INVALID_VALUE, &["learned_counts[2]", &number]);
    }
}

/// C near 2^63 is no table's size; what needs none may have it.
#[test]
fn tables_that_no_memory_holds() {
    let config = ssl_config { num_classes: i64::MAX, sampler: SSL_SAMPLER_LEARNED_UNIGRAM, ..valid() };
    let mut out = null_mut();
    // SAFETY: both pointers lead to live objects.
    let failure = check(unsafe { ssl_create(&config, &mut out) }).unwrap_err();
    assert!(
        [SSL_STATUS_SHAPE, SSL_STATUS_HOST_MEMORY].contains(&failure.status),
        "{}: {}",
        failure.status,
        failure.message
    );
    Handle::create(&ssl_config { num_classes: i64::MAX, num_true: 1, ..valid() }).unwrap();
}
