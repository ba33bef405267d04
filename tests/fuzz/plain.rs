//! Calls that need no handle.

use std::ffi::CStr;
use std::ptr::{null, null_mut};

use sampled_softmax::abi::*;
use sampled_softmax::capi::*;

use super::choices::Choices;
use super::faults::Faults;
use super::memory::Place;
use super::session::Session;
use crate::common::{STATUSES, last_error};

impl Session {
    /// The functions that take no handle, and NULL where a handle is asked for.
    pub(super) fn call_without_a_handle(&mut self, choices: &mut Choices) {
        let backend = SSL_BACKEND_CPU;
        match choices.below(6) {
            0 => {
                self.counts.add(backend, "ssl_version", 0);
                assert_eq!(
                    ssl_version(),
                    SSL_ABI_VERSION_MAJOR << 16 | SSL_ABI_VERSION_MINOR << 8 | SSL_ABI_VERSION_PATCH
                );
            }
            1 => {
                let status =
                    if choices.one_in(2) { choices.pick(&STATUSES) } else { choices.wild() as ssl_status };
                self.counts.add(backend, "ssl_status_string", 0);
                // SAFETY: static and NUL-terminated, as the header says.
                let text = unsafe { CStr::from_ptr(ssl_status_string(status)) }.to_str().expect("UTF-8");
                assert!(!text.is_empty());
                let is_known = STATUSES.contains(&status) || status == SSL_STATUS_PANIC;
                assert_eq!(text == "unknown status", !is_known, "{status}: {text}");
            }
            2 => {
                let code = choices.code(&[SSL_BACKEND_CPU, SSL_BACKEND_CUDA]);
                self.counts.add(backend, "ssl_backend_available", 0);
                let answer = ssl_backend_available(code);
                assert!(answer == 0 || answer == 1 && code <= SSL_BACKEND_CUDA, "{code}: {answer}");
                assert!(answer == 1 || last_error().contains("backend"), "{}", last_error());
            }
            3 => {
                let mut faults = Faults::default();
                let handle = self.no_handle(choices, &mut faults);
                if handle.is_null() {
                    // Fine, and nothing is done.
                    faults = Faults::default();
                }
                self.judge(backend, "ssl_destroy", ssl_destroy(handle), &faults, String::new);
            }
            4 => {
                let mut faults = Faults::default();
                let handle = self.no_handle(choices, &mut faults);
                // SAFETY: no handle is refused.
                let status = unsafe { ssl_workspace_size(handle, null(), null_mut(), null_mut()) };
                faults.may(SSL_STATUS_NULL_POINTER, "batch");
                self.judge(backend, "ssl_workspace_size", status, &faults, String::new);
            }
            _ => self.check_last_error(choices),
        }
    }

    /// No byte beyond the buffer's size, a NUL within it, whole characters.
    fn check_last_error(&mut self, choices: &mut Choices) {
        let text = last_error();
        let size = usize::from(choices.byte());
        let memory = &mut self.memory[0];
        memory.clear();
        let buffer = memory.place(size, Place { at_end: true, shift: 0, scratch: false });
        memory.snapshot();
        self.counts.add(SSL_BACKEND_CPU, "ssl_last_error", 0);
        // SAFETY: as many bytes as said.
        let length = unsafe { ssl_last_error(buffer.cast(), size) };
        assert_eq!(length, text.len());
        let written = buffer as usize..buffer as usize + size;
        assert_eq!(self.memory[0].changed(&[written]), None);
        if size > 0 {
            // SAFETY: the function ends what it writes with a NUL.
            let copy = unsafe { CStr::from_ptr(buffer.cast()) }.to_str().expect("UTF-8");
            assert!(text.starts_with(copy) && copy.len() < size && copy.len() + 4 > text.len().min(size - 1));
        }
    }
}
