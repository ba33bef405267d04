//! Host memory that runs out is a status, wherever it does, and never the end of the
//! process: with every amount of memory that stops a call at another allocation, the call
//! says that there was too little, leaks nothing, and the next one, with memory again, is
//! as if nothing had happened.

mod common;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use std::ptr::null_mut;
use std::sync::Arc;

use common::{Arguments, Call, Case, Handle, KINDS, Random, default_config, last_error};
use counting_allocator::{CountingAllocator, held, with_every_amount, with_room_for};
use sampled_softmax::abi::*;
use sampled_softmax::capi::{ssl_create, ssl_destroy};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Enough for tables that dwarf what is allocated beside them.
const CLASSES: usize = 200_000;

fn assert_says_memory(what: &str, status: ssl_status) {
    assert_eq!(status, SSL_STATUS_HOST_MEMORY, "{what}: {}", last_error());
    assert!(last_error().contains("out of host memory"), "{what}: {}", last_error());
}

/// `ssl_create` with every amount of memory.
fn starve_creation(what: &str, config: &ssl_config) {
    let failures = with_every_amount(what, |room| {
        let before = held();
        let mut handle = null_mut();
        // SAFETY: both lead to live objects.
        let (status, refused) = with_room_for(room, || unsafe { ssl_create(config, &mut handle) });
        if refused.is_some() {
            assert_says_memory(what, status);
            assert!(handle.is_null());
        } else {
            assert_eq!(status, SSL_STATUS_OK, "{what}: {}", last_error());
        }
        ssl_destroy(handle);
        assert_eq!(held(), before, "{what}: a leak with room for {room} bytes");
        refused
    });
    assert!(failures > 0, "{what}: no allocation was refused");
    println!("{what}: {failures} failures");
}

/// The first call of a kind on a handle, with every amount of memory: gives how often it
/// failed.
fn starve_first_call(what: &str, config: &ssl_config, case: &Case, kind: usize) -> usize {
    let (name, run) = KINDS[kind];
    let what = format!("{what}: {name}");
    let create = || Arc::new(Handle::create(config).unwrap());
    let call = |handle: Arc<Handle>| match config.sampler {
        SSL_SAMPLER_CALLER => Call::on(case, handle),
        _ => Call::drawing(case, handle, 3),
    };
    let prepared = |call: &mut Call| -> Arguments {
        if name == "backward" {
            call.forward().unwrap();
        }
        call.arguments_for_all()
    };
    let mut expected = call(create());
    let arguments = prepared(&mut expected);
    run(&arguments, &expected.handle).unwrap();
    let failures = with_every_amount(&what, |room| {
        let mut starved = call(create());
        let arguments = prepared(&mut starved);
        let (status, refused) = with_room_for(room, || arguments.status(kind, &starved.handle));
        if refused.is_some() {
            assert_says_memory(&what, status);
            run(&arguments, &starved.handle).unwrap();
        }
        assert_eq!(starved.outputs, expected.outputs, "{what}");
        refused
    });
    println!("{what}: {failures} failures");
    failures
}

fn samplers(weights: &[f64], counts: &[i64]) -> Vec<(String, ssl_config)> {
    let mut configs = Vec::new();
    for sampler in SSL_SAMPLER_UNIFORM..=SSL_SAMPLER_CALLER {
        for sampling in [SSL_SAMPLING_UNIQUE, SSL_SAMPLING_REPLACEMENT] {
            for num_threads in [1, 4] {
                let num_sampled = if sampler == SSL_SAMPLER_ALL { CLASSES } else { 1000 };
                let mut config = ssl_config {
                    num_threads,
                    num_classes: CLASSES as i64,
                    num_sampled: num_sampled as i64,
                    num_true: 2,
                    sampler,
                    sampling,
                    ..default_config()
                };
                if sampler == SSL_SAMPLER_FIXED_UNIGRAM {
                    (config.unigrams, config.num_unigrams) = (weights.as_ptr(), CLASSES as i64);
                }
                if sampler == SSL_SAMPLER_LEARNED_UNIGRAM && num_threads == 4 {
                    config.learned_counts = counts.as_ptr();
                }
                configs
                    .push((format!("sampler {sampler}, sampling {sampling}, {num_threads} threads"), config));
            }
        }
    }
    configs
}

/// Samplers, ways of sampling and treatments of hits that take different memory in a call.
fn sources() -> Vec<(u32, u32, u32)> {
    let mut sources = vec![(SSL_SAMPLER_CALLER, 0, SSL_HITS_MASK)];
    for sampler in [SSL_SAMPLER_UNIFORM, SSL_SAMPLER_LEARNED_UNIGRAM] {
        for sampling in [SSL_SAMPLING_UNIQUE, SSL_SAMPLING_REPLACEMENT] {
            sources.extend([SSL_HITS_MASK, SSL_HITS_EXCLUDE].map(|hits| (sampler, sampling, hits)));
        }
    }
    sources
}

#[test]
fn memory_that_runs_out_is_a_status_wherever_it_does() {
    let weights: Vec<f64> = (1..=CLASSES).map(|rank| 1.0 / rank as f64).collect();
    let counts = vec![2; CLASSES];
    // What stays for ever: the first handles' place in the registry, a thread's longest message.
    drop(Handle::create(&ssl_config { num_classes: 1, num_sampled: 1, ..default_config() }).unwrap());
    let long =
        ssl_config { num_classes: 1, num_sampled: 1, sampler: SSL_SAMPLER_FIXED_UNIGRAM, ..default_config() };
    assert!(Handle::create(&long).unwrap_err().message.len() > 70);
    for (what, config) in samplers(&weights, &counts) {
        starve_creation(&what, &config);
    }

    let file = std::env::temp_dir().join(format!("sampled-softmax-{}.vocab", std::process::id()));
    std::fs::write(&file, "word,1\n".repeat(CLASSES)).unwrap();
    let path = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
    let config = ssl_config {
        num_classes: CLASSES as i64,
        num_sampled: 100,
        sampler: SSL_SAMPLER_FIXED_UNIGRAM,
        vocab_file: path.as_ptr(),
        ..default_config()
    };
    starve_creation("vocabulary file", &config);
    std::fs::remove_file(&file).unwrap();

    let mut failures = 0;
    // With two candidates the sampler keeps track of classes in a table, with twenty in
    // one bit a class.
    for num_sampled in [2, 20] {
        let case = Case::random([40, 8, 70_000, num_sampled, 2], &mut Random::new(1));
        for (sampler, sampling, hits) in sources() {
            let config = ssl_config {
                num_threads: 2,
                num_classes: 70_000,
                num_sampled: num_sampled as i64,
                num_true: 2,
                sampler,
                sampling,
                hits,
                ..default_config()
            };
            for kind in 0..if sampler == SSL_SAMPLER_CALLER { 3 } else { 4 } {
                let what = format!("{num_sampled} of sampler {sampler}, sampling {sampling}, hits {hits}");
                failures += starve_first_call(&what, &config, &case, kind);
            }
        }
    }
    // Draws that exclude labels make their tables at the first call.
    assert!(failures > 0, "no first call allocates: this test says nothing of them");
}
