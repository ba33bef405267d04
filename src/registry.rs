//! The live handles, by name. What a caller holds is no address: it is looked up at every
//! call and never followed, so that a handle that was destroyed, one of another copy of
//! this library and a pointer that never was a handle are refused without touching memory
//! of theirs.
//!
//! ```text
//! name   mark | generation of the slot | index of the slot | 1
//! ```
//!
//! No user-space address has the mark in its highest bits, and none of an object the 1 in
//! its lowest. Each slot counts the calls that are inside; whoever leaves last after a
//! destruction drops the value. Slots live in blocks that stay as long as the
//! registry, and nothing here takes a lock: a child of `fork` finds none held.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::UnsafeCell;
use std::ops::Deref;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::error::{Error, Result};

const INDEX_BITS: u32 = usize::BITS / 8 * 3 - 1;
const GENERATION_BITS: u32 = usize::BITS / 2;
const GENERATION_SHIFT: u32 = INDEX_BITS + 1;
const MARK_SHIFT: u32 = GENERATION_SHIFT + GENERATION_BITS;
const MARK: usize = 5;
const LAST_GENERATION: u64 = (1 << GENERATION_BITS) - 1;

/// Slots of the first block; each further block has twice as many.
const FIRST_BLOCK: usize = 64;
const BLOCKS: usize = (INDEX_BITS - FIRST_BLOCK.ilog2()) as usize;
/// Values that can live at once.
const CAPACITY: usize = ((1 << BLOCKS) - 1) * FIRST_BLOCK;

/// A slot's state: its generation, whether its value lives, how many are inside.
const ALIVE: u64 = 1 << 31;
const USERS: u64 = ALIVE - 1;
const GENERATION: u32 = 32;

/// On a cache line of its own: calls on different handles do not disturb one another.
#[repr(align(64))]
struct Slot<T> {
    state: AtomicU64,
    /// A box that was taken apart, while the value lives or somebody is inside.
    value: UnsafeCell<*mut T>,
    /// Of the list of free slots: the next one's index and 1, or 0.
    next: AtomicU32,
}

/// All values of a type that callers hold by name.
pub(crate) struct Registry<T> {
    blocks: [AtomicPtr<Slot<T>>; BLOCKS],
    /// Slots that have ever been used.
    used: AtomicU32,
    /// The first free one's index and 1, or 0, below a count of changes.
    free: AtomicU64,
}

// SAFETY: a value is written before its slot comes alive, shared while it lives, and
// dropped by the last who leaves.
unsafe impl<T: Send + Sync> Sync for Registry<T> {}

/// A value that stays while this does, destroyed or not.
pub(crate) struct Inside<'a, T> {
    registry: &'a Registry<T>,
    slot: &'a Slot<T>,
    index: usize,
    value: &'a T,
}

impl<T> Registry<T> {
    pub(crate) const fn new() -> Registry<T> {
        Registry {
            blocks: [const { AtomicPtr::new(null_mut()) }; BLOCKS],
            used: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    /// Takes a value in; gives its name.
    pub(crate) fn insert(&self, value: Box<T>) -> Result<usize> {
        let (index, slot) = self.take_slot()?;
        // SAFETY: the slot was taken, so it is ours until it comes alive.
        unsafe { *slot.value.get() = Box::into_raw(value) };
        let generation = slot.state.load(Ordering::Relaxed) >> GENERATION;
        slot.state.store(generation << GENERATION | ALIVE, Ordering::Release);
        let generation = self.salted(generation as usize);
        Ok(MARK << MARK_SHIFT | generation << GENERATION_SHIFT | index << 1 | 1)
    }

    /// The value of a name, if it lives.
    #[inline]
    pub(crate) fn enter(&self, name: usize) -> Result<Inside<'_, T>> {
        self.change(name, |state| state + 1)
    }

    /// Ends a value: its name is refused from now on. It is dropped here, or by the last
    /// call that is inside.
    pub(crate) fn destroy(&self, name: usize) -> Result<()> {
        self.change(name, |state| (state & !ALIVE) + 1).map(drop)
    }

    #[inline]
    fn change(&self, name: usize, change: impl Fn(u64) -> u64) -> Result<Inside<'_, T>> {
        let (index, generation, slot) = self.find(name).ok_or_else(|| not_alive(name))?;
        let mut state = slot.state.load(Ordering::Relaxed);
        while state >> GENERATION == generation && state & ALIVE != 0 {
            let new = change(state);
            match slot.state.compare_exchange_weak(state, new, Ordering::Acquire, Ordering::Relaxed) {
                Err(newer) => state = newer,
                Ok(_) => {
                    // SAFETY: it lived, and we are counted: nobody drops or replaces it.
                    let value = unsafe { &**slot.value.get() };
                    return Ok(Inside { registry: self, slot, index, value });
                }
            }
        }
        Err(not_alive(name))
    }

    /// Where a name leads, whether or not something lives there.
    fn find(&self, name: usize) -> Option<(usize, u64, &Slot<T>)> {
        let index = name >> 1 & ((1 << INDEX_BITS) - 1);
        if name >> MARK_SHIFT != MARK || name & 1 == 0 || index >= CAPACITY {
            return None;
        }
        let (block, offset) = place(index);
        let block = self.blocks[block].load(Ordering::Acquire);
        // SAFETY: a block has as many slots as `place` counts on, and is never freed.
        let slot = unsafe { block.as_ref().map(|_| &*block.add(offset)) }?;
        Some((index, self.unsalted(name >> GENERATION_SHIFT), slot))
    }

    /// Two copies of this library in one process would give out the same names: each adds
    /// a number of its own to the generations.
    fn salt(&self) -> usize {
        (std::ptr::from_ref(self) as usize >> 6).wrapping_mul(0x9E37_79B1)
    }

    fn salted(&self, generation: usize) -> usize {
        generation.wrapping_add(self.salt()) & LAST_GENERATION as usize
    }

    fn unsalted(&self, generation: usize) -> u64 {
        generation.wrapping_sub(self.salt()) as u64 & LAST_GENERATION
    }

    fn take_slot(&self) -> Result<(usize, &Slot<T>)> {
        let mut free = self.free.load(Ordering::Acquire);
        while let Some(index) = (free as u32 as usize).checked_sub(1) {
            let slot = self.slot(index)?;
            let next = u64::from(slot.next.load(Ordering::Relaxed));
            let newer = ((free >> 32) + 1) << 32 | next;
            match self.free.compare_exchange_weak(free, newer, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Ok((index, slot)),
                Err(now) => free = now,
            }
        }
        let grow = |used: u32| ((used as usize) < CAPACITY).then_some(used + 1);
        let index = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow);
        let index = index.map_err(|_| no_room(CAPACITY.saturating_mul(size_of::<Slot<T>>())))? as usize;
        Ok((index, self.slot(index)?))
    }

    fn give_back(&self, index: usize, slot: &Slot<T>) {
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            slot.next.store(free as u32, Ordering::Relaxed);
            let newer = ((free >> 32) + 1) << 32 | (index as u64 + 1);
            match self.free.compare_exchange_weak(free, newer, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }

    /// The slot of an index, in a block that is made if need be.
    fn slot(&self, index: usize) -> Result<&Slot<T>> {
        let (number, offset) = place(index);
        let block = match self.blocks[number].load(Ordering::Acquire) {
            block if block.is_null() => self.make_block(number)?,
            block => block,
        };
        // SAFETY: as in `find`.
        Ok(unsafe { &*block.add(offset) })
    }

    fn make_block(&self, number: usize) -> Result<*mut Slot<T>> {
        let layout = block_layout::<T>(number)?;
        // SAFETY: the layout is not empty; every slot is written before anybody sees it.
        let block = unsafe {
            let block = alloc(layout).cast::<Slot<T>>();
            if block.is_null() {
                return Err(no_room(layout.size()));
            }
            for offset in 0..FIRST_BLOCK << number {
                block.add(offset).write(Slot {
                    state: AtomicU64::new(0),
                    value: UnsafeCell::new(null_mut()),
                    next: AtomicU32::new(0),
                });
            }
            block
        };
        let slot = &self.blocks[number];
        match slot.compare_exchange(null_mut(), block, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(block),
            Err(others) => {
                // SAFETY: allocated above, and nobody has seen it.
                unsafe { dealloc(block.cast(), layout) };
                Ok(others)
            }
        }
    }
}

// The library's own are static and live as long as the process.
impl<T> Drop for Registry<T> {
    fn drop(&mut self) {
        for (number, block) in self.blocks.iter_mut().enumerate() {
            let block = *block.get_mut();
            if block.is_null() {
                continue;
            }
            let layout = block_layout::<T>(number).expect("it was allocated");
            // SAFETY: made by `make_block`; nobody is inside, since whoever is borrows the registry.
            unsafe {
                for offset in 0..FIRST_BLOCK << number {
                    let slot = &mut *block.add(offset);
                    if *slot.state.get_mut() & ALIVE != 0 {
                        drop(Box::from_raw(*slot.value.get()));
                    }
                }
                dealloc(block.cast(), layout);
            }
        }
    }
}

fn block_layout<T>(number: usize) -> Result<Layout> {
    Layout::array::<Slot<T>>(FIRST_BLOCK << number).map_err(|_| no_room(usize::MAX))
}

/// The block of an index, and the place in it.
fn place(index: usize) -> (usize, usize) {
    let from_first = index + FIRST_BLOCK;
    let block = from_first.ilog2() - FIRST_BLOCK.ilog2();
    (block as usize, from_first - (FIRST_BLOCK << block))
}

fn no_room(bytes: usize) -> Error {
    Error::HostMemory { bytes, purpose: "the table of handles" }
}

#[cold]
fn not_alive(name: usize) -> Error {
    Error::InvalidValue(format!("handle = {name:#x}: ssl_create has not made it, or it was destroyed"))
}

impl<T> Deref for Inside<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for Inside<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let before = self.slot.state.fetch_sub(1, Ordering::Release);
        if before & (ALIVE | USERS) == 1 {
            self.drop_value(before >> GENERATION);
        }
    }
}

impl<T> Inside<'_, T> {
    #[cold]
    fn drop_value(&mut self, generation: u64) {
        // After all that those did who left before: a load and no fence, which ThreadSanitizer does not see.
        self.slot.state.load(Ordering::Acquire);
        // SAFETY: dead, and we were the last inside.
        drop(unsafe { Box::from_raw(*self.slot.value.get()) });
        // A slot whose names are used up is left as it is.
        if generation < LAST_GENERATION {
            self.slot.state.store((generation + 1) << GENERATION, Ordering::Relaxed);
            self.registry.give_back(self.index, self.slot);
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
