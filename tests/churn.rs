//! Handles made and destroyed without end leave nothing: no byte, no page, no file, no
//! thread, and nothing on the device. SAMPLED_SOFTMAX_CHURN sets the rounds of the CUDA
//! engine (`make churn`), which the emulated driver makes slow.
#![cfg(target_os = "linux")]

mod common;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::drawing::{SAMPLERS, drawing_case, drawing_config, zipf_weights};
use common::driver::Driver;
use common::emulated::emulated;
use common::own_process::in_own_process;
use common::{Arguments, Call, Case, F32, Handle, Types};
use counting_allocator::{CountingAllocator, held};
use sampled_softmax::abi::*;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Rounds of the CPU engine.
const ROUNDS: usize = 100_000;
/// Pages that the C library and the kernel may take or give back by themselves.
const SLACK: i64 = 64;

/// What the process has: bytes of Rust's and of the C library's heap, pages in memory, open
/// files, threads.
#[derive(Clone, Debug, PartialEq)]
struct Books {
    rust: i64,
    heap: i64,
    pages: i64,
    files: usize,
    threads: usize,
}

impl Books {
    fn read() -> Books {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let files = fs::read_dir("/proc/self/fd").unwrap().count();
        let threads = fs::read_dir("/proc/self/task").unwrap().count();
        let pages = statm.split(' ').nth(1).unwrap().parse().unwrap();
        drop(statm);
        // SAFETY: asks for numbers.
        let heap = unsafe { libc::mallinfo2() }.uordblks as i64;
        Books { rust: held(), heap, pages, files, threads }
    }

    /// Once no thread that was joined is listed any more.
    fn settled(threads: usize) -> Books {
        (0..1000)
            .map(|_| Books::read())
            .find(|books| {
                thread::sleep(Duration::from_millis(1));
                books.threads == threads
            })
            .unwrap_or_else(Books::read)
    }
}

/// Makes and destroys `rounds` handles by `round`, after some to begin with, and asserts
/// that nothing is left, but for `slack` bytes of the C library's heap.
fn assert_nothing_is_left(rounds: usize, begin: usize, slack: i64, mut round: impl FnMut(usize)) {
    (0..begin).for_each(&mut round);
    let before = Books::read();
    (0..rounds).for_each(&mut round);
    let after = Books::settled(before.threads);
    println!("{rounds} rounds: {before:?}, then {after:?}");
    assert_eq!((after.rust, after.files, after.threads), (before.rust, before.files, before.threads));
    assert!(after.heap - before.heap <= slack, "{} bytes", after.heap - before.heap);
    assert!(after.pages - before.pages < SLACK, "{} pages", after.pages - before.pages);
}

/// Handles of all samplers in turn: one in ten is used, and of these one in five has
/// threads; one in a hundred cannot be made.
struct Rounds {
    backend: u32,
    weights: Vec<f64>,
    call: Box<Call>,
    arguments: Arguments,
    _workspace: Vec<u8>,
}

impl Rounds {
    fn new(backend: u32) -> Rounds {
        let case = Case { types: Types::all(F32), ..drawing_case(1) };
        // Of the other engine, so that nothing of the one that is looked at stays alive.
        let handle = Handle::create(&drawing_config(SSL_SAMPLER_UNIFORM)).unwrap();
        let mut call = Box::new(Call::drawing(&case, Arc::new(handle), 0));
        let mut workspace = vec![0_u8; 1 << 20];
        let mut arguments = call.arguments();
        (arguments.workspace, arguments.workspace_size) = (workspace.as_mut_ptr().cast(), workspace.len());
        Rounds { backend, weights: zipf_weights(), call, arguments, _workspace: workspace }
    }

    fn config(&self, round: usize) -> ssl_config {
        let sampler = SAMPLERS[round % SAMPLERS.len()];
        let num_threads = if round.is_multiple_of(50) { 3 } else { 1 };
        let hits = if round.is_multiple_of(3) { SSL_HITS_EXCLUDE } else { SSL_HITS_MASK };
        let mut config = ssl_config { backend: self.backend, num_threads, hits, ..drawing_config(sampler) };
        if sampler == SSL_SAMPLER_FIXED_UNIGRAM {
            (config.unigrams, config.num_unigrams) = (self.weights.as_ptr(), 100);
        }
        config
    }

    fn run(&self, round: usize) {
        let mut config = self.config(round);
        if round % 100 == 99 {
            config.num_sampled = 101;
            assert_eq!(Handle::create(&config).unwrap_err().status, SSL_STATUS_INVALID_VALUE);
            return;
        }
        let handle = Handle::create(&config).unwrap();
        if round.is_multiple_of(10) {
            self.arguments.forward_backward(&handle).unwrap();
            self.arguments.sample(&handle).unwrap();
            assert!(self.call.outputs.num_rows > 0);
        }
    }
}

#[test]
fn cpu_handles_leave_nothing() {
    // One arena, which is the one that mallinfo2 counts.
    let one_arena = |command: &mut std::process::Command| {
        command.env("MALLOC_ARENA_MAX", "1");
    };
    in_own_process(cpu_handles_leave_nothing, "all", one_arena, || {
        let rounds = Rounds::new(SSL_BACKEND_CPU);
        // Freed chunks that threads of the C library keep at hand count as in use: a quarter of a
        // byte a round, below any leak.
        assert_nothing_is_left(ROUNDS, 1000, ROUNDS as i64 / 4, |round| rounds.run(round));
    });
}

/// Rounds of the CUDA engine.
fn cuda_rounds() -> usize {
    std::env::var("SAMPLED_SOFTMAX_CHURN").map_or(300, |rounds| rounds.parse().expect("a number of rounds"))
}

#[test]
fn cuda_handles_leave_nothing() {
    emulated(cuda_handles_leave_nothing, "all", &[("MALLOC_ARENA_MAX", "1")], || {
        let driver = Driver::open();
        let rounds = Rounds::new(SSL_BACKEND_CUDA);
        // The driver keeps thousands of freed allocations, to see them used: what its own heap
        // takes for them wanders. One forgotten allocation a round would be 24 times as much.
        let (begin, slack) = (600, (32 << 10) + cuda_rounds() as i64);
        rounds.run(0);
        let before = driver.holdings();
        assert_nothing_is_left(cuda_rounds(), begin, slack, |round| rounds.run(round));
        assert_eq!(driver.holdings(), before);
    });
}

/// Where nobody else holds the device's context, it ends with each handle, and the driver
/// complains of all that is left in it.
#[test]
fn the_last_cuda_handle_ends_the_context() {
    emulated(the_last_cuda_handle_ends_the_context, "all", &[], || {
        let rounds = Rounds::new(SSL_BACKEND_CUDA);
        (0..40).for_each(|round| rounds.run(round));
        let driver = Driver::books();
        assert_eq!(driver.calls("cuDevicePrimaryCtxRetain"), driver.calls("cuDevicePrimaryCtxRelease_v2"));
        assert_eq!(driver.memory_in_use(), 0);
    });
}
