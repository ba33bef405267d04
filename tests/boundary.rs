//! Random calls of the whole C ABI, valid and not, in any order: see tests/fuzz/mod.rs.
//!
//!     SAMPLED_SOFTMAX_FUZZ=cpu:7:49 cargo test --test boundary -- --ignored one_case --nocapture
//!         case 49 of seed 7 on the CPU engine, every call printed before it is made
//!     make fuzz CALLS=20000000
//!         as many calls, by processes side by side, each with a seed of its own
#![cfg(unix)]

mod common;
mod fuzz;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Instant;

use common::emulated::output_of;
use fuzz::Session;
use fuzz::choices::bytes_of;
use fuzz::counts::Counts;
use sampled_softmax::abi::*;

/// The name of the case that runs, for whoever is left when a signal ends it.
static CURRENT: [AtomicU8; 64] = [const { AtomicU8::new(b' ') }; 64];

fn name_current_case(name: &str) {
    let padding = std::iter::repeat(b' ');
    for (place, byte) in CURRENT.iter().zip(name.bytes().chain(padding)) {
        place.store(byte, Ordering::Relaxed);
    }
}

/// Says which case it was that a signal ends.
extern "C" fn on_signal(signal: libc::c_int) {
    let end = if signal == libc::SIGALRM { b"hangs: " } else { b"crash: " };
    // SAFETY: all of these may be called in a signal handler.
    unsafe {
        libc::write(2, end.as_ptr().cast(), end.len());
        libc::write(2, CURRENT.as_ptr().cast(), CURRENT.len());
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Seconds that one case may take, on a busy machine.
const PATIENCE: u32 = 120;
/// Bytes of address space beyond what the process starts with (a sanitizer's shadow is vast):
/// what cannot be had is refused rather than waited for.
const MOST_MEMORY: u64 = 3 << 30;

fn guard_this_process() {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number");
    // SAFETY: plain settings of this process, which is the cases' own.
    unsafe {
        let most = pages * libc::sysconf(libc::_SC_PAGESIZE) as u64 + MOST_MEMORY;
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGABRT, libc::SIGALRM] {
            libc::signal(signal, on_signal as *const () as usize);
        }
    }
}

/// Runs cases of a seed until so many calls are made, and prints how many of each kind.
fn run_cases(backend: u32, seed: u64, calls: u64) {
    guard_this_process();
    let (start, mut session) = (Instant::now(), Session::default());
    for number in 0.. {
        let name = format!("{}:{seed}:{number}", engine(backend));
        name_current_case(&name);
        // SAFETY: ends this process where a case hangs.
        unsafe { libc::alarm(PATIENCE) };
        let bytes = bytes_of(seed, number);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| session.run(&bytes, backend))) {
            println!("SAMPLED_SOFTMAX_FUZZ={name}, once more with its calls:");
            Session::traced().run(&bytes, backend);
            resume_unwind(payload);
        }
        if session.counts.total() >= calls {
            break;
        }
    }
    println!("{}", session.counts);
    println!("compared {}", session.compared);
    println!("seconds {:.1}", start.elapsed().as_secs_f64());
}

fn engine(backend: u32) -> &'static str {
    if backend == SSL_BACKEND_CUDA { "cuda" } else { "cpu" }
}

/// The same in a process of its own on the emulated driver; what it printed.
fn in_own_process<T: Fn()>(test: T, backend: u32, seed: u64, calls: u64) -> Option<String> {
    let own_seed = seed.to_string();
    let settings = [("SAMPLED_SOFTMAX_NUM_THREADS", "1"), (SEED, &own_seed[..])];
    let part = format!("{} {seed} {calls}", engine(backend));
    output_of(test, &part, &settings, || run_cases(backend, seed, calls))
}

fn assert_reached(counts: &Counts, engine: &str, statuses: &[ssl_status]) {
    for &status in statuses {
        assert!(counts.of_status(engine, status) > 0, "{engine} never gave {status}:\n{counts}");
    }
}

/// What arguments bring about, whatever the engine.
const OF_ARGUMENTS: [ssl_status; 8] = [
    SSL_STATUS_OK,
    SSL_STATUS_INVALID_VALUE,
    SSL_STATUS_NULL_POINTER,
    SSL_STATUS_STRUCT_SIZE,
    SSL_STATUS_SHAPE,
    SSL_STATUS_DTYPE,
    SSL_STATUS_ALIGNMENT,
    SSL_STATUS_WORKSPACE,
];

/// What takes more cases, and what only the CPU engine answers with.
const OF_THE_CPU: [ssl_status; 5] = [
    SSL_STATUS_LABEL_RANGE,
    SSL_STATUS_EXPECTED_COUNT,
    SSL_STATUS_OVERLAP,
    SSL_STATUS_HOST_MEMORY,
    SSL_STATUS_FILE,
];

#[test]
fn random_calls_on_the_cpu_engine_keep_the_rules() {
    let test = random_calls_on_the_cpu_engine_keep_the_rules;
    let Some(text) = in_own_process(test, SSL_BACKEND_CPU, 1, 100_000) else { return };
    let counts = Counts::parse(&text);
    println!("{text}");
    assert_reached(&counts, "cpu", &OF_ARGUMENTS);
    assert_reached(&counts, "cpu", &OF_THE_CPU);
}

#[test]
fn random_calls_on_the_cuda_engine_keep_the_rules() {
    let test = random_calls_on_the_cuda_engine_keep_the_rules;
    let Some(text) = in_own_process(test, SSL_BACKEND_CUDA, 1, 1_500) else { return };
    println!("{text}");
    assert_reached(&Counts::parse(&text), "cuda", &OF_ARGUMENTS);
}

/// The same cases, whenever they run.
#[test]
fn a_seed_decides_every_choice() {
    assert_eq!(bytes_of(3, 4), bytes_of(3, 4));
    assert_ne!(bytes_of(3, 4), bytes_of(3, 5));
    assert_ne!(bytes_of(3, 4), bytes_of(4, 4));
}

#[test]
#[ignore = "replays the case that SAMPLED_SOFTMAX_FUZZ names"]
fn one_case() {
    let case = env::var("SAMPLED_SOFTMAX_FUZZ").expect("SAMPLED_SOFTMAX_FUZZ=engine:seed:number");
    let mut parts = case.split(':');
    let backend = if parts.next() == Some("cuda") { SSL_BACKEND_CUDA } else { SSL_BACKEND_CPU };
    let numbers: Vec<u64> = parts.map(|part| part.parse().expect("engine:seed:number")).collect();
    let text = output_of(one_case, &case, &[("SAMPLED_SOFTMAX_NUM_THREADS", "1")], || {
        guard_this_process();
        Session::traced().run(&bytes_of(numbers[0], numbers[1]), backend);
    });
    println!("{}", text.unwrap_or_default());
}

/// The first seed of a long run; that of a process of it.
const SEED: &str = "SAMPLED_SOFTMAX_FUZZ_SEED";

/// Calls of one process of a long run; those of the two engines run side by side.
const SHARE: [(u32, u64); 2] = [(SSL_BACKEND_CPU, 1_000_000), (SSL_BACKEND_CUDA, 10_000)];

#[test]
#[ignore = "takes as long as SAMPLED_SOFTMAX_FUZZ_CALLS says: make fuzz"]
fn a_long_run() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let calls = number("SAMPLED_SOFTMAX_FUZZ_CALLS").unwrap_or(1_000_000);
    let seed = number(SEED).unwrap_or(1000);
    let (start, mut all, mut compared) = (Instant::now(), Counts::default(), 0);
    for round in 0.. {
        let texts = thread::scope(|scope| {
            let run = |(backend, share): (u32, u64)| {
                in_own_process(a_long_run, backend, seed + round, share.min(calls))
            };
            SHARE.map(|share| scope.spawn(move || run(share))).map(|thread| thread.join().expect("a failure"))
        });
        for text in texts.into_iter().flatten() {
            all.merge(&Counts::parse(&text));
            let line = text.lines().find_map(|line| line.strip_prefix("compared "));
            compared += line.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        }
        if env::var_os("SAMPLED_SOFTMAX_TEST_PART").is_some() {
            return;
        }
        println!(
            "{all}{} calls, {compared} comparisons with the reference, seeds {seed} to {}, {:.0} s\n",
            all.total(),
            seed + round,
            start.elapsed().as_secs_f64()
        );
        if all.total() >= calls {
            return;
        }
    }
}
