//! What the CUDA engine does when the driver fails: every call of it in turn, on the
//! emulated driver.

mod common;

use std::sync::Arc;

use common::drawing::{drawing_case, drawing_config, drawing_handle};
use common::driver::Driver;
use common::emulated::{emulated, output_of};
use common::{Call, Case, F32, Failure, Handle, Outputs, Types};
use sampled_softmax::abi::*;

/// The driver's functions that can fail a handle; those that only give back are not among
/// them, for nothing can be done where they fail.
const FUNCTIONS: [&str; 23] = [
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuCtxPushCurrent_v2",
    "cuThreadExchangeStreamCaptureMode",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuFuncLoad",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventQuery",
    "cuEventSynchronize",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuLaunchKernel",
    "cuLaunchHostFunc",
    "cuStreamIsCapturing",
    "cuStreamSynchronize",
    "cuDriverGetVersion",
];

/// What a failure need not stop: the thread that draws ahead may have met it, then the
/// call draws for itself; and a driver that does not tell its version is asked nothing new.
const HIDDEN: [&str; 4] =
    ["cuCtxPushCurrent_v2", "cuEventQuery", "cuThreadExchangeStreamCaptureMode", "cuDriverGetVersion"];

/// The device that fails, and another.
const FAILING: i32 = 0;
const SPARED: i32 = 1;

fn case(hits: u32) -> Case {
    let mut case = drawing_case(1);
    case.types = Types::all(F32);
    case.hits = hits;
    case.backend = SSL_BACKEND_CUDA;
    case
}

/// A handle on a device, as one part of the tests has it.
fn create(part: &str, device: i32) -> Result<Arc<Handle>, Failure> {
    let weights = common::drawing::zipf_weights();
    let (sampler, hits) = match part {
        "ahead" => (SSL_SAMPLER_LOG_UNIFORM, SSL_HITS_MASK),
        _ => (SSL_SAMPLER_FIXED_UNIGRAM, SSL_HITS_EXCLUDE),
    };
    let mut config = ssl_config { backend: SSL_BACKEND_CUDA, device, hits, ..drawing_config(sampler) };
    if sampler == SSL_SAMPLER_FIXED_UNIGRAM {
        (config.unigrams, config.num_unigrams) = (weights.as_ptr(), 100);
    }
    Handle::create(&config).map(Arc::new)
}

fn call(part: &str, handle: &Arc<Handle>) -> Call {
    let hits = if part == "ahead" { SSL_HITS_MASK } else { SSL_HITS_EXCLUDE };
    Call::drawing(&case(hits), Arc::clone(handle), 0)
}

/// What a forward on a neighbour gives.
fn forward(handle: &Arc<Handle>) -> Result<Outputs, Failure> {
    let mut call = call("table", handle);
    call.forward()?;
    Ok(call.outputs)
}

/// Two steps on a handle, the second of which can be drawn ahead.
fn steps(part: &str, handle: &Arc<Handle>) -> Result<(), Failure> {
    let mut call = call(part, handle);
    call.forward_backward()?;
    call.step = 1;
    call.forward_backward()
}

/// What tests say of a code.
struct Fault {
    code: i32,
    /// Whether all later calls of the device fail, too.
    lost: bool,
    expected: fn(&Failure) -> bool,
}

/// The n-th call of each function fails, for n = 1, 2, ... until a life has no n-th: which
/// is an error that is expected, unless it is hidden, without a leak, a context left
/// behind, or an effect on other handles.
fn every_call_fails<T: Fn() + Copy>(name: T, fault: &Fault) {
    let settings = [("FAKE_CUDA_DEVICES", "2")];
    for part in ["ahead", "table"] {
        let output = output_of(name, part, &settings, || {
            let driver = Driver::books();
            // A lost device is lost for all handles on it. One that draws ahead might meet the
            // failure itself.
            let neighbour = create("table", if fault.lost { SPARED } else { FAILING }).unwrap();
            let expected = forward(&neighbour).unwrap();
            let mut injected = 0;
            for function in FUNCTIONS {
                let mut number = 1;
                while let_one_fail(&driver, part, fault, &format!("{function}:{number}")) {
                    number += 1;
                    assert_eq!(forward(&neighbour).as_ref(), Ok(&expected), "{function}:{number}: neighbour");
                }
                injected += number - 1;
            }
            println!("injected: {injected}");
        });
        let injected = output.as_deref().and_then(|text| text.split("injected: ").nth(1)?.lines().next());
        if let Some(count) = injected {
            println!("{part}: {count} calls failed with {}", fault.code);
            assert!(count.parse::<u64>().unwrap() > 100);
        }
    }
}

/// A life of a handle in which one call fails; whether there was such a call.
fn let_one_fail(driver: &Driver, part: &str, fault: &Fault, call: &str) -> bool {
    let (function, number) = call.split_once(':').unwrap();
    let calls = |names: &[&str]| -> Vec<u64> { names.iter().map(|name| driver.calls(name)).collect() };
    let before = [calls(&MADE), calls(&GIVEN_BACK), calls(&[function])];
    let idle = driver.memory_in_use();

    driver.fail(&format!("{call}={}", fault.code));
    let mut handle = None;
    let result = create(part, FAILING).and_then(|created| steps(part, handle.insert(created)));
    let reached = driver.calls(function) - before[2][0] >= number.parse().unwrap();
    // What fails while a handle is destroyed is lost, and cannot be told.
    driver.fail("");
    drop(handle);

    match &result {
        Err(failure) => assert!((fault.expected)(failure), "{call}: {failure:?}"),
        Ok(_) => assert!(!reached || HIDDEN.contains(&function), "{call} was not noticed"),
    }
    assert_eq!(driver.context_depth(), 0, "{call}");
    if !fault.lost {
        assert_eq!(driver.memory_in_use(), idle, "{call}");
        for (place, name) in MADE.into_iter().enumerate() {
            let made = driver.calls(name) - before[0][place] - u64::from(reached && function == name);
            assert_eq!(made, driver.calls(GIVEN_BACK[place]) - before[1][place], "{call}: {name}");
        }
    }
    reached
}

/// What makes something, and what gives it back.
const MADE: [&str; 4] = ["cuMemHostAlloc", "cuEventCreate", "cuModuleLoadData", "cuDevicePrimaryCtxRetain"];
const GIVEN_BACK: [&str; 4] =
    ["cuMemFreeHost", "cuEventDestroy_v2", "cuModuleUnload", "cuDevicePrimaryCtxRelease_v2"];

#[test]
fn memory_that_runs_out_anywhere_is_an_error_without_a_leak() {
    let fault =
        Fault { code: 2, lost: false, expected: |failure| [3, 4, 2].contains(&(failure.status / 1000)) };
    every_call_fails(memory_that_runs_out_anywhere_is_an_error_without_a_leak, &fault);
}

#[test]
fn a_device_that_fails_anywhere_is_lost_for_its_handle() {
    let fault = Fault {
        code: 719,
        lost: true,
        expected: |failure| [SSL_STATUS_DEVICE_LOST, SSL_STATUS_NO_BACKEND].contains(&failure.status),
    };
    every_call_fails(a_device_that_fails_anywhere_is_lost_for_its_handle, &fault);
}

#[test]
fn a_code_that_nobody_knows_is_an_error_like_others() {
    let fault = Fault {
        code: 99_999,
        lost: false,
        expected: |failure| failure.status / 1000 >= 2 && failure.message.contains("99999"),
    };
    every_call_fails(a_code_that_nobody_knows_is_an_error_like_others, &fault);
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

/// CUDA_ERROR_DEINITIALIZED is what a driver says that has shut down before the program's
/// own exit handlers run.
#[test]
fn a_driver_that_has_shut_down_is_an_error_and_handles_can_still_be_destroyed() {
    emulated(a_driver_that_has_shut_down_is_an_error_and_handles_can_still_be_destroyed, "all", &[], || {
        for part in ["ahead", "table"] {
            let driver = Driver::books();
            let (used, unused) = (create(part, FAILING).unwrap(), create(part, FAILING).unwrap());
            steps(part, &used).unwrap();
            driver.fail("*:0=4");
            for handle in [&used, &unused] {
                let failure = steps(part, handle).unwrap_err();
                assert_eq!(failure.status, SSL_STATUS_DEVICE_LOST);
                assert!(failure.message.contains("DEINITIALIZED (4)"), "{}", failure.message);
            }
            let failure = create(part, FAILING).unwrap_err();
            assert_eq!(failure.status, SSL_STATUS_NO_BACKEND);
            // Handles answer for themselves that they are destroyed with success.
            drop((used, unused));
            driver.fail("");
        }
    });
}
