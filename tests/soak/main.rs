//! Very many random calls, each beside the float64 reference within its own tolerance.
//!
//! ```text
//! SAMPLED_SOFTMAX_SOAK_CASES    how many calls, shared by the instruction sets (1000)
//! SAMPLED_SOFTMAX_SOAK_SEED     the first call's number (0); a failure names the number
//!                               of its call, to be made alone with it and one case
//! SAMPLED_SOFTMAX_SOAK_ENGINE   cpu, or cuda: the CUDA engine on the emulated driver
//! ```

#[path = "../common/mod.rs"]
mod common;
mod draws;
mod trial;

use std::env;
use std::str::FromStr;

use common::emulated::output_of;
use common::{
    Accuracy, Worst, assert_loss_matches_reference, assert_matches_reference_within,
    own_process::in_own_process,
};
use sampled_softmax::abi::*;
use trial::{Route, Trial};

fn setting<T: FromStr>(name: &str, default: T) -> T {
    let Ok(text) = env::var(format!("SAMPLED_SOFTMAX_SOAK_{name}")) else { return default };
    text.parse().unwrap_or_else(|_| panic!("SAMPLED_SOFTMAX_SOAK_{name}={text}"))
}

#[test]
fn random_calls_match_the_reference() {
    let cases: u64 = setting("CASES", 1000);
    if setting("ENGINE", "cpu".to_owned()) == "cuda" {
        let part = output_of(random_calls_match_the_reference, "cuda", &[], || soak("cuda", 0, 1, cases));
        report("cuda", part);
        return;
    }
    let sets = common::instruction_sets();
    for (index, name) in sets.iter().enumerate() {
        let part = in_own_process(
            random_calls_match_the_reference,
            name,
            |command| {
                command.env("SAMPLED_SOFTMAX_ISA", name);
            },
            || soak(name, index as u64, sets.len() as u64, cases),
        );
        report(name, part);
    }
}

/// Passes on what a part has printed of itself.
fn report(name: &str, part: Option<String>) {
    let text = part.unwrap_or_default();
    text.lines().filter(|line| line.contains("worst")).for_each(|line| println!("{name}: {line}"));
}

/// Names the call that a panic comes from.
struct Announced(u64, String);

impl Drop for Announced {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("call {}: {}", self.0, self.1);
        }
    }
}

/// Calls `first, first + by, ...` of `cases`, on all cores.
fn soak(name: &str, first: u64, by: u64, cases: u64) {
    let start: u64 = setting("SEED", 0);
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let totals: Vec<Total> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut total = Total::default();
                    let numbers =
                        (0..cases).skip((first + thread * by) as usize).step_by((threads * by) as usize);
                    numbers.for_each(|number| total.add(start + number, run(start + number, name)));
                    total
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let total = totals.into_iter().reduce(Total::join).expect("at least one thread");
    println!("worst errors of {} calls, in units of their tolerance:{}", total.calls, total.in_words());
}

/// The largest errors so far, and the calls they come from.
#[derive(Default)]
struct Total {
    calls: u64,
    worst: [(f64, u64); 6],
}

const OUTPUTS: [&str; 6] = ["loss", "log_sum_exp", "d_inputs", "d_weights", "d_biases", "expected counts"];

impl Total {
    fn add(&mut self, call: u64, errors: [f64; 6]) {
        self.calls += 1;
        for (worst, error) in self.worst.iter_mut().zip(errors) {
            if error > worst.0 {
                *worst = (error, call);
            }
        }
    }

    fn join(mut self, other: Total) -> Total {
        self.calls += other.calls;
        for (worst, other) in self.worst.iter_mut().zip(other.worst) {
            if other.0 > worst.0 {
                *worst = other;
            }
        }
        self
    }

    fn in_words(&self) -> String {
        let parts = OUTPUTS.iter().zip(self.worst);
        parts.map(|(name, (error, call))| format!(" {name} {error:.3} (call {call})")).collect()
    }
}

/// Makes a call and compares it; the largest error of each output.
fn run(seed: u64, engine: &str) -> [f64; 6] {
    let backend = if engine == "cuda" { SSL_BACKEND_CUDA } else { SSL_BACKEND_CPU };
    let trial = Trial::of(seed, backend);
    let accuracy = if backend == SSL_BACKEND_CUDA { Accuracy::of_cuda(&trial.case) } else { Accuracy::FULL };
    let _announced = Announced(seed, describe(&trial));
    let mut call = trial.call();
    let worst = match trial.route {
        Route::Forward => {
            call.forward().unwrap();
            assert_loss_matches_reference(&call, accuracy)
        }
        Route::ForwardThenBackward => {
            call.forward().unwrap();
            call.backward().unwrap();
            assert_matches_reference_within(&call, accuracy)
        }
        Route::Both => {
            call.forward_backward().unwrap();
            assert_matches_reference_within(&call, accuracy)
        }
    };
    let counts = trial.sampler.as_ref().map_or(0.0, |sampler| draws::assert_draw(&trial, sampler, &call));
    let Worst { loss, log_sum_exp, d_inputs, d_weights, d_biases } = worst;
    [loss, log_sum_exp, d_inputs, d_weights, d_biases, counts]
}

fn describe(trial: &Trial) -> String {
    let case = &trial.case;
    format!(
        "N {} d {} C {} S {} T {} {:?} {:?} hits {} reduction {} layout {} floor {} threads {} {:?}, sampler {:?}",
        case.rows,
        case.dim,
        case.classes,
        case.sampled(),
        case.num_true,
        trial.route,
        case.types,
        case.hits,
        case.reduction,
        case.layout,
        case.probability_floor,
        case.num_threads,
        case.wanted,
        trial.sampler.as_ref().map(|sampler| (
            sampler.kind,
            sampler.sampling,
            sampler.counts,
            &sampler.avoid
        )),
    )
}
