//! A handle's life: what is no live handle is refused at every entry, without a look at
//! the memory it points to, and one that is destroyed during calls lives until they end.

mod common;

use std::mem::ManuallyDrop;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use common::drawing::{drawing_case, drawing_config};
use common::emulated::emulated;
use common::{Arguments, Call, Case, F32, Failure, Handle, KINDS, Types, check};
use sampled_softmax::abi::*;
use sampled_softmax::capi::{ssl_version, ssl_workspace_size};

fn config(backend: u32) -> ssl_config {
    ssl_config { backend, num_threads: 2, ..drawing_config(SSL_SAMPLER_LOG_UNIFORM) }
}

/// A handle that the test destroys itself.
fn create(backend: u32) -> ManuallyDrop<Handle> {
    ManuallyDrop::new(Handle::create(&config(backend)).unwrap())
}

/// A call whose arguments are all good, with a handle of its own.
fn good_call(backend: u32) -> Call {
    let case = Case { types: Types::all(F32), backend, ..drawing_case(1) };
    Call::drawing(&case, Arc::new(Handle::create(&config(backend)).unwrap()), 0)
}

/// What every function that takes a handle says to this one, `ssl_destroy` last.
fn answers(handle: &Handle, arguments: &Arguments) -> Vec<(&'static str, Result<(), Failure>)> {
    let mut size = 0;
    // SAFETY: the handle may be bad, which is what is to be refused.
    let status = unsafe { ssl_workspace_size(handle.pointer(), &arguments.batch, &mut size, null_mut()) };
    let mut all = vec![("workspace_size", check(status))];
    all.extend(KINDS.map(|(name, kind)| (name, kind(arguments, handle))));
    all.push(("destroy", handle.destroy()));
    all
}

fn assert_refused(handle: &Handle, arguments: &Arguments) {
    for (name, answer) in answers(handle, arguments) {
        let failure = answer.expect_err(name);
        assert_eq!(failure.status, SSL_STATUS_INVALID_VALUE, "{name}");
        let start = format!("handle = {:#x}: ", handle.pointer().addr());
        assert!(failure.message.starts_with(&start), "{name}: {}", failure.message);
    }
}

fn assert_destroyed_handles_are_refused(backend: u32) {
    let mut call = good_call(backend);
    let arguments = call.arguments_for_all();
    let first = create(backend);
    answers(&first, &arguments).into_iter().for_each(|(name, answer)| assert_eq!(answer, Ok(()), "{name}"));
    call.reset();
    let (arguments, untouched) = (call.arguments_for_all(), call.outputs.clone());
    let mut destroyed = vec![first];
    // Pointers do not come back, though what they stand for takes the place of the last.
    for _ in 0..20 {
        let handle = create(backend);
        assert!(destroyed.iter().all(|earlier| earlier.pointer() != handle.pointer()));
        assert_refused(&destroyed[0], &arguments);
        handle.destroy().unwrap();
        destroyed.push(handle);
    }
    destroyed.iter().for_each(|handle| assert_refused(handle, &arguments));
    assert_eq!(call.outputs, untouched);
}

#[test]
fn a_destroyed_handle_is_refused() {
    assert_destroyed_handles_are_refused(SSL_BACKEND_CPU);
    emulated(a_destroyed_handle_is_refused, "all", &[], || {
        assert_destroyed_handles_are_refused(SSL_BACKEND_CUDA);
    });
}

/// Also where the pointer leads to memory that may not be read.
#[test]
fn a_pointer_that_never_was_a_handle_is_refused() {
    let mut call = good_call(SSL_BACKEND_CPU);
    let arguments = call.arguments_for_all();
    let live = Handle::create(&config(SSL_BACKEND_CPU)).unwrap();
    let (on_stack, on_heap) = ([0_u64; 8], vec![u64::MAX; 64]);
    let code = ssl_version as extern "C" fn() -> u32 as usize;
    let mut addresses = vec![1, 8, 0x1000, usize::MAX, isize::MIN as usize, 0xdead_beef, code];
    addresses.extend([on_stack.as_ptr().addr(), on_heap.as_ptr().addr()]);
    addresses.extend((0..usize::BITS).map(|bit| live.pointer().addr() ^ 1 << bit));
    for address in addresses {
        assert_refused(&Handle::unowned(without_provenance_mut(address)), &arguments);
    }
}

/// Threads are in calls on one handle when another destroys it: these calls end as if
/// nothing had happened, and later ones are refused.
fn destroy_amid_calls(backend: u32, rounds: u64) {
    let mut alone = good_call(backend);
    alone.forward_backward().unwrap();
    let (expected, finished) = (alone.outputs, AtomicUsize::new(0));
    for round in 0..rounds {
        let (handle, ready) = (create(backend), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut call = good_call(backend);
                    ready.fetch_add(1, Relaxed);
                    loop {
                        call.reset();
                        match call.arguments_for_all().forward_backward(&handle) {
                            Ok(()) => assert_eq!(call.outputs, expected),
                            Err(failure) => {
                                assert!(failure.message.contains("destroyed"), "{}", failure.message);
                                return;
                            }
                        }
                        finished.fetch_add(1, Relaxed);
                    }
                });
            }
            while ready.load(Relaxed) < 3 {
                thread::yield_now();
            }
            thread::sleep(Duration::from_micros(200 * (round % 7)));
            handle.destroy().unwrap();
            assert!(handle.destroy().is_err());
        });
    }
    println!("{rounds} handles were destroyed amid {} calls", finished.load(Relaxed));
    assert!(finished.load(Relaxed) > 0);
}

#[test]
fn a_handle_destroyed_during_calls_lives_until_they_end() {
    destroy_amid_calls(SSL_BACKEND_CPU, 100);
    emulated(a_handle_destroyed_during_calls_lives_until_they_end, "all", &[], || {
        destroy_amid_calls(SSL_BACKEND_CUDA, 10);
    });
}

#[test]
fn of_threads_that_destroy_one_handle_at_once_one_does() {
    for _ in 0..300 {
        let (handle, destroyed) = (create(SSL_BACKEND_CPU), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| destroyed.fetch_add(usize::from(handle.destroy().is_ok()), Relaxed));
            }
        });
        assert_eq!(destroyed.load(Relaxed), 1);
    }
}
