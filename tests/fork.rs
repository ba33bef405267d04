//! A handle made before `fork` goes on working in the child, where its threads are gone.
#![cfg(unix)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::drawing::{drawing_case, drawing_config, on};
use common::emulated::emulated;
use common::{Call, Case, F32, Handle, Random, Types, default_config};
use sampled_softmax::abi::*;

/// Runs `child` in a child process and gives its exit status; a child that hangs is
/// ended after a while.
fn in_a_child(child: impl FnOnce() -> bool) -> Option<i32> {
    // Without running the test harness's exit handlers.
    in_a_child_ending_by(libc::_exit, child)
}

/// The same for a child that ends by a function of the C library.
fn in_a_child_ending_by(end: unsafe extern "C" fn(i32) -> !, child: impl FnOnce() -> bool) -> Option<i32> {
    // SAFETY: the child calls the library and exits without returning; the C library
    // keeps its allocator usable in the child.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: ends the child.
        unsafe { end(if passed.unwrap_or(false) { 0 } else { 1 }) };
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut status = 0;
    // SAFETY: `pid` is our child, not yet waited for.
    while unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > deadline {
            // SAFETY: as above.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, &mut status, 0);
            }
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

fn case() -> Case {
    let mut case = Case::random([60, 17, 90, 40, 1], &mut Random::new(1));
    case.num_threads = 4;
    case
}

#[test]
fn used_handle_goes_on_working_in_the_child() {
    let mut call = Call::new(&case());
    call.forward_backward().unwrap();
    let expected = call.outputs.clone();
    let status = in_a_child(|| {
        (0..5).all(|_| {
            call.reset();
            call.forward_backward().is_ok() && call.outputs == expected
        })
    });
    assert_eq!(status, Some(0));
    // And in the parent, as if nothing had happened.
    call.reset();
    call.forward_backward().unwrap();
    assert_eq!(call.outputs, expected);
}

#[test]
fn unused_handle_works_in_the_child() {
    let mut expected = Call::new(&case());
    expected.forward_backward().unwrap();
    let mut call = Call::new(&case());
    let status = in_a_child(|| call.forward_backward().is_ok() && call.outputs == expected.outputs);
    assert_eq!(status, Some(0));
}

/// The child of a thread pool's owner may also give the handle back.
#[test]
fn handle_can_be_destroyed_in_the_child() {
    let mut call = Call::new(&case());
    call.forward().unwrap();
    let call = std::cell::Cell::new(Some(call));
    let status = in_a_child(|| {
        drop(call.take());
        true
    });
    assert_eq!(status, Some(0));
    assert!(call.take().expect("the parent's own copy").forward().is_ok());
}

#[test]
fn handle_made_in_the_child_works_there() {
    let status = in_a_child(|| {
        let mut call = Call::new(&case());
        call.forward_backward().is_ok()
    });
    assert_eq!(status, Some(0));
}

/// Runs `body` while two other threads make calls, each its own, without end.
fn amid_calls<T>(new_call: impl Fn() -> Call + Sync, body: impl FnOnce() -> T) -> T {
    let (stop, inside) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut call = new_call();
                while !stop.load(Relaxed) {
                    call.forward_backward().unwrap();
                    inside.fetch_add(1, Relaxed);
                }
            });
        }
        while inside.load(Relaxed) < 4 {
            thread::yield_now();
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        stop.store(true, Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Forks 20 children while two other threads are inside calls on the same handle, and
/// asserts that each child gets its result or, if `refusal` is given, an error saying that.
fn assert_children_work_amid_calls(refusal: Option<&str>, new_call: impl Fn() -> Call + Sync) {
    let mut call = new_call();
    call.forward_backward().unwrap();
    let expected = call.outputs.clone();
    let first_bad = amid_calls(&new_call, || {
        let mut statuses = (0..20).map(|_| {
            in_a_child(|| {
                call.reset();
                match call.forward_backward() {
                    Ok(()) => call.outputs == expected,
                    Err(failure) => refusal.is_some_and(|text| failure.message.contains(text)),
                }
            })
        });
        statuses.find(|status| *status != Some(0))
    });
    assert_eq!(first_bad, None, "a child failed, or hung where this is Some(None)");
}

#[test]
fn child_works_though_other_threads_were_inside_calls() {
    let case = case();
    let handle = Arc::new(Handle::create(&case.config()).unwrap());
    assert_children_work_amid_calls(None, || Call::on(&case, Arc::clone(&handle)));
}

#[test]
fn child_draws_or_says_why_not_where_other_threads_were_drawing() {
    let case = case();
    let config = ssl_config {
        num_threads: 3,
        num_classes: 90,
        num_sampled: 40,
        sampler: SSL_SAMPLER_LOG_UNIFORM,
        ..default_config()
    };
    let handle = Arc::new(Handle::create(&config).unwrap());
    assert_children_work_amid_calls(Some("was forked from"), || Call::drawing(&case, Arc::clone(&handle), 1));
}

#[test]
fn children_of_children_work() {
    let mut call = Call::new(&case());
    call.forward_backward().unwrap();
    let expected = call.outputs.clone();
    let status = in_a_child(|| {
        let grandchild = in_a_child(|| {
            call.reset();
            call.forward_backward().is_ok() && call.outputs == expected
        });
        call.reset();
        grandchild == Some(0) && call.forward_backward().is_ok() && call.outputs == expected
    });
    assert_eq!(status, Some(0));
}

/// Even one that other threads were inside of, which are not there to leave it.
#[test]
fn child_destroys_a_handle_that_was_in_use() {
    let case = case();
    let handle = Arc::new(Handle::create(&case.config()).unwrap());
    let statuses = amid_calls(
        || Call::on(&case, Arc::clone(&handle)),
        || {
            let end = || in_a_child(|| handle.destroy().is_ok() && handle.destroy().is_err());
            (0..20).map(|_| end()).collect::<Vec<_>>()
        },
    );
    assert_eq!(statuses, vec![Some(0); 20]);
    assert!(Call::on(&case, handle).forward().is_ok());
}

#[test]
fn child_may_exit_with_handles_alive() {
    let mut call = Call::new(&case());
    call.forward_backward().unwrap();
    let expected = call.outputs.clone();
    for _ in 0..5 {
        let status = in_a_child_ending_by(libc::exit, || {
            let another = Call::new(&case());
            call.reset();
            let passed = call.forward_backward().is_ok() && call.outputs == expected;
            std::mem::forget(another);
            passed
        });
        assert_eq!(status, Some(0));
    }
    call.reset();
    call.forward_backward().unwrap();
    assert_eq!(call.outputs, expected);
}

#[test]
fn programs_can_be_started_amid_calls() {
    let case = case();
    let handle = Arc::new(Handle::create(&case.config()).unwrap());
    let new_call = || Call::on(&case, Arc::clone(&handle));
    let mut lone = new_call();
    lone.forward_backward().unwrap();
    amid_calls(new_call, || {
        for _ in 0..20 {
            // A fork and an exec, by hand and as the standard library does it.
            let status = in_a_child(|| {
                // SAFETY: strings that end in NUL, and a list that ends in NULL.
                unsafe { libc::execl(c"/bin/true".as_ptr(), c"true".as_ptr(), std::ptr::null::<i8>()) };
                false
            });
            assert_eq!(status, Some(0));
            assert!(std::process::Command::new("/bin/true").status().unwrap().success());
            let mut call = new_call();
            call.forward_backward().unwrap();
            assert_eq!(call.outputs, lone.outputs);
        }
    });
}

/// The device is the parent's: a child is told so at every call, whatever the parent's
/// threads, that of the background draws among them, were doing.
#[test]
fn children_of_a_cuda_program_are_told_amid_calls_and_background_draws() {
    let test = children_of_a_cuda_program_are_told_amid_calls_and_background_draws;
    emulated(test, "all", &[], || {
        let config = ssl_config { backend: SSL_BACKEND_CUDA, ..drawing_config(SSL_SAMPLER_LOG_UNIFORM) };
        let case = Case { types: Types::all(F32), ..drawing_case(1) };
        let handle = on(SSL_BACKEND_CUDA, config);
        let new_call = || Call::drawing(&case, Arc::clone(&handle), 0);
        let mut call = new_call();
        call.forward_backward().unwrap();
        let expected = call.outputs.clone();
        let is_told = |result: Result<(), common::Failure>| {
            result.is_err_and(|failure| failure.message.contains("CUDA does not survive a fork"))
        };
        let statuses = amid_calls(new_call, || {
            let one = |round: usize| {
                let end = if round.is_multiple_of(2) { libc::exit } else { libc::_exit };
                in_a_child_ending_by(end, || {
                    let mut call = Call::drawing(&case, Arc::clone(&handle), 0);
                    let told = is_told(call.arguments().sample(&handle))
                        && is_told(call.arguments().forward(&handle))
                        && is_told(Handle::create(&config).map(drop));
                    let on_cpu = Call::new(&Case { backend: SSL_BACKEND_CPU, ..self::case() }).forward();
                    told && on_cpu.is_ok() && handle.destroy().is_ok() && handle.destroy().is_err()
                })
            };
            (0..20).map(one).collect::<Vec<_>>()
        });
        assert_eq!(statuses, vec![Some(0); 20]);
        call.reset();
        call.source = SSL_CANDIDATES_DRAW;
        call.forward_backward().unwrap();
        assert_eq!(call.outputs.loss, expected.loss);
    });
}
