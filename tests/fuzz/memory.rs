//! Memory between pages that end the process when touched, used again by every case; what
//! a call has written, and where.

use std::ops::Range;
use std::ptr::null_mut;

use libc::c_void;

/// Bytes around a piece that are watched too, where the next page is further away.
const MARGIN: usize = 128;
/// Of scratch only this much is looked at from its start.
const PROBE: usize = 256;
const CANARY: u8 = 0x5A;
const PAGE: usize = 4096;

/// Pages between two that cannot be accessed.
struct Slot {
    base: *mut c_void,
    bytes: usize,
}

impl Slot {
    fn new(bytes: usize) -> Self {
        let bytes = bytes.max(1).next_multiple_of(PAGE);
        // SAFETY: a new mapping, of which the inner pages are made accessible.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let base = libc::mmap(null_mut(), bytes + 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED, "no memory for a slot of {bytes} bytes");
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(base.byte_add(PAGE), bytes, access), 0);
            base.byte_add(PAGE).cast::<u8>().write_bytes(CANARY, bytes);
            base
        };
        Slot { base, bytes }
    }

    fn start(&self) -> usize {
        self.base as usize + PAGE
    }

    fn end(&self) -> usize {
        self.start() + self.bytes
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.base, self.bytes + 2 * PAGE) };
    }
}

/// A piece in its slot.
struct Piece {
    start: usize,
    len: usize,
    /// What is watched: the piece, or its first bytes, and its margins.
    watched: [Range<usize>; 2],
}

/// Where a piece lies in its slot.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Against the page behind, else against the page before.
    pub at_end: bool,
    /// Bytes between it and that page.
    pub shift: usize,
    /// Whether it is scratch, whose contents are nobody's business.
    pub scratch: bool,
}

/// Slots, handed out one after another.
#[derive(Default)]
pub struct Memory {
    slots: Vec<Slot>,
    pieces: Vec<Piece>,
    snapshot: Vec<u8>,
}

// SAFETY: addresses of mappings that this value owns.
unsafe impl Send for Memory {}

impl Memory {
    /// Takes all pieces back.
    pub fn clear(&mut self) {
        for (piece, slot) in self.pieces.drain(..).zip(&self.slots) {
            let (first, last) = (piece.start.max(slot.start()), (piece.start + piece.len).min(slot.end()));
            // SAFETY: inside the slot.
            unsafe { (first as *mut u8).write_bytes(CANARY, last - first) };
        }
    }

    /// The next piece.
    pub fn place(&mut self, len: usize, place: Place) -> *mut c_void {
        let Place { at_end, shift, scratch } = place;
        let index = self.pieces.len();
        let need = len + shift;
        if index == self.slots.len() {
            self.slots.push(Slot::new(need.max(PAGE)));
        } else if self.slots[index].bytes < need {
            self.slots[index] = Slot::new(need);
        }
        let slot = &self.slots[index];
        let start = if at_end { slot.end() - shift - len } else { slot.start() + shift };
        let (before, behind) =
            (start.saturating_sub(MARGIN).max(slot.start()), (start + len + MARGIN).min(slot.end()));
        let watched = match scratch {
            false => [before..behind, 0..0],
            true => [before..(start + PROBE.min(len)), (start + len)..behind],
        };
        self.pieces.push(Piece { start, len, watched });
        start as *mut c_void
    }

    /// Of the first piece, if there is one.
    pub fn some_address(&self) -> usize {
        self.pieces.first().map_or(0, |piece| piece.start)
    }

    /// Remembers all contents.
    pub fn snapshot(&mut self) {
        self.snapshot.clear();
        for range in self.pieces.iter().flat_map(|piece| &piece.watched) {
            // SAFETY: inside a slot.
            self.snapshot.extend_from_slice(unsafe { bytes_at(range.clone()) });
        }
    }

    /// The first byte that has changed outside of `allowed` since then: its address, and the
    /// start and length of the piece it lies in or beside.
    pub fn changed(&self, allowed: &[Range<usize>]) -> Option<(usize, usize, usize)> {
        let mut at = 0;
        for piece in &self.pieces {
            for range in &piece.watched {
                // SAFETY: inside a slot.
                let now = unsafe { bytes_at(range.clone()) };
                let before = &self.snapshot[at..at + now.len()];
                at += now.len();
                if now == before {
                    continue;
                }
                let changed = (range.start..range.end)
                    .zip(now.iter().zip(before))
                    .filter(|(_, (now, before))| now != before)
                    .map(|(address, _)| address)
                    .find(|address| !allowed.iter().any(|range| range.contains(address)));
                if let Some(address) = changed {
                    return Some((address, piece.start, piece.len));
                }
            }
        }
        None
    }
}

/// # Safety
/// The addresses can be read.
pub unsafe fn bytes_at<'a>(range: Range<usize>) -> &'a [u8] {
    match range.is_empty() {
        // It may start anywhere.
        true => &[],
        // SAFETY: the caller's promise.
        false => unsafe { std::slice::from_raw_parts(range.start as *const u8, range.len()) },
    }
}
