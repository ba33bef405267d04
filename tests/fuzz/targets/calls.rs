//! Calls on the CPU engine: the cases of tests/boundary.rs, from the fuzzer's bytes.
#![no_main]

#[path = "../../common/mod.rs"]
mod common;
#[path = "../mod.rs"]
mod fuzz;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use sampled_softmax::abi::SSL_BACKEND_CPU;

thread_local! {
    static SESSION: RefCell<fuzz::Session> = RefCell::default();
}

fuzz_target!(|bytes: &[u8]| {
    SESSION.with_borrow_mut(|session| session.run(bytes, SSL_BACKEND_CPU));
});
