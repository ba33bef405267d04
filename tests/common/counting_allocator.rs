//! A global allocator that counts and can run out, for tests of what the library
//! allocates. A binary that includes this holds a single test: others would be counted
//! with it.

// Each of the binaries uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

/// The system's allocator, with every call of every thread counted, and refused where
/// more would be held than is allowed.
pub struct CountingAllocator;

static CALLS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
static ALLOWED: AtomicI64 = AtomicI64::new(i64::MAX);
static REFUSED: AtomicI64 = AtomicI64::new(0);

/// Allocations and reallocations so far.
pub fn calls() -> u64 {
    CALLS.load(SeqCst)
}

/// Bytes held now.
pub fn held() -> i64 {
    HELD.load(SeqCst)
}

/// The most bytes held at once since the last `reset_peak`.
pub fn peak() -> i64 {
    PEAK.load(SeqCst)
}

/// Starts a new peak from what is held now.
pub fn reset_peak() {
    PEAK.store(held(), SeqCst);
}

/// Runs `body` with at most `bytes` more to be held than now. If that was too little,
/// gives what would have served the first allocation that was refused, too.
pub fn with_room_for<T>(bytes: i64, body: impl FnOnce() -> T) -> (T, Option<i64>) {
    let before = held();
    REFUSED.store(0, SeqCst);
    ALLOWED.store(before + bytes, SeqCst);
    let result = body();
    ALLOWED.store(i64::MAX, SeqCst);
    let refused = REFUSED.load(SeqCst);
    (result, (refused > 0).then_some(refused - before))
}

/// Makes `attempt` with no memory, then with what the first allocation that was refused
/// had needed, and so on until none is; gives how often it failed.
pub fn with_every_amount(what: &str, mut attempt: impl FnMut(i64) -> Option<i64>) -> usize {
    let (mut room, mut failures) = (0, 0);
    while let Some(needed) = attempt(room) {
        assert!(needed > room, "{what}: {needed} bytes were refused though {room} were allowed");
        (room, failures) = (needed, failures + 1);
    }
    failures
}

/// Counts, if that much may be held.
fn count(bytes: i64) -> bool {
    CALLS.fetch_add(1, SeqCst);
    let held = HELD.fetch_add(bytes, SeqCst) + bytes;
    if bytes > 0 && held > ALLOWED.load(SeqCst) {
        HELD.fetch_sub(bytes, SeqCst);
        let _ = REFUSED.compare_exchange(0, held, SeqCst, SeqCst);
        return false;
    }
    PEAK.fetch_max(held, SeqCst);
    true
}

// SAFETY: passes every call on unchanged, or refuses it as an allocator may.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !count(layout.size() as i64) {
            return null_mut();
        }
        // SAFETY: the caller's promise, here and below.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !count(layout.size() as i64) {
            return null_mut();
        }
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !count(size as i64 - layout.size() as i64) {
            return null_mut();
        }
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as i64, SeqCst);
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}
