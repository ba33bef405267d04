//! Host memory of our own. What grows with the caller's numbers is asked for in a way
//! that can fail. The language ends the process where one of its own small allocations
//! fails (a box, a message, a thread's name): so that none does, a call begins with a look
//! whether there is room for them, and looks again whenever it has taken much.

use crate::error::{Error, Result};

/// Bytes that the small allocations between two looks do not reach together.
const ROOM: usize = 64 << 10;

/// Room for `additional` more elements, and for what small allocations follow, or an error
/// instead of an abort.
///
/// # Errors
/// `HostMemory`.
pub(crate) fn reserve_exact<T>(vec: &mut Vec<T>, additional: usize, purpose: &'static str) -> Result<()> {
    if additional <= vec.capacity() - vec.len() {
        return Ok(());
    }
    try_reserve(vec, additional, purpose)?;
    check_room(purpose)
}

/// Appends an element; as `reserve_exact` where there was no more room.
///
/// # Errors
/// `HostMemory`.
pub(crate) fn push<T>(vec: &mut Vec<T>, element: T, purpose: &'static str) -> Result<()> {
    if vec.len() == vec.capacity() {
        reserve_exact(vec, vec.len().max(16), purpose)?;
    }
    vec.push(element);
    Ok(())
}

/// Looks whether there is memory for the small allocations that follow.
///
/// # Errors
/// `HostMemory`.
pub(crate) fn check_room(purpose: &'static str) -> Result<()> {
    check_room_of(ROOM, purpose)
}

/// As `check_room`, where many things of known size follow.
///
/// # Errors
/// `HostMemory`.
pub(crate) fn check_room_of(bytes: usize, purpose: &'static str) -> Result<()> {
    let mut room = Vec::<u8>::new();
    try_reserve(&mut room, bytes, purpose)?;
    // An allocation that nobody looks at might be left out.
    std::hint::black_box(room.as_mut_ptr());
    Ok(())
}

fn try_reserve<T>(vec: &mut Vec<T>, additional: usize, purpose: &'static str) -> Result<()> {
    vec.try_reserve_exact(additional)
        .map_err(|_| Error::HostMemory { bytes: additional.saturating_mul(size_of::<T>()), purpose })
}
