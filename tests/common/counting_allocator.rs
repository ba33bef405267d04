//! A global allocator that counts, for tests of what the library allocates. A binary
//! that includes this holds a single test: others would be counted with it.

// Each of the binaries uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

/// The system's allocator, with every call of every thread counted.
pub struct CountingAllocator;

static CALLS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

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

fn count(bytes: i64) {
    CALLS.fetch_add(1, SeqCst);
    let held = HELD.fetch_add(bytes, SeqCst) + bytes;
    PEAK.fetch_max(held, SeqCst);
}

// SAFETY: passes every call on unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise, here and below.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as i64, SeqCst);
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}
