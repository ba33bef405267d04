//! From the second call of a kind on, the CUDA engine allocates nothing on the host, on any
//! thread: on the emulated driver, whose own memory is not counted.

mod common;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use std::sync::Arc;

use common::emulated::emulated;
use common::{BF16, Call, Case, F32, Handle, KINDS, Random, Types, default_config};
use counting_allocator::{CountingAllocator, calls};
use sampled_softmax::abi::*;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const REPEATS: u64 = 6;

fn assert_quiet(what: &str, call: &mut Call) {
    let handle = Arc::clone(&call.handle);
    let mut arguments = call.arguments_for_all();
    // The first draws fill every slot and the sampler's own memory.
    for step in 0..8 {
        arguments.candidates.step = step;
        arguments.forward(&handle).unwrap();
    }
    for (name, kind) in KINDS {
        if name == "sample" && call.source == SSL_CANDIDATES_GIVEN {
            continue;
        }
        kind(&arguments, &handle).unwrap();
        let before = calls();
        for step in 0..REPEATS {
            arguments.candidates.step = if name == "backward" { 7 } else { 100 + step };
            kind(&arguments, &handle).unwrap();
        }
        assert_eq!(calls() - before, 0, "{what}: {name}, allocations in {REPEATS} calls");
    }
}

#[test]
fn calls_allocate_nothing_after_the_first_of_their_kind() {
    emulated(calls_allocate_nothing_after_the_first_of_their_kind, "all", &[], || {
        for (dim, dtype) in [(5, F32), (100, BF16), (300, BF16), (300, F32)] {
            let mut case = Case::random([20, dim, 100, 40, 2], &mut Random::new(1));
            case.types = Types::all(dtype);
            case.backend = SSL_BACKEND_CUDA;
            assert_quiet(&format!("{dim} elements of type {dtype}"), &mut Call::new(&case));
        }
        for (sampler, hits) in [
            (SSL_SAMPLER_UNIFORM, 0),
            (SSL_SAMPLER_LOG_UNIFORM, 0),
            (SSL_SAMPLER_LEARNED_UNIGRAM, 0),
            (0, SSL_HITS_EXCLUDE),
        ] {
            let mut case = Case::random([20, 5, 1000, 40, 2], &mut Random::new(1));
            case.hits = hits;
            let config = ssl_config {
                backend: SSL_BACKEND_CUDA,
                num_classes: 1000,
                num_sampled: 40,
                num_true: 2,
                sampler,
                hits,
                ..default_config()
            };
            let handle = Arc::new(Handle::create(&config).unwrap());
            assert_quiet(&format!("sampler {sampler}, hits {hits}"), &mut Call::drawing(&case, handle, 0));
        }
    });
}
