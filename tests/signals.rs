//! Signals are the host program's: the library installs no handler and changes no mask, its
//! threads take no signal, and calls that are interrupted all the time give the same bits.

mod common;

use std::fs;

use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use common::drawing::{SAMPLERS, drawing_case, drawing_config, draws, forward, on, sampled, zipf_weights};
use common::driver::Driver;
use common::emulated::emulated;
use common::own_process::in_own_process;
use common::{Call, Case, F32, Handle, Random, Types};
use sampled_softmax::abi::*;

/// Linux has as many.
const SIGNALS: i32 = 64;

/// The handler of every signal, and the mask of this thread, as numbers.
fn dispositions() -> Vec<(i32, usize, i32, bool)> {
    // SAFETY: all outputs are initialised by the calls that fill them.
    unsafe {
        let mut mask: libc::sigset_t = zeroed();
        assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &mut mask), 0);
        (1..=SIGNALS)
            .map(|signal| {
                let mut action: libc::sigaction = zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut action);
                (signal, action.sa_sigaction, action.sa_flags, libc::sigismember(&mask, signal) == 1)
            })
            .collect()
    }
}

/// A step on a backend, drawn and given, with threads.
fn use_the_library(backend: u32) {
    let mut case = Case::random([300, 64, 900, 300, 2], &mut Random::new(3));
    (case.backend, case.num_threads) = (backend, 4);
    if backend == SSL_BACKEND_CUDA {
        case = Case { types: Types::all(F32), backend, ..drawing_case(1) };
    }
    Call::new(&case).forward_backward().unwrap();
    for sampler in SAMPLERS {
        let handle = on(backend, drawing_config(sampler));
        forward(&Case { types: Types::all(F32), ..drawing_case(2) }, &handle, 0);
    }
}

fn assert_dispositions_stay(backend: u32) {
    let before = dispositions();
    use_the_library(backend);
    assert_eq!(dispositions(), before);
}

#[test]
fn handlers_and_masks_stay_as_they_are() {
    let test = handlers_and_masks_stay_as_they_are;
    in_own_process(test, "CPU", |_| {}, || assert_dispositions_stay(SSL_BACKEND_CPU));
    emulated(test, "CUDA", &[], || {
        // The emulated driver's memory is guarded by handlers of its own.
        let driver = Driver::open();
        driver.free(driver.allocate(1));
        assert_dispositions_stay(SSL_BACKEND_CUDA);
    });
}

/// Signals blocked by the library's threads of this process, as /proc tells them.
fn blocked_by_our_threads() -> Vec<u64> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let fields = tasks.filter_map(|task| {
        let status = fs::read_to_string(task.unwrap().path().join("status")).ok()?;
        status.contains("Name:\tsampled-softmax\n").then(|| {
            let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
            u64::from_str_radix(blocked, 16).unwrap()
        })
    });
    fields.collect()
}

/// The same, once there are as many such threads: one that is made is named a little later,
/// and one that has ended is listed a little longer.
fn blocked_by_our(threads: usize) -> Vec<u64> {
    for _ in 0..5000 {
        let blocked = blocked_by_our_threads();
        if blocked.len() == threads {
            return blocked;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("never {threads} threads, but {}", blocked_by_our_threads().len());
}

/// All but those that cannot be blocked, KILL and STOP, and the C library's own two.
fn assert_all_is_blocked(backend: u32, threads: usize) {
    let config = ssl_config { backend, num_threads: 4, ..drawing_config(SSL_SAMPLER_LOG_UNIFORM) };
    let handle = Handle::create(&config).unwrap();
    let own = [libc::SIGKILL, libc::SIGSTOP, 32, 33].map(|signal| 1_u64 << (signal - 1));
    let blockable = own.iter().fold(u64::MAX, |all, signal| all & !signal);
    let blocked = blocked_by_our(threads);
    assert!(blocked.iter().all(|mask| mask & blockable == blockable), "{blocked:x?}");
    drop(handle);
    blocked_by_our(0);
}

#[test]
fn threads_of_the_library_block_every_signal() {
    let test = threads_of_the_library_block_every_signal;
    in_own_process(test, "CPU", |_| {}, || assert_all_is_blocked(SSL_BACKEND_CPU, 3));
    emulated(test, "CUDA", &[], || assert_all_is_blocked(SSL_BACKEND_CUDA, 1));
}

static INTERRUPTIONS: AtomicU64 = AtomicU64::new(0);

extern "C" fn interrupt(_: i32) {
    INTERRUPTIONS.fetch_add(1, Relaxed);
}

/// Sends this thread a signal every millisecond while `body` runs; its handler
/// interrupts system calls, which are not started again.
fn interrupted<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: the handler only counts; both threads exist while signals are sent.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = interrupt as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, null_mut()), 0);
        let (target, stop) = (libc::pthread_self(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    libc::pthread_kill(target, libc::SIGUSR1);
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let result = body();
            stop.store(true, Relaxed);
            result
        })
    }
}

fn assert_storms_change_nothing(backend: u32) {
    let shape = if backend == SSL_BACKEND_CPU { [520, 64, 900, 300, 2] } else { [20, 16, 90, 30, 2] };
    let mut given = Case::random(shape, &mut Random::new(3));
    (given.backend, given.num_threads) = (backend, 4);
    let case = Case { types: Types::all(F32), ..drawing_case(1) };
    let all = || {
        let mut call = Call::new(&given);
        let steps: Vec<_> = (0..20)
            .map(|_| {
                call.reset();
                call.forward_backward().unwrap();
                call.outputs.clone()
            })
            .collect();
        let drawn = SAMPLERS.map(|sampler| {
            let handle = on(backend, drawing_config(sampler));
            (0..20).map(|step| draws(&forward(&case, &handle, step))).collect::<Vec<_>>()
        });
        (steps, drawn)
    };
    let before = INTERRUPTIONS.load(Relaxed);
    // In the storm first: it meets the first use of everything.
    let stormy = interrupted(all);
    let interruptions = INTERRUPTIONS.load(Relaxed) - before;
    assert!(interruptions >= 10, "{interruptions} signals are no storm");
    println!("{interruptions} signals");
    assert_eq!(stormy, all());
}

#[test]
fn interrupted_calls_give_the_same_bits() {
    let test = interrupted_calls_give_the_same_bits;
    in_own_process(test, "CPU", |_| {}, || assert_storms_change_nothing(SSL_BACKEND_CPU));
    // Kernels are compiled, written to the cache and read from it meanwhile.
    let cache = std::env::temp_dir().join(format!("sampled-softmax-storm-{}", std::process::id()));
    for part in ["CUDA, compiling", "CUDA, from the cache"] {
        let settings = [("SAMPLED_SOFTMAX_CACHE_DIR", cache.to_str().unwrap())];
        emulated(test, part, &settings, || assert_storms_change_nothing(SSL_BACKEND_CUDA));
    }
    let _ = fs::remove_dir_all(cache);
}

#[test]
fn interrupted_reads_of_a_vocabulary_lose_nothing() {
    let test = interrupted_reads_of_a_vocabulary_lose_nothing;
    in_own_process(
        test,
        "all",
        |_| {},
        || {
            let path = std::env::temp_dir().join(format!("vocabulary-{}", std::process::id()));
            let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            let weights = zipf_weights();
            let lines = weights.iter().enumerate().map(|(id, weight)| {
                // Long enough that a file takes many reads.
                format!("{}{id},{weight:?}\n", "word".repeat(10_000))
            });
            fs::write(&path, lines.collect::<String>()).unwrap();
            let mut config = drawing_config(SSL_SAMPLER_FIXED_UNIGRAM);
            (config.unigrams, config.num_unigrams) = (weights.as_ptr(), 100);
            let expected = draws(&sampled(&drawing_case(1), &Arc::new(Handle::create(&config).unwrap()), 0));
            (config.unigrams, config.num_unigrams, config.vocab_file) = (std::ptr::null(), 0, name.as_ptr());
            let before = INTERRUPTIONS.load(Relaxed);
            interrupted(|| {
                while INTERRUPTIONS.load(Relaxed) < before + 50 {
                    let handle = Arc::new(Handle::create(&config).unwrap());
                    assert_eq!(draws(&sampled(&drawing_case(1), &handle, 0)), expected);
                }
            });
            fs::remove_file(&path).unwrap();
        },
    );
}
