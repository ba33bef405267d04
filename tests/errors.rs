//! Versions, statuses in words, and the last message of a thread.

mod common;

use std::ffi::CStr;
use std::ptr::null_mut;

use common::{Handle, STATUSES, default_config, last_error};
use sampled_softmax::abi::*;
use sampled_softmax::capi::*;

/// Makes the thread's last call fail with a message that names `num_sampled`.
fn fail(num_sampled: i64) {
    let config = ssl_config { num_classes: 3, num_sampled, ..default_config() };
    assert_eq!(Handle::create(&config).unwrap_err().status, SSL_STATUS_INVALID_VALUE);
}

#[test]
fn version_is_that_of_the_package_and_the_header() {
    let number = |text: &str| -> u32 { text.parse().unwrap() };
    let major = number(env!("CARGO_PKG_VERSION_MAJOR"));
    let minor = number(env!("CARGO_PKG_VERSION_MINOR"));
    let patch = number(env!("CARGO_PKG_VERSION_PATCH"));
    assert_eq!(ssl_version(), major << 16 | minor << 8 | patch);
    let header = [SSL_ABI_VERSION_MAJOR, SSL_ABI_VERSION_MINOR, SSL_ABI_VERSION_PATCH];
    assert_eq!(header, [major, minor, patch]);
}

fn words(status: i32) -> String {
    let words = ssl_status_string(status);
    assert!(!words.is_null());
    // SAFETY: static and NUL-terminated.
    unsafe { CStr::from_ptr(words) }.to_str().expect("UTF-8").to_owned()
}

#[test]
fn every_status_has_words_of_its_own() {
    let mut all: Vec<String> = STATUSES.into_iter().chain([SSL_STATUS_PANIC]).map(words).collect();
    assert!(all.iter().all(|words| !words.is_empty() && !words.contains("unknown")));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), STATUSES.len() + 1);
}

#[test]
fn unknown_statuses_have_words_too() {
    for status in [-1, 1, 1010, 9999, i32::MAX, i32::MIN] {
        assert_eq!(words(status), "unknown status");
    }
}

#[test]
fn message_is_empty_before_the_first_failure() {
    std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
}

#[test]
fn message_is_that_of_the_last_failure_on_this_thread() {
    fail(-4);
    assert!(last_error().contains("-4"));
    std::thread::spawn(|| fail(-9)).join().unwrap();
    assert!(last_error().contains("-4"), "another thread's message came through");
    fail(-5);
    assert!(last_error().contains("-5"));
    // A success leaves it as it is.
    let config = ssl_config { num_classes: 3, num_sampled: 1, ..default_config() };
    drop(Handle::create(&config).unwrap());
    assert!(last_error().contains("-5"));
}

#[test]
fn message_is_cut_to_the_buffer_and_ends_with_nul() {
    fail(-4);
    let whole = last_error();
    for size in 0..whole.len() + 3 {
        let mut buffer = vec![0x7F_u8; size + 1];
        // SAFETY: the buffer has more than `size` bytes.
        let length = unsafe { ssl_last_error(buffer.as_mut_ptr().cast(), size) };
        assert_eq!(length, whole.len());
        assert_eq!(buffer[size], 0x7F, "wrote past {size} bytes");
        if size > 0 {
            let copied = whole.len().min(size - 1);
            assert_eq!(&buffer[..copied], &whole.as_bytes()[..copied]);
            assert_eq!(buffer[copied], 0);
        }
    }
    // SAFETY: a NULL buffer only asks for the length.
    assert_eq!(unsafe { ssl_last_error(null_mut(), 1000) }, whole.len());
}

/// A path with characters of two bytes and more comes back as valid UTF-8, however
/// short the buffer.
#[test]
fn message_is_not_cut_inside_a_character() {
    let path = c"no-\u{e9}\u{20ac}\u{1d11e}\u{e9}\u{20ac}.txt";
    let config = ssl_config {
        num_classes: 3,
        num_sampled: 1,
        sampler: SSL_SAMPLER_FIXED_UNIGRAM,
        vocab_file: path.as_ptr(),
        ..default_config()
    };
    assert_eq!(Handle::create(&config).unwrap_err().status, SSL_STATUS_FILE);
    assert!(last_error().contains(path.to_str().unwrap()));
    for size in 1..last_error().len() {
        let mut buffer = vec![0x7F_u8; size];
        // SAFETY: the buffer has `size` bytes.
        unsafe { ssl_last_error(buffer.as_mut_ptr().cast(), size) };
        let text = CStr::from_bytes_until_nul(&buffer).expect("a NUL");
        assert!(last_error().starts_with(text.to_str().expect("whole characters")));
    }
}

#[test]
fn backends_say_whether_they_are_there() {
    assert_eq!(ssl_backend_available(SSL_BACKEND_CPU), 1);
    assert_eq!(ssl_backend_available(SSL_BACKEND_CUDA), 0);
    assert!(last_error().contains("CUDA"), "{}", last_error());
    assert_eq!(ssl_backend_available(77), 0);
    assert!(last_error().contains("77"), "{}", last_error());
}

#[test]
fn destroying_nothing_is_fine() {
    assert_eq!(ssl_destroy(null_mut()), SSL_STATUS_OK);
}
