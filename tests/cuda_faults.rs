//! What the CUDA engine does when the driver fails: every call of it in turn, on the
//! emulated driver.

mod common;

use std::sync::Arc;

use common::drawing::{drawing_case, drawing_config, drawing_handle};
use common::driver::Driver;
use common::emulated::emulated;
use common::{Call, Case, F32, Failure, Handle, Types};
use sampled_softmax::abi::*;

/// The driver's functions that the engine's work goes through.
const FUNCTIONS: [&str; 16] = [
    "cuDevicePrimaryCtxRetain",
    "cuCtxPushCurrent_v2",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuFuncLoad",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventQuery",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuLaunchKernel",
    "cuLaunchHostFunc",
    "cuStreamIsCapturing",
];

fn case(hits: u32) -> Case {
    let mut case = drawing_case(1);
    case.types = Types::all(F32);
    case.hits = hits;
    case.backend = SSL_BACKEND_CUDA;
    case
}

/// A life of a handle: created, used, destroyed.
fn life(config: ssl_config) -> Result<(), Failure> {
    let weights = common::drawing::zipf_weights();
    let mut config = ssl_config { backend: SSL_BACKEND_CUDA, ..config };
    if config.sampler == SSL_SAMPLER_FIXED_UNIGRAM {
        (config.unigrams, config.num_unigrams) = (weights.as_ptr(), 100);
    }
    let handle = Arc::new(Handle::create(&config)?);
    for step in 0..2 {
        let mut call = Call::drawing(&case(config.hits), Arc::clone(&handle), step);
        call.forward_backward()?;
    }
    Ok(())
}

/// The n-th call of each function fails with `code`, for n = 1, 2, ... until none does.
fn every_call_fails<T: Fn() + Copy>(name: T, code: i32, expected: fn(&Failure) -> bool, lost: bool) {
    for (part, sampler, hits) in [
        ("ahead", SSL_SAMPLER_LOG_UNIFORM, SSL_HITS_MASK),
        ("table", SSL_SAMPLER_FIXED_UNIGRAM, SSL_HITS_EXCLUDE),
    ] {
        for function in FUNCTIONS {
            for number in [1, 2, 3, 5, 8, 21] {
                let failing = format!("{function}:{number}={code}");
                emulated(name, &format!("{part} {failing}"), &[("FAKE_CUDA_FAIL", &failing)], || {
                    let config = ssl_config { hits, ..drawing_config(sampler) };
                    let result = life(config);
                    let driver = Driver::books();
                    if let Err(failure) = &result {
                        assert!(expected(failure), "{failing}: {failure:?}");
                    }
                    let reached = driver.calls(function) >= number;
                    // The thread that draws ahead may have met the failure: then a call has
                    // drawn for itself.
                    let hidden = ["cuCtxPushCurrent_v2", "cuEventQuery"].contains(&function);
                    assert!(!reached || hidden || result.is_err(), "{failing} was not noticed");
                    assert_eq!(driver.context_depth(), 0);
                    if lost {
                        return;
                    }
                    assert_eq!(driver.memory_in_use(), 0, "{failing}");
                    assert_eq!(
                        driver.calls("cuMemHostAlloc") - failed(function, "cuMemHostAlloc", reached),
                        driver.calls("cuMemFreeHost")
                    );
                    assert_eq!(
                        driver.calls("cuEventCreate") - failed(function, "cuEventCreate", reached),
                        driver.calls("cuEventDestroy_v2")
                    );
                    // It was that one call that failed.
                    if reached {
                        life(config).unwrap();
                    }
                });
            }
        }
    }
}

/// Calls of `counted` that gave nothing.
fn failed(failing: &str, counted: &str, reached: bool) -> u64 {
    u64::from(reached && failing == counted)
}

#[test]
fn memory_that_runs_out_anywhere_is_an_error_without_a_leak() {
    every_call_fails(
        memory_that_runs_out_anywhere_is_an_error_without_a_leak,
        2,
        |failure| [3, 4, 2].contains(&(failure.status / 1000)),
        false,
    );
}

#[test]
fn a_device_that_fails_anywhere_is_lost_for_its_handle() {
    every_call_fails(
        a_device_that_fails_anywhere_is_lost_for_its_handle,
        700,
        |failure| [SSL_STATUS_DEVICE_LOST, SSL_STATUS_NO_BACKEND].contains(&failure.status),
        true,
    );
}

#[test]
fn a_code_that_nobody_knows_is_an_error_like_others() {
    every_call_fails(
        a_code_that_nobody_knows_is_an_error_like_others,
        99_999,
        |failure| failure.status / 1000 >= 2 && failure.message.contains("99999"),
        false,
    );
}

#[test]
fn a_lost_device_is_told_at_every_later_call() {
    let settings = [("FAKE_CUDA_FAIL", "cuLaunchKernel:3=700")];
    emulated(a_lost_device_is_told_at_every_later_call, "all", &settings, || {
        let handle =
            drawing_handle(ssl_config { backend: SSL_BACKEND_CUDA, ..drawing_config(SSL_SAMPLER_UNIFORM) });
        for step in 0..3 {
            let mut call = Call::drawing(&case(0), Arc::clone(&handle), step);
            let failure = call.forward().unwrap_err();
            assert_eq!(failure.status, SSL_STATUS_DEVICE_LOST);
            assert!(failure.message.contains("700"), "{}", failure.message);
        }
    });
}
