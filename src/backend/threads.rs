//! Threads of ours, guests in the host program: none of its signal handlers runs on them,
//! and none of its settings decides on their stacks.

use std::fmt::Display;
use std::thread::{Builder, JoinHandle};

use crate::allocation::check_room;
use crate::error::{Error, Result};

/// Bytes. Far more than the deepest call needs, and touched as far as it goes only.
const STACK: usize = 1 << 20;

/// Starts a thread, which an error calls `what`.
///
/// # Errors
/// `Thread` with the system's reason; `HostMemory`.
pub(super) fn spawn(what: impl Display, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    check_room("a thread")?;
    check_mapping()?;
    let _mask = SignalMask::block_all();
    let started = Builder::new().name("sampled-softmax".into()).stack_size(STACK).spawn(body);
    started.map_err(|reason| Error::Thread(format!("{what} cannot be started: {reason}")))
}

/// Looks whether memory can be mapped. A thread may get the stack of one that has ended, but
/// allocates in a region of its own as it starts; the C library ends the process where that
/// fails.
fn check_mapping() -> Result<()> {
    let (access, kind) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, nobody else's, taken away again.
    unsafe {
        let region = libc::mmap(std::ptr::null_mut(), STACK, access, kind, -1, 0);
        if region == libc::MAP_FAILED {
            return Err(Error::HostMemory { bytes: STACK, purpose: "a thread" });
        }
        libc::munmap(region, STACK);
    }
    Ok(())
}

/// Blocks all signals of the calling thread while it lives; a new thread inherits that.
struct SignalMask(libc::sigset_t);

impl SignalMask {
    fn block_all() -> SignalMask {
        // SAFETY: both sets are initialised by the calls that fill them.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            SignalMask(before)
        }
    }
}

impl Drop for SignalMask {
    fn drop(&mut self) {
        // SAFETY: the set came from `block_all`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}
