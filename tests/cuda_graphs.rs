//! CUDA graphs of the engine's calls, on the emulated driver.

mod common;

use std::sync::Arc;

use common::drawing::{SAMPLERS, drawing_case, drawing_config, forward, learned_counts, on};
use common::driver::{Driver, Graph};
use common::emulated::{emulated, on_all_kernels};
use common::{BF16, Call, Case, F32, Failure, Handle, Outputs, Random, Types, assert_close};
use sampled_softmax::abi::*;

fn case(hits: u32) -> Case {
    let mut case = drawing_case(1);
    case.types = Types::all(F32);
    case.hits = hits;
    case
}

/// Overwrites what a call writes, in place: graphs hold the addresses.
fn spoil(outputs: &mut Outputs) {
    outputs.num_rows = -7;
    outputs.row_ids.fill(-7);
    outputs.device_status = 7;
    for buffer in [&mut outputs.loss, &mut outputs.log_sum_exp, &mut outputs.d_inputs] {
        (0..buffer.len()).for_each(|index| buffer.set(index, 7.0));
    }
}

/// Captures one call.
fn captured<'a>(
    driver: &'a Driver,
    stream: *mut libc::c_void,
    capture: impl FnOnce() -> Result<(), Failure>,
) -> Graph<'a> {
    driver.begin_capture(stream);
    capture().unwrap();
    driver.end_capture(stream)
}

#[test]
fn replays_give_the_bits_of_calls() {
    on_all_kernels(replays_give_the_bits_of_calls, || {
        let driver = Driver::open();
        let stream = driver.stream();
        for (dim, dtype) in [(5, F32), (40, BF16), (300, BF16), (300, F32)] {
            let mut case = Case::random([33, dim, 90, 40, 2], &mut Random::new(dim as u64));
            case.types = Types::all(dtype);
            case.backend = SSL_BACKEND_CUDA;
            let mut call = Call::new(&case);
            call.forward().unwrap();
            call.backward().unwrap();
            let expected = call.outputs.clone();
            let handle = Arc::clone(&call.handle);
            let mut arguments = call.arguments_for_all();
            arguments.stream = stream;
            let graph = captured(&driver, stream, || {
                arguments.forward(&handle)?;
                arguments.backward(&handle)
            });
            for _ in 0..3 {
                spoil(&mut call.outputs);
                assert_ne!(call.outputs.loss, expected.loss);
                graph.launch(stream);
                assert_eq!(call.outputs, expected);
            }
        }
        driver.destroy_stream(stream);
    });
}

#[test]
fn every_replay_draws_the_next_step() {
    emulated(every_replay_draws_the_next_step, "all", &[], || {
        let driver = Driver::open();
        let stream = driver.stream();
        for sampler in SAMPLERS {
            for hits in [SSL_HITS_MASK, SSL_HITS_EXCLUDE] {
                for sampling in [SSL_SAMPLING_UNIQUE, SSL_SAMPLING_REPLACEMENT] {
                    let config = ssl_config { hits, sampling, ..drawing_config(sampler) };
                    let (cuda, cpu) = (on(SSL_BACKEND_CUDA, config), on(SSL_BACKEND_CPU, config));
                    let case = case(hits);
                    // A call outside loads the kernels; a learning sampler learns from it.
                    for handle in [&cuda, &cpu] {
                        Call::drawing(&case, Arc::clone(handle), 3).forward_backward().unwrap();
                    }
                    let mut call = Call::drawing(&case, Arc::clone(&cuda), 10);
                    let mut arguments = call.arguments_for_all();
                    arguments.stream = stream;
                    let graph = captured(&driver, stream, || arguments.forward_backward(&cuda));
                    assert_eq!(call.outputs.num_tries, -1);
                    for replay in 0..4 {
                        spoil(&mut call.outputs);
                        graph.launch(stream);
                        let want = forward(&case, &cpu, 10 + replay);
                        assert_eq!(call.outputs.ids, want.ids);
                        assert_eq!(call.outputs.sampled_expected_count, want.sampled_expected_count);
                        let counts = want.true_expected_count.values();
                        let got = call.outputs.true_expected_count.values();
                        assert_close("true counts", &got, &counts, |index| 2f64.powi(-23) * counts[index]);
                        let loss = want.loss.values();
                        assert_close("loss", &call.outputs.loss.values(), &loss, |row| {
                            1e-4 * loss[row].abs()
                        });
                        assert_eq!(call.outputs.device_status, 0);
                    }
                    assert_eq!(learned_counts(&cuda), learned_counts(&cpu));
                }
            }
        }
        driver.destroy_stream(stream);
    });
}

#[test]
fn a_failed_draw_of_a_replay_leaves_its_status() {
    emulated(a_failed_draw_of_a_replay_leaves_its_status, "all", &[], || {
        let driver = Driver::open();
        let stream = driver.stream();
        let config = ssl_config { hits: SSL_HITS_EXCLUDE, ..drawing_config(SSL_SAMPLER_UNIFORM) };
        let handle = on(SSL_BACKEND_CUDA, config);
        let case = case(SSL_HITS_EXCLUDE);
        forward(&case, &handle, 0);
        let mut call = Call::drawing(&case, Arc::clone(&handle), 1);
        let mut arguments = call.arguments_for_all();
        arguments.stream = stream;
        let graph = captured(&driver, stream, || arguments.forward(&handle));
        for (label, status) in [(5, 0), (100, SSL_STATUS_LABEL_RANGE), (5, 0)] {
            call.case.labels[3] = label;
            graph.launch(stream);
            assert_eq!(call.outputs.device_status, status as u32);
            assert_eq!(call.outputs.loss.values().iter().all(|loss| loss.is_nan()), status != 0);
        }
        drop(graph);
        driver.destroy_stream(stream);
    });
}

#[test]
fn draws_of_graphs_are_limited_and_come_back_with_the_graph() {
    emulated(draws_of_graphs_are_limited_and_come_back_with_the_graph, "all", &[], || {
        let driver = Driver::open();
        let stream = driver.stream();
        let handle = on(SSL_BACKEND_CUDA, drawing_config(SSL_SAMPLER_LOG_UNIFORM));
        let case = case(SSL_HITS_MASK);
        forward(&case, &handle, 0);
        let mut call = Call::drawing(&case, Arc::clone(&handle), 1);
        let mut arguments = call.arguments_for_all();
        arguments.stream = stream;
        for _ in 0..2 {
            let mut graphs = Vec::new();
            let failure = loop {
                driver.begin_capture(stream);
                match arguments.forward(&handle) {
                    Ok(()) => graphs.push(driver.end_capture(stream)),
                    Err(failure) => {
                        driver.abandon_capture(stream);
                        break failure;
                    }
                }
            };
            assert_eq!(failure.status, SSL_STATUS_GRAPH_CAPTURE);
            assert!(failure.message.contains("SSL_CANDIDATES_GIVEN"), "{}", failure.message);
            assert_eq!(graphs.len(), 8);
        }
        driver.destroy_stream(stream);
    });
}

#[test]
fn what_a_capture_may_not_do_is_refused() {
    emulated(what_a_capture_may_not_do_is_refused, "all", &[], || {
        let driver = Driver::open();
        let stream = driver.stream();
        let attempt = |handle: &Arc<Handle>, case: &Case| {
            let mut call = Call::drawing(case, Arc::clone(handle), 0);
            let mut arguments = call.arguments_for_all();
            arguments.stream = stream;
            let before = [
                driver.calls("cuModuleLoadData"),
                driver.calls("cuMemHostAlloc"),
                driver.calls("cuMemAlloc_v2"),
            ];
            driver.begin_capture(stream);
            let result = arguments.forward(handle);
            driver.abandon_capture(stream);
            assert_eq!(
                [
                    driver.calls("cuModuleLoadData"),
                    driver.calls("cuMemHostAlloc"),
                    driver.calls("cuMemAlloc_v2")
                ],
                before
            );
            result
        };
        let refused = |result: Result<(), Failure>, words: &str| {
            let failure = result.unwrap_err();
            assert_eq!(failure.status, SSL_STATUS_GRAPH_CAPTURE);
            assert!(failure.message.contains(words), "{}", failure.message);
        };
        // Kernels that no call has loaded yet.
        let handle = on(SSL_BACKEND_CUDA, drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM));
        refused(attempt(&handle, &case(0)), "is not loaded yet");
        // More labels than any call has had.
        let mut small = case(0);
        small.rows = 1;
        small.labels.truncate(2);
        small.true_expected_count.truncate(2);
        small.inputs.truncate(5);
        forward(&small, &handle, 0);
        refused(attempt(&handle, &case(0)), "12 labels");
        attempt(&handle, &small).unwrap();
        driver.destroy_stream(stream);
    });
}

#[test]
fn a_graph_may_outlive_its_handle_unused() {
    emulated(a_graph_may_outlive_its_handle_unused, "all", &[], || {
        let driver = Driver::open();
        let stream = driver.stream();
        let pinned = || driver.calls("cuMemHostAlloc") - driver.calls("cuMemFreeHost");
        for _ in 0..3 {
            let handle = on(SSL_BACKEND_CUDA, drawing_config(SSL_SAMPLER_LOG_UNIFORM));
            let mut call = Call::drawing(&case(0), Arc::clone(&handle), 1);
            call.forward().unwrap();
            let mut arguments = call.arguments_for_all();
            arguments.stream = stream;
            let graph = captured(&driver, stream, || arguments.forward(&handle));
            graph.launch(stream);
            drop((call, handle));
            assert_eq!(pinned(), 1, "the graph's slot");
            drop(graph);
        }
        // What graphs left behind goes with the next handle.
        drop(on(SSL_BACKEND_CUDA, drawing_config(SSL_SAMPLER_LOG_UNIFORM)));
        assert_eq!(pinned(), 0);
        driver.destroy_stream(stream);
    });
}
