//! Signals of the host program: none of its handlers is to run on a thread of ours.

/// Blocks all signals while threads are made, so that the host program's handlers never
/// run on them.
pub(super) struct SignalMask(libc::sigset_t);

impl SignalMask {
    pub(super) fn block_all() -> SignalMask {
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
