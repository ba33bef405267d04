//! A handle made before `fork` goes on working in the child, where its threads are gone.
#![cfg(unix)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::{Call, Case, Handle, Random, default_config};
use sampled_softmax::abi::*;

/// Runs `child` in a child process and gives its exit status; a child that hangs is
/// ended after a while.
fn in_a_child(child: impl FnOnce() -> bool) -> Option<i32> {
    // SAFETY: the child calls the library and exits without returning; the C library
    // keeps its allocator usable in the child.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: ends the child without running the test harness's exit handlers.
        unsafe { libc::_exit(if passed.unwrap_or(false) { 0 } else { 1 }) };
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

/// Forks 20 children while two other threads are inside calls on the same handle, and
/// asserts that each child gets its result or, if `refusal` is given, an error saying that.
fn assert_children_work_amid_calls(refusal: Option<&str>, new_call: impl Fn() -> Call + Sync) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut call = new_call();
                while !stop.load(Relaxed) {
                    call.forward_backward().unwrap();
                }
            });
        }
        let mut call = new_call();
        call.forward_backward().unwrap();
        let expected = call.outputs.clone();
        let mut statuses = (0..20).map(|_| {
            in_a_child(|| {
                call.reset();
                match call.forward_backward() {
                    Ok(()) => call.outputs == expected,
                    Err(failure) => refusal.is_some_and(|text| failure.message.contains(text)),
                }
            })
        });
        let first_bad = statuses.find(|status| *status != Some(0));
        stop.store(true, Relaxed);
        assert_eq!(first_bad, None, "a child failed, or hung where this is Some(None)");
    });
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
