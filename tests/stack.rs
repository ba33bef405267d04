//! Calls from threads whose stack is small: how much of it they use, told by what they have
//! written over.

mod common;

use std::ptr::null_mut;
use std::sync::Arc;

use common::drawing::{SAMPLERS, drawing_case, drawing_config, on};
use common::emulated::emulated;
use common::{BF16, Call, Case, F32, F64, Handle, KINDS, Random, Types};
use libc::c_void;
use sampled_softmax::abi::*;

/// What the header says that a call needs.
const DOCUMENTED: usize = 32 << 10;

const ROOM: usize = 1 << 20;
const PAINT: u8 = 0xA5;

/// Runs `body` on a thread with a painted stack; gives the bytes from the deepest change up.
fn stack_used(body: &mut dyn FnMut()) -> usize {
    unsafe extern "C" fn run(body: *mut c_void) -> *mut c_void {
        // SAFETY: what `stack_used` passes, which waits for this thread.
        let body = unsafe { &mut *body.cast::<&mut dyn FnMut()>() };
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        ran.map_or(null_mut(), |()| run as *mut c_void)
    }
    let mut body = body;
    // SAFETY: the stack is a mapping of our own with a page below that ends the process, and
    // stays until the thread has ended.
    unsafe {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let page = 4096;
        let memory = libc::mmap(null_mut(), ROOM + page, access, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        assert_eq!(libc::mprotect(memory, page, libc::PROT_NONE), 0);
        let stack = memory.byte_add(page);
        stack.cast::<u8>().write_bytes(PAINT, ROOM);
        let mut attributes = std::mem::zeroed();
        libc::pthread_attr_init(&mut attributes);
        assert_eq!(libc::pthread_attr_setstack(&mut attributes, stack, ROOM), 0);
        let (mut thread, mut result) = (0, null_mut());
        let argument = (&raw mut body).cast();
        assert_eq!(libc::pthread_create(&mut thread, &attributes, run_on(run), argument), 0);
        assert_eq!(libc::pthread_join(thread, &mut result), 0);
        libc::pthread_attr_destroy(&mut attributes);
        assert!(!result.is_null(), "the call on the painted stack failed");
        let bytes = std::slice::from_raw_parts(stack.cast::<u8>(), ROOM);
        let untouched = bytes.iter().take_while(|&&byte| byte == PAINT).count();
        libc::munmap(memory, ROOM + page);
        ROOM - untouched
    }
}

type Body = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

/// The type that `pthread_create` has in Rust.
fn run_on(body: Body) -> extern "C" fn(*mut c_void) -> *mut c_void {
    // SAFETY: the same function; who calls it keeps its promise.
    unsafe { std::mem::transmute(body) }
}

/// The most that any call needs: handles made, every kind of call, a refusal, destroyed.
fn deepest(backend: u32, types: &[u32]) -> usize {
    let empty = stack_used(&mut || {});
    let mut deepest = 0;
    let mut note = |what: &str, used: usize| {
        println!("{what}: {} bytes", used - empty);
        deepest = deepest.max(used - empty);
    };
    for &dtype in types {
        for dim in [16, 300] {
            let mut case = Case::random([70, dim, 200, 100, 3], &mut Random::new(3));
            (case.types, case.backend, case.num_threads) = (Types::all(dtype), backend, 2);
            case.hits = SSL_HITS_EXCLUDE * u32::from(dim == 16);
            let config = case.config();
            let mut handle = None;
            note("create", stack_used(&mut || handle = Some(Handle::create(&config).unwrap())));
            let mut call = Call::on(&case, Arc::new(handle.take().unwrap()));
            let arguments = call.arguments_for_all();
            for (name, kind) in KINDS.into_iter().take(3) {
                note(name, stack_used(&mut || kind(&arguments, &call.handle).unwrap()));
            }
        }
    }
    for sampler in SAMPLERS {
        for (sampling, hits) in [(SSL_SAMPLING_UNIQUE, SSL_HITS_EXCLUDE), (SSL_SAMPLING_REPLACEMENT, 0)] {
            let config = ssl_config { sampling, hits, ..drawing_config(sampler) };
            let mut handle = None;
            note("create a sampler", stack_used(&mut || handle = Some(on(backend, config))));
            let case = Case { types: Types { counts: F64, ..Types::all(F32) }, ..drawing_case(1) };
            let mut call = Call::drawing(&case, handle.take().unwrap(), 0);
            let mut arguments = call.arguments_for_all();
            for (name, kind) in KINDS {
                note(name, stack_used(&mut || kind(&arguments, &call.handle).unwrap()));
            }
            arguments.workspace_size = 1;
            note("refusal", stack_used(&mut || drop(arguments.forward(&call.handle).unwrap_err())));
            let mut handle = Some(on(backend, config));
            note("destroy", stack_used(&mut || drop(handle.take())));
        }
    }
    deepest
}

#[test]
fn calls_need_less_stack_than_documented() {
    let cpu = deepest(SSL_BACKEND_CPU, &[F32, BF16, F64]);
    assert!(cpu <= DOCUMENTED, "{cpu} bytes");
    emulated(calls_need_less_stack_than_documented, "all", &[], || {
        let cuda = deepest(SSL_BACKEND_CUDA, &[F32]);
        assert!(cuda <= DOCUMENTED, "{cuda} bytes");
    });
}
