//! Candidates of the CUDA engine, on the emulated driver: those of the CPU engine, whoever
//! draws them and when.

mod common;

use std::sync::Arc;

use common::drawing::{SAMPLERS, drawing_case, drawing_config, forward, learned_counts, on};
use common::driver::Driver;
use common::emulated::emulated;
use common::{Call, Case, F32, F64, Handle, Outputs, Types, assert_close};
use sampled_softmax::abi::*;

/// float32 tensors, expected counts of a type.
fn case(counts: u32) -> Case {
    let mut case = drawing_case(1);
    case.types = Types { counts, ..Types::all(F32) };
    case
}

/// The same ids, the same counts but for the last bits of what the device computes.
fn assert_same_draw(cuda: &Outputs, cpu: &Outputs, counts: u32) {
    assert_eq!(cuda.ids, cpu.ids);
    assert_eq!(cuda.sampled_expected_count, cpu.sampled_expected_count);
    let unit = if counts == F64 { 1e-14 } else { 2f64.powi(-23) };
    let want = cpu.true_expected_count.values();
    assert_close("true counts", &cuda.true_expected_count.values(), &want, |index| unit * want[index]);
}

#[test]
fn every_sampler_draws_what_the_cpu_engine_draws() {
    emulated(every_sampler_draws_what_the_cpu_engine_draws, "all", &[], || {
        for sampler in SAMPLERS {
            for (sampling, rule, counts) in [
                (SSL_SAMPLING_UNIQUE, SSL_COUNTS_TF, F32),
                (SSL_SAMPLING_UNIQUE, SSL_COUNTS_EXACT, F64),
                (SSL_SAMPLING_REPLACEMENT, SSL_COUNTS_TF, F64),
            ] {
                let config = ssl_config { sampling, counts: rule, ..drawing_config(sampler) };
                let (cuda, cpu) = (on(SSL_BACKEND_CUDA, config), on(SSL_BACKEND_CPU, config));
                // As a run goes, then back, then the same again, then far off.
                for step in [0, 1, 2, 3, 1, 1, 2, u64::MAX, 0, 7] {
                    let case = case(counts);
                    let got = forward(&case, &cuda, step);
                    let want = forward(&case, &cpu, step);
                    assert_same_draw(&got, &want, counts);
                    let waits = sampler == SSL_SAMPLER_LEARNED_UNIGRAM;
                    assert_eq!(got.num_tries, if waits { -1 } else { want.num_tries });
                    assert_eq!(got.device_status, 0);
                }
            }
        }
    });
}

/// Where every class that can be drawn is, Q is 1 for each of them alone.
#[test]
fn a_label_of_weight_0_is_at_fault_where_all_others_are_drawn() {
    emulated(a_label_of_weight_0_is_at_fault_where_all_others_are_drawn, "all", &[], || {
        let case = case(F32);
        let never = case.labels[0];
        let weights: Vec<f64> = (0..100).map(|class| f64::from(class != never as i32)).collect();
        let config = ssl_config {
            backend: SSL_BACKEND_CUDA,
            num_sampled: 99,
            unigrams: weights.as_ptr(),
            num_unigrams: 100,
            ..drawing_config(SSL_SAMPLER_FIXED_UNIGRAM)
        };
        let case = Case { ids: vec![0; 99], sampled_expected_count: vec![0.0; 99], ..case };
        let outputs = forward(&case, &Arc::new(Handle::create(&config).unwrap()), 0);
        assert_eq!(outputs.device_status, SSL_STATUS_EXPECTED_COUNT as u32);
        let counts = outputs.true_expected_count.values();
        for (label, count) in case.labels.iter().zip(counts) {
            assert_eq!(count, if *label == never { 0.0 } else { 1.0 }, "label {label}");
        }
        assert!(outputs.loss.get(0).is_nan());
    });
}

#[test]
fn sample_draws_what_the_cpu_engine_draws() {
    emulated(sample_draws_what_the_cpu_engine_draws, "all", &[], || {
        for sampler in SAMPLERS {
            for hits in [SSL_HITS_MASK, SSL_HITS_EXCLUDE] {
                let config = ssl_config { hits, ..drawing_config(sampler) };
                let handles = [SSL_BACKEND_CUDA, SSL_BACKEND_CPU].map(|backend| on(backend, config));
                let case = case(F64);
                for step in 0..3 {
                    let [cuda, cpu] = handles.clone().map(|handle| {
                        let mut call = Call::drawing(&case, handle, step);
                        call.sample().unwrap();
                        call.outputs
                    });
                    assert_same_draw(&cuda, &cpu, F64);
                }
                let [cuda, cpu] = handles.map(|handle| learned_counts(&handle));
                assert_eq!(cuda, cpu);
            }
        }
    });
}

#[test]
fn all_classes_are_the_full_softmax() {
    emulated(all_classes_are_the_full_softmax, "all", &[], || {
        let mut case = case(F32);
        case.ids = vec![0; 100];
        case.sampled_expected_count = vec![1.0; 100];
        let config = ssl_config { num_sampled: 100, ..drawing_config(SSL_SAMPLER_ALL) };
        let (cuda, cpu) = (on(SSL_BACKEND_CUDA, config), on(SSL_BACKEND_CPU, config));
        for step in 0..2 {
            assert_same_draw(&forward(&case, &cuda, step), &forward(&case, &cpu, step), F32);
        }
    });
}

#[test]
fn labels_are_excluded_and_learned_as_on_the_cpu() {
    emulated(labels_are_excluded_and_learned_as_on_the_cpu, "all", &[], || {
        for sampler in SAMPLERS {
            for labels in [SSL_LABELS_INT64, SSL_LABELS_INT32] {
                let config = ssl_config { hits: SSL_HITS_EXCLUDE, ..drawing_config(sampler) };
                let (cuda, cpu) = (on(SSL_BACKEND_CUDA, config), on(SSL_BACKEND_CPU, config));
                for step in 0..6 {
                    // More labels with every step: the memory for them grows.
                    let mut case = common::Case::random(
                        [2 + step as usize, 5, 100, 20, 2],
                        &mut common::Random::new(step),
                    );
                    case.types.labels = labels;
                    case.hits = SSL_HITS_EXCLUDE;
                    case.ignore_index = Some(-1);
                    case.labels[..2].fill(-1);
                    let got = forward(&case, &cuda, step);
                    assert_eq!(got.device_status, 0);
                    assert!(got.ids.iter().all(|id| !case.labels.contains(id)));
                    assert_same_draw(&got, &forward(&case, &cpu, step), F32);
                }
                assert_eq!(learned_counts(&cuda), learned_counts(&cpu));
            }
        }
    });
}

#[test]
fn avoided_ids_are_not_drawn() {
    emulated(avoided_ids_are_not_drawn, "all", &[], || {
        let avoid: Vec<i64> = (0..40).chain(3..9).collect();
        for (sampler, hits) in [(0, 0), (1, 0), (2, 0), (3, 0), (1, SSL_HITS_EXCLUDE)] {
            let config = ssl_config { hits, ..drawing_config(sampler) };
            let [cuda, cpu] = [SSL_BACKEND_CUDA, SSL_BACKEND_CPU].map(|backend| {
                let handle = on(backend, config);
                // What comes behind a draw that avoids was not drawn ahead to avoid.
                [None, Some(&avoid), None, Some(&avoid)].map(|avoid| {
                    let mut call = Call::drawing(&Case { hits, ..case(F64) }, Arc::clone(&handle), 5);
                    let mut arguments = call.arguments_with_workspace(0);
                    if let Some(avoid) = avoid {
                        arguments.candidates.avoid = avoid.as_ptr();
                        arguments.candidates.num_avoid = avoid.len() as i64;
                    }
                    arguments.forward(&handle).unwrap();
                    call.outputs
                })
            });
            for (cuda, cpu) in cuda.iter().zip(&cpu) {
                assert_same_draw(cuda, cpu, F64);
            }
            assert!(cuda[1].ids.iter().all(|id| !avoid.contains(id)));
        }
    });
}

#[test]
fn drawn_and_given_candidates_give_the_same_bits() {
    emulated(drawn_and_given_candidates_give_the_same_bits, "all", &[], || {
        for sampler in SAMPLERS {
            let handle = on(SSL_BACKEND_CUDA, drawing_config(sampler));
            let mut drawn = Call::drawing(&case(F64), Arc::clone(&handle), 3);
            drawn.forward_backward().unwrap();
            let mut given = Call::on(&drawn.drawn_case(), handle);
            given.forward_backward().unwrap();
            assert_eq!(given.outputs.loss, drawn.outputs.loss);
            assert_eq!(given.outputs.d_weights, drawn.outputs.d_weights);
            assert_eq!(given.outputs.row_ids, drawn.outputs.row_ids);
        }
    });
}

#[test]
fn what_a_sampler_refuses_is_refused_at_once() {
    emulated(what_a_sampler_refuses_is_refused_at_once, "all", &[], || {
        let handle = on(SSL_BACKEND_CUDA, drawing_config(SSL_SAMPLER_UNIFORM));
        let (outside, too_many) = ([100_i64], (0..81).collect::<Vec<i64>>());
        for (avoid, status) in [(&outside[..], SSL_STATUS_LABEL_RANGE), (&too_many, SSL_STATUS_INVALID_VALUE)]
        {
            let mut call = Call::drawing(&case(F32), Arc::clone(&handle), 0);
            let untouched = call.outputs.clone();
            let mut arguments = call.arguments_with_workspace(0);
            arguments.candidates.avoid = avoid.as_ptr();
            arguments.candidates.num_avoid = avoid.len() as i64;
            assert_eq!(arguments.forward(&handle).unwrap_err().status, status);
            assert_eq!(call.outputs, untouched);
        }
        let caller = on(SSL_BACKEND_CUDA, drawing_config(SSL_SAMPLER_CALLER));
        let failure = Call::drawing(&case(F32), caller, 0).forward().unwrap_err();
        assert!(failure.message.contains("SSL_SAMPLER_CALLER"), "{}", failure.message);

        let learning = on(SSL_BACKEND_CUDA, drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM));
        let mut counts = vec![0; 100];
        let mut call = Call::drawing(&case(F32), Arc::clone(&learning), 0);
        let mut arguments = call.arguments_with_workspace(0);
        arguments.candidates.learned_counts = counts.as_mut_ptr();
        let failure = arguments.forward(&learning).unwrap_err();
        assert!(failure.message.contains("ids = NULL"), "{}", failure.message);
    });
}

#[test]
fn a_draw_that_fails_on_the_stream_leaves_its_status() {
    emulated(a_draw_that_fails_on_the_stream_leaves_its_status, "all", &[], || {
        let exclude = ssl_config { hits: SSL_HITS_EXCLUDE, ..drawing_config(SSL_SAMPLER_UNIFORM) };
        let learned = drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM);
        let few = Case {
            labels: (0..100).collect(),
            rows: 50,
            ..common::Case::random([50, 5, 100, 20, 2], &mut common::Random::new(1))
        };
        let mut outside = common::Case::random([6, 5, 100, 20, 2], &mut common::Random::new(1));
        outside.labels[3] = 100;
        for (config, case, status) in [
            (exclude, &few, SSL_STATUS_INVALID_VALUE),
            (exclude, &outside, SSL_STATUS_LABEL_RANGE),
            (learned, &outside, SSL_STATUS_LABEL_RANGE),
        ] {
            let handle = on(SSL_BACKEND_CUDA, config);
            let mut call = Call::drawing(case, Arc::clone(&handle), 0);
            call.forward_backward().unwrap();
            assert_eq!(call.outputs.device_status, status as u32);
            assert!(call.outputs.loss.values().iter().all(|loss| loss.is_nan()));
            assert!(call.outputs.d_inputs.values().iter().all(|&x| x == 0.0));
            assert_eq!(call.outputs.ids, vec![-1; 20]);
            // Backward finds the candidates at fault too, and the handle goes on working.
            call.backward().unwrap();
            assert!(call.outputs.d_inputs.values().iter().all(|&x| x == 0.0));
            let good = common::Case::random([3, 5, 100, 20, 2], &mut common::Random::new(2));
            assert_eq!(forward(&good, &handle, 1).device_status, 0);
        }
    });
}

/// Several steps are under way before the first has run.
#[test]
fn slots_are_not_written_while_the_stream_still_reads_them() {
    let settings = [("FAKE_CUDA_DEFER", "1")];
    emulated(slots_are_not_written_while_the_stream_still_reads_them, "all", &settings, || {
        let driver = Driver::open();
        let stream = driver.stream();
        for (sampler, hits) in
            [(SSL_SAMPLER_LOG_UNIFORM, 0), (SSL_SAMPLER_LEARNED_UNIGRAM, 0), (0, SSL_HITS_EXCLUDE)]
        {
            let config = ssl_config { hits, ..drawing_config(sampler) };
            let (cuda, cpu) = (on(SSL_BACKEND_CUDA, config), on(SSL_BACKEND_CPU, config));
            let case = Case { hits, ..case(F64) };
            let mut calls: Vec<Call> =
                (0..12).map(|step| Call::drawing(&case, Arc::clone(&cuda), step)).collect();
            for call in &mut calls {
                let mut arguments = call.arguments_for_all();
                arguments.stream = stream;
                arguments.forward_backward(&cuda).unwrap();
            }
            driver.synchronize(stream);
            for (step, call) in calls.iter().enumerate() {
                assert_same_draw(&call.outputs, &forward(&case, &cpu, step as u64), F64);
            }
        }
        driver.destroy_stream(stream);
    });
}

#[test]
fn threads_on_streams_of_their_own_get_their_own_draws() {
    emulated(threads_on_streams_of_their_own_get_their_own_draws, "all", &[], || {
        let driver = Driver::open();
        let config = drawing_config(SSL_SAMPLER_LOG_UNIFORM);
        let (cuda, cpu) = (on(SSL_BACKEND_CUDA, config), on(SSL_BACKEND_CPU, config));
        let case = case(F64);
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let (cuda, cpu, case, driver) = (&cuda, &cpu, &case, &driver);
                scope.spawn(move || {
                    driver.enter();
                    let stream = driver.stream();
                    for round in 0..8 {
                        let step = round * 3 + thread;
                        let mut call = Call::drawing(case, Arc::clone(cuda), step);
                        let mut arguments = call.arguments_with_workspace(0);
                        arguments.stream = stream;
                        arguments.forward(cuda).unwrap();
                        driver.synchronize(stream);
                        assert_same_draw(&call.outputs, &forward(case, cpu, step), F64);
                    }
                    driver.destroy_stream(stream);
                });
            }
        });
    });
}

#[test]
fn after_the_first_call_nothing_is_allocated_or_waited_for() {
    emulated(after_the_first_call_nothing_is_allocated_or_waited_for, "all", &[], || {
        let driver = Driver::open();
        for (sampler, hits) in
            [(SSL_SAMPLER_LOG_UNIFORM, 0), (SSL_SAMPLER_LEARNED_UNIGRAM, 0), (2, SSL_HITS_EXCLUDE)]
        {
            let handle = on(SSL_BACKEND_CUDA, ssl_config { hits, ..drawing_config(sampler) });
            let case = Case { hits, ..case(F64) };
            let run = |steps: std::ops::Range<u64>| {
                for step in steps {
                    let mut call = Call::drawing(&case, Arc::clone(&handle), step);
                    call.forward_backward().unwrap();
                }
            };
            run(0..6);
            let counted = || {
                [
                    "cuMemAlloc_v2",
                    "cuMemHostAlloc",
                    "cuModuleLoadData",
                    "cuEventCreate",
                    "cuStreamSynchronize",
                    "cuCtxSynchronize",
                ]
                .map(|name| driver.calls(name))
            };
            let before = counted();
            run(6..16);
            assert_eq!(counted(), before);
        }
        assert_eq!(driver.context_depth(), 1);
    });
}
