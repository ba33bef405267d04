//! As `host_memory.rs`, of handles on a device: on the emulated driver, whose own memory is
//! not counted.

mod common;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use std::ptr::null_mut;
use std::sync::Arc;

use common::emulated::emulated;
use common::{Arguments, BF16, Call, Case, F32, Handle, KINDS, Random, Types, default_config, last_error};
use counting_allocator::{CountingAllocator, with_every_amount, with_room_for};
use sampled_softmax::abi::*;
use sampled_softmax::capi::{ssl_create, ssl_destroy};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CLASSES: usize = 20_000;

fn assert_says_memory(what: &str, status: ssl_status) {
    assert_eq!(status, SSL_STATUS_HOST_MEMORY, "{what}: {}", last_error());
    assert!(last_error().contains("out of host memory"), "{what}: {}", last_error());
}

fn starve_creation(what: &str, config: &ssl_config) {
    let failures = with_every_amount(what, |room| {
        let mut handle = null_mut();
        // SAFETY: both lead to live objects.
        let (status, refused) = with_room_for(room, || unsafe { ssl_create(config, &mut handle) });
        match refused {
            Some(_) => assert_says_memory(what, status),
            None => assert_eq!(status, SSL_STATUS_OK, "{what}: {}", last_error()),
        }
        ssl_destroy(handle);
        refused
    });
    assert!(failures > 0, "{what}: no allocation was refused");
}

fn starve_first_call(what: &str, config: &ssl_config, case: &Case, kind: usize) {
    let (name, run) = KINDS[kind];
    let prepared = || -> (Call, Arguments) {
        let mut call = Call::drawing(case, Arc::new(Handle::create(config).unwrap()), 3);
        if name == "backward" {
            call.forward().unwrap();
        }
        let arguments = call.arguments_for_all();
        (call, arguments)
    };
    with_every_amount(what, |room| {
        let (call, arguments) = prepared();
        let (status, refused) = with_room_for(room, || arguments.status(kind, &call.handle));
        match refused {
            // The thread that draws ahead may have been the one.
            Some(_) if status == SSL_STATUS_OK => {}
            Some(_) => {
                assert_says_memory(&format!("{what}: {name}"), status);
                run(&arguments, &call.handle).unwrap();
            }
            None => assert_eq!(status, SSL_STATUS_OK, "{what}: {name}: {}", last_error()),
        }
        refused
    });
}

#[test]
fn memory_that_runs_out_is_a_status_on_a_device_too() {
    emulated(memory_that_runs_out_is_a_status_on_a_device_too, "all", &[], || {
        let weights: Vec<f64> = (1..=CLASSES).map(|rank| 1.0 / rank as f64).collect();
        let case = |dim, dtype| {
            let mut case = Case::random([20, dim, CLASSES, 40, 2], &mut Random::new(1));
            (case.types, case.backend) = (Types::all(dtype), SSL_BACKEND_CUDA);
            case
        };
        for sampler in [SSL_SAMPLER_LOG_UNIFORM, SSL_SAMPLER_FIXED_UNIGRAM, SSL_SAMPLER_LEARNED_UNIGRAM] {
            for hits in [SSL_HITS_MASK, SSL_HITS_EXCLUDE] {
                let mut config = ssl_config {
                    backend: SSL_BACKEND_CUDA,
                    num_classes: CLASSES as i64,
                    num_sampled: 40,
                    num_true: 2,
                    sampler,
                    hits,
                    ..default_config()
                };
                if sampler == SSL_SAMPLER_FIXED_UNIGRAM {
                    (config.unigrams, config.num_unigrams) = (weights.as_ptr(), CLASSES as i64);
                }
                let what = format!("sampler {sampler}, hits {hits}");
                starve_creation(&what, &config);
                for kind in 0..4 {
                    starve_first_call(&what, &config, &case(8, F32), kind);
                }
                if hits == SSL_HITS_MASK && sampler == SSL_SAMPLER_LOG_UNIFORM {
                    // Rows so long that cuBLASLt multiplies them.
                    starve_first_call("long rows", &config, &case(300, BF16), 2);
                }
            }
        }
    });
}
