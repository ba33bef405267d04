//! From the second call of a kind on, nothing is allocated, on any thread, unless a larger
//! batch than any before has more classes to exclude.

mod common;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use std::sync::Arc;

use common::{BF16, Call, Case, F32, F64, Handle, KINDS, Random, Types, default_config};
use counting_allocator::{CountingAllocator, calls};
use sampled_softmax::abi::*;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const REPEATS: u64 = 200;

/// Classes to a sample from which the sampler keeps drawn classes in a table.
const TABLE_FROM: usize = 1 << 15;

/// Calls of each kind, one on `first`, then many on `later`: says which allocate.
fn loud_calls(handle: &Arc<Handle>, first: &Case, later: &Case, draw: bool) -> Vec<String> {
    let mut loud = Vec::new();
    let call = |case: &Case| match draw {
        true => Call::drawing(case, Arc::clone(handle), 0),
        false => Call::on(case, Arc::clone(handle)),
    };
    let (mut first, mut later) = (call(first), call(later));
    let warm_up = first.arguments_for_all();
    let mut arguments = later.arguments_for_all();
    for (name, kind) in KINDS.into_iter().take(if draw { 4 } else { 3 }) {
        kind(&warm_up, handle).unwrap();
        if name == "backward" {
            // It reads what a forward on its own batch has written.
            arguments.forward(handle).unwrap();
        }
        let before = calls();
        for step in 0..REPEATS {
            arguments.candidates.step = step;
            if name == "backward" {
                arguments.candidates.step = 0;
            }
            kind(&arguments, handle).unwrap();
        }
        match calls() - before {
            0 => {}
            count => loud.push(format!("{name}: {count} allocations in {REPEATS} calls")),
        }
    }
    loud
}

/// Both orders: the second call may also be the larger one.
fn loud_both_ways(config: &ssl_config, small: &Case, large: &Case, draw: bool) -> Vec<String> {
    let handle = || Arc::new(Handle::create(config).unwrap());
    let mut loud = loud_calls(&handle(), large, small, draw);
    let growing = loud_calls(&handle(), small, large, draw);
    loud.extend(growing.into_iter().map(|what| format!("{what}, the first being smaller")));
    loud
}

fn given_candidates() -> Vec<String> {
    let mut loud = Vec::new();
    for num_threads in [1, 2, 4] {
        for (dtype, layout) in [(F32, 0), (BF16, 1), (F64, 0)] {
            let case = |rows| {
                let mut case = Case::random([rows, 20, 90, 60, 2], &mut Random::new(1));
                (case.num_threads, case.layout, case.types) = (num_threads, layout, Types::all(dtype));
                case
            };
            let (small, large) = (case(3), case(700));
            let found = loud_both_ways(&large.config(), &small, &large, false);
            let place = |what| format!("given, {num_threads} threads, dtype {dtype}: {what}");
            loud.extend(found.into_iter().map(place));
        }
    }
    loud
}

fn drawn_candidates(num_classes: usize, num_sampled: usize) -> Vec<String> {
    let weights: Vec<f64> = (1..=num_classes).map(|rank| 1.0 / rank as f64).collect();
    let case = |rows| Case::random([rows, 8, num_classes, num_sampled, 2], &mut Random::new(rows as u64));
    let (small, large) = (case(5), case(40));
    let mut loud = Vec::new();
    for sampler in SSL_SAMPLER_UNIFORM..=SSL_SAMPLER_LEARNED_UNIGRAM {
        for sampling in [SSL_SAMPLING_UNIQUE, SSL_SAMPLING_REPLACEMENT] {
            for hits in [SSL_HITS_MASK, SSL_HITS_EXCLUDE] {
                let unigram = sampler == SSL_SAMPLER_FIXED_UNIGRAM;
                let config = ssl_config {
                    num_threads: 2,
                    num_classes: num_classes as i64,
                    num_sampled: num_sampled as i64,
                    num_true: 2,
                    sampler,
                    sampling,
                    hits,
                    unigrams: if unigram { weights.as_ptr() } else { std::ptr::null() },
                    num_unigrams: if unigram { num_classes as i64 } else { 0 },
                    ..default_config()
                };
                let place = |what| {
                    format!(
                        "C = {num_classes}, sampler {sampler}, sampling {sampling}, \
                         hits {hits}: {what}"
                    )
                };
                // A table, unlike one bit a class, grows with what it excludes.
                let grows = hits == SSL_HITS_EXCLUDE && num_classes > TABLE_FROM * num_sampled;
                let found = match grows {
                    true => loud_calls(&Arc::new(Handle::create(&config).unwrap()), &large, &small, true),
                    false => loud_both_ways(&config, &small, &large, true),
                };
                loud.extend(found.into_iter().map(place));
            }
        }
    }
    loud
}

/// The second drawing has so many classes to a sample that the sampler keeps track of
/// them in a table, the first in one bit a class.
#[test]
fn calls_after_the_first_allocate_nothing() {
    let drawn = [drawn_candidates(500, 100), drawn_candidates(70_000, 2)].concat();
    let loud = [given_candidates(), drawn].concat();
    assert!(loud.is_empty(), "{loud:#?}");
}
