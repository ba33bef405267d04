//! The exported functions and nothing else: each reads its structs, calls inwards
//! under one guard, and answers with a status. No panic crosses.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use libc::{c_char, c_void};

use crate::abi::{
    SSL_ABI_VERSION_MAJOR, SSL_ABI_VERSION_MINOR, SSL_ABI_VERSION_PATCH, SSL_STATUS_OK, ssl_batch,
    ssl_candidates, ssl_config, ssl_gradients, ssl_loss, ssl_status,
};
use crate::args::{Call, read_struct};
use crate::backend;
use crate::error::{Error, Result, status_string};
use crate::float_environment::StandardFloats;
use crate::handle::Handle;
use crate::registry::{Inside, Registry};

/// A loss with its sampler, its engine and its threads, made by `ssl_create`. A pointer to
/// one is a name that the library looks up, and leads nowhere.
#[allow(non_camel_case_types)]
pub struct ssl_handle(());

static HANDLES: Registry<Handle> = Registry::new();

thread_local! {
    static LAST_ERROR: RefCell<Cow<'static, str>> = const { RefCell::new(Cow::Borrowed("")) };
}

fn guard(call: impl FnOnce() -> Result<()>) -> ssl_status {
    let _floats = StandardFloats::set();
    let error = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return SSL_STATUS_OK,
        Ok(Err(error)) => error,
        Err(payload) => Error::Panic(panic_text(payload.as_ref())),
    };
    // A thread that is ending may have none any more.
    let _ = LAST_ERROR.try_with(|last| keep(&error, &mut last.borrow_mut()));
    error.status()
}

fn keep(error: &Error, last: &mut Cow<'static, str>) {
    let mut text = match std::mem::take(last) {
        Cow::Owned(text) => text,
        Cow::Borrowed(_) => String::new(),
    };
    text.clear();
    *last = match write!(Fallible(&mut text), "{error}") {
        Ok(()) => Cow::Owned(text),
        Err(_) => Cow::Borrowed("out of host memory, and none is left to say for what"),
    };
}

/// A text that fails to grow where memory ends, rather than end the process.
struct Fallible<'a>(&'a mut String);

impl fmt::Write for Fallible<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(text);
        Ok(())
    }
}

/// What a panic said.
fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

/// The handle of a name; it lives until what this returns is dropped.
fn enter(handle: *const ssl_handle) -> Result<Inside<'static, Handle>> {
    match handle.is_null() {
        true => Err(Error::NullPointer("handle")),
        false => HANDLES.enter(handle.addr()),
    }
}

/// # Safety
/// As `ssl_forward`.
#[allow(clippy::too_many_arguments)]
unsafe fn step(
    handle: *mut ssl_handle,
    call: Call,
    batch: *const ssl_batch,
    candidates: *const ssl_candidates,
    loss: *const ssl_loss,
    gradients: Option<*const ssl_gradients>,
    workspace: *mut c_void,
    workspace_size: usize,
    stream: *mut c_void,
) -> ssl_status {
    // SAFETY: the caller's promise.
    guard(|| unsafe {
        enter(handle)?.step(
            call,
            &read_struct(batch, "batch")?,
            &read_struct(candidates, "candidates")?,
            &read_struct(loss, "loss")?,
            gradients.map(|gradients| read_struct(gradients, "gradients")).transpose()?.as_ref(),
            workspace,
            workspace_size,
            stream,
        )
    })
}

/// Makes a handle: checks the configuration, builds the sampler's tables, starts the
/// threads.
///
/// `*out_handle` is written on success only; give it to `ssl_destroy` when done. On
/// failure nothing is left behind.
///
/// One handle may be used by several threads and on several streams at once. The
/// draws of a learning sampler then follow one another in the order the calls
/// arrive; all else is independent.
///
/// Memory that runs out is `SSL_STATUS_HOST_MEMORY`, in this call and in all others. For
/// its many small allocations the library makes sure that there is room before it begins
/// with them; if another thread takes the last of it in that moment, the process ends.
///
/// A CUDA handle retains the device's primary context, which it shares with the CUDA
/// runtime and the frameworks; the caller's current context is never changed.
///
/// # Safety
/// `config` and what it points to are readable; `out_handle` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ssl_create(
    config: *const ssl_config,
    out_handle: *mut *mut ssl_handle,
) -> ssl_status {
    guard(|| {
        if out_handle.is_null() {
            return Err(Error::NullPointer("out_handle"));
        }
        // SAFETY: `config` is the caller's promise.
        let config = unsafe { read_struct(config, "config")? };
        // SAFETY: so is what it points to.
        let handle = Box::new(unsafe { Handle::create(&config)? });
        let name = ptr::without_provenance_mut(HANDLES.insert(handle)?);
        // SAFETY: not NULL, and writable by the caller's promise; it may be
        // unaligned if the caller packs structs.
        unsafe { ptr::write_unaligned(out_handle, name) };
        Ok(())
    })
}

/// Computes the loss.
///
/// Draws the candidates first and writes them into `candidates`, unless its `source`
/// says that they are given. Every argument and every label is checked before
/// anything is written. `loss->log_sum_exp` may be NULL if no `ssl_backward` follows.
///
/// `workspace` is scratch of at least the forward size of `ssl_workspace_size`, of
/// any alignment; nothing in it need be kept.
///
/// Errors to expect: `SSL_STATUS_LABEL_RANGE`, `SSL_STATUS_EXPECTED_COUNT` (a label
/// that the sampler never draws), `SSL_STATUS_WORKSPACE`, and `SSL_STATUS_INVALID_VALUE`
/// where too few classes are left to draw from.
///
/// # Safety
/// Every pointer that is not NULL leads to as much memory as `ssl_config` and
/// `ssl_batch` say, on the handle's device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ssl_forward(
    handle: *mut ssl_handle,
    batch: *const ssl_batch,
    candidates: *const ssl_candidates,
    loss: *const ssl_loss,
    workspace: *mut c_void,
    workspace_size: usize,
    stream: *mut c_void,
) -> ssl_status {
    // SAFETY: all pointers are the caller's promise, here and in the calls below.
    unsafe { step(handle, Call::Forward, batch, candidates, loss, None, workspace, workspace_size, stream) }
}

/// Computes the gradients of an earlier `ssl_forward`.
///
/// Takes the same `batch`, the `candidates` that forward wrote or was given, and its
/// `loss->log_sum_exp`. The logits are computed again rather than kept: nothing of
/// size N x S is ever stored.
///
/// `workspace` is scratch of at least the backward size of `ssl_workspace_size`.
///
/// # Safety
/// As `ssl_forward`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ssl_backward(
    handle: *mut ssl_handle,
    batch: *const ssl_batch,
    candidates: *const ssl_candidates,
    loss: *const ssl_loss,
    gradients: *const ssl_gradients,
    workspace: *mut c_void,
    workspace_size: usize,
    stream: *mut c_void,
) -> ssl_status {
    let gradients = Some(gradients);
    // SAFETY: as in `ssl_forward`.
    unsafe {
        step(handle, Call::Backward, batch, candidates, loss, gradients, workspace, workspace_size, stream)
    }
}

/// Computes loss and gradients in one call, when the upstream gradient is known
/// beforehand: the same results as `ssl_forward` and `ssl_backward`, without computing
/// the logits twice.
///
/// `workspace` is scratch of at least the backward size of `ssl_workspace_size`.
///
/// # Safety
/// As `ssl_forward`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ssl_forward_backward(
    handle: *mut ssl_handle,
    batch: *const ssl_batch,
    candidates: *const ssl_candidates,
    loss: *const ssl_loss,
    gradients: *const ssl_gradients,
    workspace: *mut c_void,
    workspace_size: usize,
    stream: *mut c_void,
) -> ssl_status {
    let gradients = Some(gradients);
    // SAFETY: as in `ssl_forward`.
    unsafe {
        step(handle, Call::Forward, batch, candidates, loss, gradients, workspace, workspace_size, stream)
    }
}

/// Draws candidates and nothing else.
///
/// Of `batch` only `num_rows`, `labels`, `labels_dtype` and the ignore index are read;
/// a NULL `batch` means no labels. With `candidates->ids` NULL nothing is drawn and
/// only `learned_counts` is written. A learning sampler counts the labels after the
/// draw. A CUDA draw that excludes labels or learns from them happens on the stream; if
/// it fails there, the ids are -1 and the counts 1.
///
/// # Safety
/// As `ssl_forward`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ssl_sample(
    handle: *mut ssl_handle,
    batch: *const ssl_batch,
    candidates: *const ssl_candidates,
    stream: *mut c_void,
) -> ssl_status {
    // SAFETY: as in `ssl_forward`.
    guard(|| unsafe {
        let handle = enter(handle)?;
        let batch = match batch.is_null() {
            true => None,
            false => Some(read_struct(batch, "batch")?),
        };
        handle.sample(batch.as_ref(), &read_struct(candidates, "candidates")?, stream)
    })
}

/// Says how many bytes of workspace a batch needs: `*forward` for `ssl_forward`,
/// `*backward` for `ssl_backward` and `ssl_forward_backward`. Either may be NULL.
///
/// Of `batch` only `num_rows`, `dim`, `inputs_dtype` and `weights_dtype` are read; which
/// gradients will be asked for does not matter. The sizes do not grow when `num_rows` shrinks, so one
/// workspace serves every batch up to a largest.
///
/// # Safety
/// `forward` and `backward` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ssl_workspace_size(
    handle: *const ssl_handle,
    batch: *const ssl_batch,
    forward: *mut usize,
    backward: *mut usize,
) -> ssl_status {
    // SAFETY: as in `ssl_forward`.
    guard(|| unsafe {
        let size = enter(handle)?.workspace_size(&read_struct(batch, "batch")?)?;
        if !forward.is_null() {
            ptr::write_unaligned(forward, size.forward);
        }
        if !backward.is_null() {
            ptr::write_unaligned(backward, size.backward);
        }
        Ok(())
    })
}

/// Destroys a handle: frees what it holds and ends its threads. NULL is fine and does
/// nothing.
///
/// The handle is refused from then on, by `ssl_destroy` too, with
/// `SSL_STATUS_INVALID_VALUE`; so is a pointer that never was a handle. Calls that other
/// threads are inside of go on, and the last of them to return frees the handle.
/// Workspaces and buffers are the caller's and stay.
#[unsafe(no_mangle)]
pub extern "C" fn ssl_destroy(handle: *mut ssl_handle) -> ssl_status {
    guard(|| match handle.is_null() {
        true => Ok(()),
        false => HANDLES.destroy(handle.addr()),
    })
}

/// The library's version: major << 16 | minor << 8 | patch.
#[unsafe(no_mangle)]
pub extern "C" fn ssl_version() -> u32 {
    SSL_ABI_VERSION_MAJOR << 16 | SSL_ABI_VERSION_MINOR << 8 | SSL_ABI_VERSION_PATCH
}

/// A status in words. Static, never NULL, also for a status this library does not know.
#[unsafe(no_mangle)]
pub extern "C" fn ssl_status_string(status: ssl_status) -> *const c_char {
    status_string(status).as_ptr()
}

/// Copies the message of the last call that failed on this thread, in UTF-8: it names
/// the argument and the numbers.
///
/// Writes at most `size` bytes, the last of them NUL, and returns the message's length
/// without the NUL; 0 if no call has failed, and at a thread's very end. With `buffer` NULL it only returns the
/// length. Calls that succeed leave the message as it is.
///
/// # Safety
/// `buffer` is NULL or has room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ssl_last_error(buffer: *mut c_char, size: usize) -> usize {
    let copy = |text: &str| {
        if !buffer.is_null() && size > 0 {
            let mut copied = text.len().min(size - 1);
            while !text.is_char_boundary(copied) {
                copied -= 1;
            }
            // SAFETY: `copied` is below `size`, and the caller owns `size` bytes.
            unsafe {
                ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), copied);
                buffer.add(copied).write(0);
            }
        }
        text.len()
    };
    LAST_ERROR.try_with(|text| copy(&text.borrow())).unwrap_or_else(|_| copy(""))
}

/// 1 if `ssl_create` can make a handle on this `SSL_BACKEND_*` here, else 0 with the
/// reason in `ssl_last_error`.
#[unsafe(no_mangle)]
pub extern "C" fn ssl_backend_available(backend: u32) -> i32 {
    i32::from(guard(|| backend::available(backend)) == SSL_STATUS_OK)
}
