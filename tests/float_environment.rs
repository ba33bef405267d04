//! The caller's rounding mode, flushing of subnormal numbers and traps change no bit of a
//! result, do not end the process, and are there again after every call.
#![cfg(target_arch = "x86_64")]

mod common;

use std::arch::asm;
use std::sync::Arc;

use common::drawing::{SAMPLERS, drawing_case, drawing_config, draws, zipf_weights};
use common::driver::Driver;
use common::emulated::emulated;
use common::{Arguments, BF16, Call, Case, F32, F64, Failure, Handle, Outputs, Random, Types};
use sampled_softmax::abi::*;

/// MXCSR of callers that have changed it.
const ENVIRONMENTS: [(&str, u32); 7] = [
    ("standard", 0x1F80),
    ("standard, every flag raised", 0x1FBF),
    ("flush to zero, subnormals are zero", 0x9FC0),
    ("downwards", 0x3F80),
    ("upwards", 0x5F80),
    ("towards zero, flushing", 0xFFC0),
    ("every exception a trap", 0x0000),
];

fn read() -> u32 {
    let mut value = 0_u32;
    // SAFETY: writes four bytes.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value) };
    value
}

fn write(value: u32) {
    // SAFETY: a value of the list above, or one that was read.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value) };
}

/// What `call` gives in an environment, and the environment behind it.
fn in_environment<T>(environment: u32, call: impl FnOnce() -> T) -> (T, u32) {
    let own = read();
    write(environment);
    let result = call();
    let after = read();
    write(own);
    (result, after)
}

/// What `call` gives in an environment, which it must leave as it is.
fn within<T>(environment: u32, call: impl FnOnce() -> T) -> T {
    let (result, after) = in_environment(environment, call);
    assert_eq!(after, environment, "MXCSR was {environment:#06x} before the call, {after:#06x} after it");
    result
}

/// A step large enough to be shared among threads, with subnormal inputs that count.
fn given(backend: u32, dtype: u32) -> Case {
    let shape = if backend == SSL_BACKEND_CPU { [520, 64, 900, 300, 2] } else { [33, 64, 200, 100, 2] };
    let mut case = Case::random(shape, &mut Random::new(3));
    case.types = Types::all(dtype);
    case.backend = backend;
    case.num_threads = 4;
    for row in case.inputs.chunks_mut(64).step_by(3) {
        row[0] = 1e-40;
    }
    for row in case.weights.chunks_mut(64).step_by(2) {
        row[0] = 1e30;
    }
    case
}

/// Runs a step on a handle made in one environment and used in another.
fn step(case: &Case, made: u32, used: u32) -> Outputs {
    let handle = within(made, || Handle::create(&case.config())).unwrap();
    let mut call = Call::on(case, Arc::new(handle));
    let arguments = call.arguments_for_all();
    let handle = &call.handle;
    within(used, || arguments.forward(handle)).unwrap();
    within(used, || arguments.backward(handle)).unwrap();
    call.outputs
}

fn assert_steps_do_not_change(backend: u32, dtypes: &[u32]) {
    for &dtype in dtypes {
        let case = given(backend, dtype);
        let expected = step(&case, 0x1F80, 0x1F80);
        for (name, environment) in ENVIRONMENTS {
            assert_eq!(step(&case, 0x1F80, environment), expected, "used: {name}, dtype {dtype}");
            assert_eq!(step(&case, environment, 0x1F80), expected, "made: {name}, dtype {dtype}");
        }
    }
}

#[test]
fn a_step_gives_the_same_bits_in_every_environment() {
    assert_steps_do_not_change(SSL_BACKEND_CPU, &[F32, BF16, F64]);
    emulated(a_step_gives_the_same_bits_in_every_environment, "all", &[], || {
        assert_steps_do_not_change(SSL_BACKEND_CUDA, &[F32]);
    });
}

/// Draws of three steps in an environment: their candidates are drawn by the caller, ahead
/// of it and, where they depend on labels, by the stream.
fn drawn(config: &ssl_config, environment: u32) -> Vec<Outputs> {
    let handle = Arc::new(within(environment, || Handle::create(config)).unwrap());
    let case = Case { types: Types { counts: F64, ..Types::all(F32) }, ..drawing_case(1) };
    let draw = |step| {
        let mut call = Call::drawing(&case, Arc::clone(&handle), step);
        let arguments = call.arguments_for_all();
        within(environment, || arguments.forward_backward(&handle)).unwrap();
        call.outputs
    };
    [0, 1, 2].map(draw).into()
}

fn assert_draws_do_not_change(backend: u32) {
    let weights = zipf_weights();
    for sampler in SAMPLERS {
        for (sampling, hits) in [
            (SSL_SAMPLING_UNIQUE, SSL_HITS_MASK),
            (SSL_SAMPLING_UNIQUE, SSL_HITS_EXCLUDE),
            (SSL_SAMPLING_REPLACEMENT, SSL_HITS_MASK),
        ] {
            let mut config = ssl_config { backend, sampling, hits, ..drawing_config(sampler) };
            if sampler == SSL_SAMPLER_FIXED_UNIGRAM {
                (config.unigrams, config.num_unigrams) = (weights.as_ptr(), 100);
                (config.distortion, config.has_distortion) = (0.75, 1);
            }
            let expected = drawn(&config, 0x1F80);
            for (name, environment) in ENVIRONMENTS {
                assert_eq!(drawn(&config, environment), expected, "sampler {sampler}, {name}");
            }
        }
    }
}

#[test]
fn candidates_are_the_same_in_every_environment() {
    assert_draws_do_not_change(SSL_BACKEND_CPU);
    emulated(candidates_are_the_same_in_every_environment, "all", &[], || {
        assert_draws_do_not_change(SSL_BACKEND_CUDA);
    });
}

/// A draw that waits for its labels is made on a thread of the driver's: here the one that
/// waits for the stream.
#[test]
fn draws_on_the_drivers_thread_are_the_same_in_every_environment() {
    let test = draws_on_the_drivers_thread_are_the_same_in_every_environment;
    emulated(test, "all", &[("FAKE_CUDA_DEFER", "1")], || {
        let driver = Driver::open();
        let stream = driver.stream();
        let config = ssl_config { backend: SSL_BACKEND_CUDA, ..drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM) };
        let drawn = |environment| {
            let handle = Handle::create(&config).unwrap();
            let mut call = Call::drawing(&drawing_case(1), Arc::new(handle), 0);
            let arguments = Arguments { stream, ..call.arguments() };
            arguments.sample(&call.handle).unwrap();
            // The emulated driver computes here too: it raises flags, and has no use for traps.
            in_environment(environment | 0x1F80, || driver.synchronize(stream));
            draws(&call.outputs)
        };
        let expected = drawn(0x1F80);
        for (name, environment) in ENVIRONMENTS {
            assert_eq!(drawn(environment), expected, "{name}");
        }
        driver.destroy_stream(stream);
    });
}

#[test]
fn calls_that_fail_leave_the_environment_too() {
    let mut call = Call::new(&given(SSL_BACKEND_CPU, F32));
    let mut arguments = call.arguments_for_all();
    arguments.workspace_size = 1;
    for (_, environment) in ENVIRONMENTS {
        let failure: Failure = within(environment, || arguments.forward(&call.handle)).unwrap_err();
        assert_eq!(failure.status, SSL_STATUS_WORKSPACE);
    }
}
