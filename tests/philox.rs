//! The Philox generator: the CUDA engine draws on the device, in graphs too, what the CPU
//! engine draws on the host. On the emulated driver.

mod common;

use std::sync::Arc;

use common::drawing::{forward, sampled};
use common::driver::Driver;
use common::emulated::emulated;
use common::{Call, Case, F32, F64, Handle, Outputs, Random, Types, assert_close, check, default_config};
use sampled_softmax::abi::*;
use sampled_softmax::capi::ssl_sample;

const LAWS: [u32; 2] = [SSL_SAMPLER_UNIFORM, SSL_SAMPLER_LOG_UNIFORM];

/// C and S: few, many, all but the ends of what rejection takes, all, one.
const SIZES: [[usize; 2]; 6] = [[100, 20], [400, 280], [100_000, 900], [60, 60], [1, 1], [1 << 16, 1]];

fn config(sampler: u32, [classes, sampled]: [usize; 2]) -> ssl_config {
    ssl_config {
        num_classes: classes as i64,
        num_sampled: sampled as i64,
        num_true: 2.min(classes as i64),
        sampler,
        generator: SSL_GENERATOR_PHILOX,
        seed: 0x1234_5678_9abc_def0,
        rank: 5,
        ..default_config()
    }
}

fn handle(backend: u32, config: ssl_config) -> Arc<Handle> {
    Arc::new(Handle::create(&ssl_config { backend, ..config }).unwrap())
}

/// Rows whose labels are spread over the classes; weights are of no account.
fn case([classes, sampled]: [usize; 2], counts: u32) -> Case {
    let shape = [6, 2, classes, sampled, 2.min(classes)];
    let mut case = Case::random(shape, &mut Random::new(1));
    case.types = Types { counts, ..Types::all(F32) };
    case
}

/// The ids to the bit, counts but for the last bits of the device's own logarithms.
fn assert_same_draw(cuda: &Outputs, cpu: &Outputs, counts: u32) {
    assert_eq!(cuda.ids, cpu.ids);
    let unit = if counts == F64 { 1e-14 } else { 2f64.powi(-23) };
    for (name, got, want) in [
        ("sampled counts", &cuda.sampled_expected_count, &cpu.sampled_expected_count),
        ("true counts", &cuda.true_expected_count, &cpu.true_expected_count),
    ] {
        let want = want.values();
        assert_close(name, &got.values(), &want, |index| unit * want[index]);
    }
}

#[test]
fn the_device_draws_what_the_host_draws() {
    emulated(the_device_draws_what_the_host_draws, "all", &[], || {
        let driver = Driver::books();
        for sampler in LAWS {
            for sizes in SIZES {
                for (sampling, rule, counts) in [
                    (SSL_SAMPLING_UNIQUE, SSL_COUNTS_TF, F32),
                    (SSL_SAMPLING_UNIQUE, SSL_COUNTS_EXACT, F64),
                    (SSL_SAMPLING_REPLACEMENT, SSL_COUNTS_TF, F64),
                ] {
                    if sampling == SSL_SAMPLING_UNIQUE
                        && sizes == [400, 280]
                        && sampler == SSL_SAMPLER_LOG_UNIFORM
                    {
                        continue;
                    }
                    let config = ssl_config { sampling, counts: rule, ..config(sampler, sizes) };
                    let (cuda, cpu) = (handle(SSL_BACKEND_CUDA, config), handle(SSL_BACKEND_CPU, config));
                    let case = case(sizes, counts);
                    for step in [0, 7, u64::MAX] {
                        let mut calls =
                            [&cuda, &cpu].map(|handle| Call::drawing(&case, Arc::clone(handle), step));
                        calls.iter_mut().for_each(|call| call.forward_backward().unwrap());
                        let [got, want] = calls.map(|call| call.outputs);
                        assert_same_draw(&got, &want, counts);
                        assert_eq!((got.num_tries, got.device_status), (-1, 0));
                        assert_eq!(got.row_ids, want.row_ids);
                        let loss = want.loss.values();
                        assert_close("loss", &got.loss.values(), &loss, |row| 1e-4 * (1.0 + loss[row].abs()));
                        let mut sampled = Call::drawing(&case, Arc::clone(&cuda), step);
                        sampled.sample().unwrap();
                        assert_same_draw(&sampled.outputs, &want, counts);
                    }
                }
            }
        }
        assert_eq!(driver.calls("cuLaunchHostFunc"), 0);
    });
}

#[test]
fn every_replay_draws_the_next_step_without_the_host() {
    emulated(every_replay_draws_the_next_step_without_the_host, "all", &[], || {
        let driver = Driver::open();
        let stream = driver.stream();
        for sampler in LAWS {
            for sampling in [SSL_SAMPLING_UNIQUE, SSL_SAMPLING_REPLACEMENT] {
                let config = ssl_config { sampling, ..config(sampler, [100, 20]) };
                let (cuda, cpu) = (handle(SSL_BACKEND_CUDA, config), handle(SSL_BACKEND_CPU, config));
                let case = case([100, 20], F32);
                Call::drawing(&case, Arc::clone(&cuda), 3).forward_backward().unwrap();
                let mut calls = [10_u64, 1000].map(|step| Call::drawing(&case, Arc::clone(&cuda), step));
                let graphs = calls.each_mut().map(|call| {
                    let mut arguments = call.arguments_for_all();
                    arguments.stream = stream;
                    driver.begin_capture(stream);
                    arguments.forward_backward(&cuda).unwrap();
                    driver.end_capture(stream)
                });
                for replay in 0..4 {
                    for ((graph, call), step) in graphs.iter().zip(&mut calls).zip([10, 1000]) {
                        call.outputs.ids.fill(-7);
                        graph.launch(stream);
                        let mut want = Call::drawing(&case, Arc::clone(&cpu), step + replay);
                        want.forward().unwrap();
                        assert_same_draw(&call.outputs, &want.outputs, F32);
                        // A call between two replays disturbs neither.
                        let mut between = Call::drawing(&case, Arc::clone(&cuda), 3);
                        between.sample().unwrap();
                    }
                }
            }
        }
        assert_eq!(driver.calls("cuLaunchHostFunc"), 0);
        driver.destroy_stream(stream);
    });
}

#[test]
fn many_streams_draw_at_once() {
    emulated(many_streams_draw_at_once, "all", &[], || {
        let driver = Driver::open();
        let sizes = [100_000, 900];
        let config = config(SSL_SAMPLER_LOG_UNIFORM, sizes);
        let (cuda, cpu) = (handle(SSL_BACKEND_CUDA, config), handle(SSL_BACKEND_CPU, config));
        let case = case(sizes, F32);
        // More than there are slots.
        let streams: Vec<_> = (0..7).map(|_| driver.stream()).collect();
        let mut calls: Vec<_> = (0..21).map(|step| Call::drawing(&case, Arc::clone(&cuda), step)).collect();
        for (step, call) in calls.iter_mut().enumerate() {
            let mut arguments = call.arguments();
            arguments.stream = streams[step % 7];
            arguments.sample(&cuda).unwrap();
        }
        for stream in streams {
            driver.synchronize(stream);
            driver.destroy_stream(stream);
        }
        for (step, call) in calls.iter().enumerate() {
            let mut want = Call::drawing(&case, Arc::clone(&cpu), step as u64);
            want.sample().unwrap();
            assert_eq!(call.outputs.ids, want.outputs.ids, "step {step}");
        }
    });
}

#[test]
fn a_step_that_lies_on_the_device_is_read_when_the_stream_gets_there() {
    emulated(a_step_that_lies_on_the_device_is_read_when_the_stream_gets_there, "all", &[], || {
        let driver = Driver::open();
        let stream = driver.stream();
        for sampler in LAWS {
            let config = config(sampler, [100, 20]);
            let (cuda, cpu) = (handle(SSL_BACKEND_CUDA, config), handle(SSL_BACKEND_CPU, config));
            let case = case([100, 20], F32);
            let mut step = Box::new(u64::MAX);
            let pointer = &raw mut *step;
            let mut call = Call::drawing(&case, Arc::clone(&cuda), 0);
            let mut arguments = call.arguments_for_all();
            (arguments.candidates.step_pointer, arguments.stream) = (pointer, stream);
            arguments.forward_backward(&cuda).unwrap();
            driver.begin_capture(stream);
            arguments.forward_backward(&cuda).unwrap();
            let graph = driver.end_capture(stream);
            for next in [3, 4, 4, u64::MAX] {
                // SAFETY: nothing runs that reads it.
                unsafe { pointer.write(next) };
                call.outputs.ids.fill(-7);
                graph.launch(stream);
                assert_same_draw(&call.outputs, &forward(&case, &cpu, next), F32);
                call.outputs.ids.fill(-7);
                arguments.sample(&cuda).unwrap();
                driver.synchronize(stream);
                assert_same_draw(&call.outputs, &sampled(&case, &cpu, next), F32);
            }
        }
        driver.destroy_stream(stream);
    });
}

#[test]
fn a_step_by_pointer_is_that_step() {
    for generator in [SSL_GENERATOR_XOSHIRO, SSL_GENERATOR_PHILOX] {
        let config = ssl_config { generator, ..config(SSL_SAMPLER_UNIFORM, [100, 20]) };
        let (handle, case) = (handle(SSL_BACKEND_CPU, config), case([100, 20], F32));
        let step = 77_u64;
        let mut call = Call::drawing(&case, Arc::clone(&handle), 0);
        let mut arguments = call.arguments_for_all();
        arguments.candidates.step_pointer = &step;
        arguments.forward(&handle).unwrap();
        assert_eq!(call.outputs.ids, forward(&case, &handle, 77).ids);
        assert_ne!(call.outputs.ids, forward(&case, &handle, 0).ids);
    }
}

#[test]
fn a_step_by_pointer_that_cannot_be_meant_is_refused() {
    let refused = |backend| {
        let case = case([100, 20], F32);
        let step = 77_u64;
        for (generator, own_step, shift, words) in [
            (SSL_GENERATOR_PHILOX, 5, 0, "step = 5"),
            (SSL_GENERATOR_PHILOX, 0, 4, "step_pointer"),
            (SSL_GENERATOR_XOSHIRO, 0, 0, "SSL_GENERATOR_PHILOX"),
        ] {
            if backend == SSL_BACKEND_CPU && generator == SSL_GENERATOR_XOSHIRO {
                continue;
            }
            let handle = handle(backend, ssl_config { generator, ..config(SSL_SAMPLER_UNIFORM, [100, 20]) });
            let mut call = Call::drawing(&case, Arc::clone(&handle), own_step);
            let mut arguments = call.arguments_for_all();
            arguments.candidates.step_pointer = (&raw const step).wrapping_byte_add(shift);
            for kind in [common::Arguments::forward, common::Arguments::sample] {
                let failure = kind(&arguments, &handle).unwrap_err();
                assert!(failure.message.contains(words), "{}", failure.message);
            }
            assert!(call.outputs.ids.iter().all(|&id| id == i64::MIN));
        }
    };
    if std::env::var_os("FAKE_CUDA_STRICT").is_none() {
        refused(SSL_BACKEND_CPU);
    }
    emulated(a_step_by_pointer_that_cannot_be_meant_is_refused, "all", &[], || refused(SSL_BACKEND_CUDA));
}

#[test]
fn outputs_that_nobody_wants_may_be_null() {
    emulated(outputs_that_nobody_wants_may_be_null, "all", &[], || {
        let config = config(SSL_SAMPLER_LOG_UNIFORM, [100, 20]);
        let cuda = handle(SSL_BACKEND_CUDA, config);
        let case = case([100, 20], F32);
        let mut whole = Call::drawing(&case, Arc::clone(&cuda), 4);
        whole.sample().unwrap();
        let mut call = Call::drawing(&case, Arc::clone(&cuda), 4);
        let mut candidates = call.arguments().candidates;
        candidates.sampled_expected_count = std::ptr::null_mut();
        candidates.true_expected_count = std::ptr::null_mut();
        candidates.num_tries = std::ptr::null_mut();
        // SAFETY: a NULL batch means no labels; the ids are the call's.
        check(unsafe { ssl_sample(cuda.pointer(), std::ptr::null(), &candidates, std::ptr::null_mut()) })
            .unwrap();
        assert_eq!(call.outputs.ids, whole.outputs.ids);
    });
}

#[test]
fn what_philox_is_not_there_for_is_refused_on_both_engines() {
    let refused = |backend| {
        let create =
            |config: ssl_config| Handle::create(&ssl_config { backend, ..config }).map(|_| ()).unwrap_err();
        let good = config(SSL_SAMPLER_UNIFORM, [100, 20]);
        for (config, words) in [
            (ssl_config { sampler: SSL_SAMPLER_LEARNED_UNIGRAM, ..good }, "SSL_GENERATOR_PHILOX"),
            (ssl_config { sampler: SSL_SAMPLER_ALL, num_sampled: 100, ..good }, "SSL_GENERATOR_PHILOX"),
            (ssl_config { sampler: SSL_SAMPLER_CALLER, ..good }, "SSL_GENERATOR_PHILOX"),
            (ssl_config { hits: SSL_HITS_EXCLUDE, ..good }, "SSL_HITS_EXCLUDE"),
            (ssl_config { num_sampled: 80, ..good }, "num_sampled = 80"),
            (ssl_config { generator: 7, ..good }, "generator = 7"),
            (ssl_config { reserved_too: 7, ..good }, "reserved_too = 7"),
        ] {
            let failure = create(config);
            assert_eq!(failure.status, SSL_STATUS_INVALID_VALUE);
            assert!(failure.message.contains(words), "{}", failure.message);
        }
        let handle = handle(backend, good);
        let mut call = Call::drawing(&case([100, 20], F32), Arc::clone(&handle), 0);
        let avoid = [3_i64];
        let mut arguments = call.arguments_for_all();
        (arguments.candidates.avoid, arguments.candidates.num_avoid) = (avoid.as_ptr(), 1);
        for kind in [common::Arguments::forward, common::Arguments::sample] {
            let failure = kind(&arguments, &handle).unwrap_err();
            assert!(failure.message.contains("avoid"), "{}", failure.message);
        }
        assert!(call.outputs.ids.iter().all(|&id| id == i64::MIN));
    };
    if std::env::var_os("FAKE_CUDA_STRICT").is_none() {
        refused(SSL_BACKEND_CPU);
    }
    emulated(what_philox_is_not_there_for_is_refused_on_both_engines, "all", &[], || {
        refused(SSL_BACKEND_CUDA)
    });
}
