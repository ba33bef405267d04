//! Many threads, handles and streams at once: results are those of a lone call, a learning
//! sampler counts every label once, messages stay with their thread, and handles may be
//! made, used and destroyed by any thread in any order. On both engines.

mod common;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

use common::drawing::{
    SAMPLERS, drawing_case, drawing_config, drawing_handle, draws, learned_counts, on, sampled,
};
use common::driver::Driver;
use common::emulated::emulated;
use common::{Call, Case, F32, Handle, Outputs, Random, Types, default_config};
use libc::c_void;
use sampled_softmax::abi::*;

/// How much of it there is: the emulated device is slow.
#[derive(Clone, Copy)]
struct Scale {
    backend: u32,
    threads: u64,
    calls: usize,
    handles: u64,
}

const CPU: Scale = Scale { backend: SSL_BACKEND_CPU, threads: 8, calls: 250, handles: 6 };
const CUDA: Scale = Scale { backend: SSL_BACKEND_CUDA, threads: 4, calls: 25, handles: 4 };

/// Streams of a thread; the CPU engine has none.
struct Streams {
    driver: Option<Driver>,
    all: Vec<*mut c_void>,
}

impl Streams {
    fn new(backend: u32) -> Streams {
        if backend == SSL_BACKEND_CPU {
            return Streams { driver: None, all: vec![std::ptr::null_mut()] };
        }
        let driver = Driver::open();
        let all = (0..3).map(|_| driver.stream()).collect();
        Streams { driver: Some(driver), all }
    }

    fn any(&self, random: &mut Random) -> *mut c_void {
        self.all[random.below(self.all.len())]
    }

    fn wait(&self, stream: *mut c_void) {
        if let Some(driver) = &self.driver {
            driver.synchronize(stream);
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            self.all.iter().for_each(|stream| driver.destroy_stream(*stream));
        }
    }
}

/// A problem whose work several threads of a handle share on the CPU.
fn given(scale: Scale, seed: u64) -> Case {
    let shape = if scale.backend == SSL_BACKEND_CPU { [70, 64, 400, 150, 2] } else { [6, 16, 100, 20, 2] };
    let mut case = Case::random(shape, &mut Random::new(seed));
    case.backend = scale.backend;
    case.num_threads = 1 + seed as u32 % 4;
    case
}

/// One of the calls that threads make, on a handle that several use, with what it gives
/// when it is made alone.
struct Task {
    case: Case,
    handle: Arc<Handle>,
    step: Option<u64>,
    /// In two calls, and in one, whose last bits differ on the CUDA engine.
    expected: [Outputs; 2],
}

impl Task {
    fn new(case: Case, handle: Arc<Handle>, step: Option<u64>) -> Task {
        let expected = [Outputs::new(&case), Outputs::new(&case)];
        let task = Task { case, handle, step, expected };
        let streams = Streams::new(task.case.backend);
        let expected = [false, true].map(|at_once| task.outputs(&streams, streams.all[0], at_once));
        Task { expected, ..task }
    }

    /// In one call or in two.
    fn outputs(&self, streams: &Streams, stream: *mut c_void, at_once: bool) -> Outputs {
        let mut call = match self.step {
            Some(step) => Call::drawing(&self.case, Arc::clone(&self.handle), step),
            None => Call::on(&self.case, Arc::clone(&self.handle)),
        };
        let mut arguments = call.arguments_for_all();
        arguments.stream = stream;
        if at_once {
            arguments.forward_backward(&call.handle).unwrap();
        } else {
            arguments.forward(&call.handle).unwrap();
            arguments.backward(&call.handle).unwrap();
        }
        streams.wait(stream);
        call.outputs
    }
}

/// Tasks on handles of each kind: with given candidates, and with every sampler that draws
/// the same again.
fn tasks(scale: Scale) -> Vec<Task> {
    let mut tasks = Vec::new();
    for seed in 0..scale.handles {
        let case = given(scale, seed);
        let handle = Arc::new(Handle::create(&case.config()).unwrap());
        tasks.push(Task::new(case, handle, None));
    }
    for sampler in &SAMPLERS[..3] {
        for hits in [SSL_HITS_MASK, SSL_HITS_EXCLUDE] {
            let config = ssl_config { num_threads: 3, hits, ..drawing_config(*sampler) };
            let handle = on(scale.backend, config);
            let types = Types::all(F32);
            let case = Case { types, hits, backend: scale.backend, ..drawing_case(1) };
            tasks.extend((0..4).map(|step| Task::new(case.clone(), Arc::clone(&handle), Some(step))));
        }
    }
    tasks
}

fn assert_lone_results(scale: Scale) {
    let tasks = tasks(scale);
    thread::scope(|scope| {
        for thread in 0..scale.threads {
            let tasks = &tasks;
            scope.spawn(move || {
                let (mut random, streams) = (Random::new(thread), Streams::new(scale.backend));
                for call in 0..scale.calls {
                    let (task, at_once) = (random.below(tasks.len()), random.below(2));
                    let stream = streams.any(&mut random);
                    let outputs = tasks[task].outputs(&streams, stream, at_once == 1);
                    let same = outputs == tasks[task].expected[at_once];
                    assert!(same, "thread {thread}, call {call}: task {task}, at once {at_once}");
                }
            });
        }
    });
}

#[test]
fn results_of_many_threads_are_those_of_lone_calls() {
    assert_lone_results(CPU);
    let test = results_of_many_threads_are_those_of_lone_calls;
    for defer in ["0", "1"] {
        emulated(test, defer, &[("FAKE_CUDA_DEFER", defer)], || assert_lone_results(CUDA));
    }
}

fn assert_every_label_is_counted(scale: Scale) {
    let handle = on(scale.backend, drawing_config(SSL_SAMPLER_LEARNED_UNIGRAM));
    let expected: Vec<AtomicI64> = (0..100).map(|_| AtomicI64::new(1)).collect();
    thread::scope(|scope| {
        for thread in 0..scale.threads {
            let (handle, expected) = (&handle, &expected);
            scope.spawn(move || {
                let (mut random, streams) = (Random::new(thread), Streams::new(scale.backend));
                for round in 0..scale.calls {
                    let case = Case { types: Types::all(F32), ..drawing_case(thread * 1000 + round as u64) };
                    let mut call = Call::drawing(&case, Arc::clone(handle), round as u64);
                    let mut arguments = call.arguments_for_all();
                    arguments.stream = streams.any(&mut random);
                    match round % 3 {
                        0 => arguments.forward(handle),
                        1 => arguments.forward_backward(handle),
                        _ => arguments.sample(handle),
                    }
                    .unwrap();
                    streams.wait(arguments.stream);
                    for label in &case.labels {
                        expected[*label as usize].fetch_add(1, Relaxed);
                    }
                    // A copy taken meanwhile has all labels of a call or none.
                    let so_far: i64 = learned_counts(handle).unwrap().iter().sum();
                    assert_eq!((so_far - 100) % case.labels.len() as i64, 0);
                }
            });
        }
    });
    let expected: Vec<i64> = expected.into_iter().map(AtomicI64::into_inner).collect();
    assert_eq!(expected.iter().sum::<i64>(), 100 + 12 * (scale.threads as usize * scale.calls) as i64);
    assert_eq!(learned_counts(&handle), Some(expected));
}

#[test]
fn a_learning_sampler_counts_every_label_once() {
    assert_every_label_is_counted(CPU);
    emulated(a_learning_sampler_counts_every_label_once, "all", &[], || assert_every_label_is_counted(CUDA));
}

fn assert_messages_stay(scale: Scale) {
    let handle = on(scale.backend, drawing_config(SSL_SAMPLER_UNIFORM));
    let case = Case { types: Types::all(F32), backend: scale.backend, ..drawing_case(1) };
    thread::scope(|scope| {
        for thread in 0..scale.threads as i64 {
            let (handle, case) = (&handle, &case);
            scope.spawn(move || {
                assert_eq!(common::last_error(), "");
                let mut call = Call::drawing(case, Arc::clone(handle), 0);
                let mut arguments = call.arguments_for_all();
                let enough = arguments.workspace_size;
                for round in 0..scale.calls as i64 {
                    let number = -(thread * 1_000_000 + round + 1);
                    let config = ssl_config { num_classes: 10, num_sampled: number, ..default_config() };
                    assert!(Handle::create(&config).is_err());
                    arguments.workspace_size = enough;
                    arguments.sample(handle).unwrap();
                    assert!(common::last_error().contains(&format!("{number}")), "{}", common::last_error());
                    arguments.workspace_size = thread as usize;
                    let failure = arguments.forward(handle).unwrap_err();
                    assert!(failure.message.ends_with(&format!("got {thread}")), "{}", failure.message);
                }
            });
        }
    });
}

#[test]
fn messages_stay_with_their_thread() {
    assert_messages_stay(CPU);
    emulated(messages_stay_with_their_thread, "all", &[], || assert_messages_stay(CUDA));
}

/// Of the pool: a handle and its kind.
type Place = Option<(u32, Arc<Handle>)>;

/// Every thread replaces, uses and destroys handles of a common pool, whoever made them.
fn assert_any_order_works(scale: Scale) {
    let pool: Vec<Mutex<Place>> = (0..scale.handles).map(|_| Mutex::new(None)).collect();
    const KINDS: u32 = 12;
    let create = |kind: u32| {
        drawing_handle(ssl_config {
            backend: scale.backend,
            num_threads: 1 + kind % 3,
            hits: if kind.is_multiple_of(2) { SSL_HITS_MASK } else { SSL_HITS_EXCLUDE },
            ..drawing_config(SAMPLERS[kind as usize % 3])
        })
    };
    let case = Case { types: Types::all(F32), ..drawing_case(1) };
    let expected: Vec<_> = (0..KINDS).map(|kind| draws(&sampled(&case, &create(kind), 5))).collect();
    let (made, used) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..scale.threads {
            let (pool, create, expected, case, made, used) = (&pool, &create, &expected, &case, &made, &used);
            scope.spawn(move || {
                let mut random = Random::new(100 + thread);
                for _ in 0..scale.calls {
                    let place = &pool[random.below(pool.len())];
                    match random.below(4) {
                        0 => {
                            let kind = random.below(KINDS as usize) as u32;
                            let handle = create(kind);
                            let earlier = place.lock().unwrap().replace((kind, handle));
                            made.fetch_add(1, Relaxed);
                            drop(earlier);
                        }
                        1 => drop(place.lock().unwrap().take()),
                        _ => {
                            let found = place.lock().unwrap().clone();
                            if let Some((kind, handle)) = found {
                                assert_eq!(draws(&sampled(case, &handle, 5)), expected[kind as usize]);
                                used.fetch_add(1, Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });
    let calls = scale.threads * scale.calls as u64;
    assert!(made.load(Relaxed) > calls / 8 && used.load(Relaxed) > calls / 8);
}

#[test]
fn handles_are_made_used_and_destroyed_in_any_order() {
    assert_any_order_works(CPU);
    emulated(handles_are_made_used_and_destroyed_in_any_order, "all", &[], || assert_any_order_works(CUDA));
}
