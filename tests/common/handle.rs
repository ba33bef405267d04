//! A handle that destroys itself, and statuses as results.

use std::mem::ManuallyDrop;
use std::ptr;

use sampled_softmax::abi::{SSL_STATUS_OK, ssl_config, ssl_status};
use sampled_softmax::capi::{ssl_create, ssl_destroy, ssl_handle, ssl_last_error};

/// A call that failed: its status and its message.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub status: ssl_status,
    pub message: String,
}

/// Turns a status into a result, with the thread's last message.
pub fn check(status: ssl_status) -> Result<(), Failure> {
    match status {
        SSL_STATUS_OK => Ok(()),
        status => Err(Failure { status, message: last_error() }),
    }
}

/// The thread's last message.
pub fn last_error() -> String {
    // SAFETY: a NULL buffer only asks for the length.
    let length = unsafe { ssl_last_error(ptr::null_mut(), 0) };
    let mut text = vec![0_u8; length + 1];
    // SAFETY: `text` has room for as many bytes as it is said to.
    unsafe { ssl_last_error(text.as_mut_ptr().cast(), text.len()) };
    text.truncate(length);
    String::from_utf8(text).expect("messages are UTF-8")
}

/// Owns an `ssl_handle`.
#[derive(Debug)]
pub struct Handle(*mut ssl_handle);

// SAFETY: the header lets several threads use one handle at once.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    pub fn create(config: &ssl_config) -> Result<Self, Failure> {
        let mut handle = ptr::null_mut();
        // SAFETY: both pointers lead to live structs.
        check(unsafe { ssl_create(config, &mut handle) })?;
        assert!(!handle.is_null());
        Ok(Handle(handle))
    }

    /// Of a pointer that someone else destroys, or that is no handle.
    pub fn unowned(pointer: *mut ssl_handle) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Handle(pointer))
    }

    /// Destroys it, whether or not that was done before.
    pub fn destroy(&self) -> Result<(), Failure> {
        check(ssl_destroy(self.0))
    }

    pub fn pointer(&self) -> *mut ssl_handle {
        self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        assert_eq!(self.destroy(), Ok(()));
    }
}
