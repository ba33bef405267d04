//! A set of classes in memory proportional to its size, for class counts beyond any
//! bitmap: open addressing with linear probing, at most half full.

use super::excluded::Excluded;
use super::membership::Members;
use crate::allocation::reserve_exact;
use crate::error::{Error, Result};

/// No class, drawn (c) or excluded (-1 - c), has this value: C is below 2^63.
const EMPTY: i64 = i64::MIN;

/// A set of classes. A drawn class is stored as itself, an excluded one as `!class`.
pub(super) struct IdTable {
    slots: Vec<i64>,
    /// Slots in use by the present draw: 2^bits of them.
    bits: u32,
}

impl IdTable {
    /// The empty set, with room for nothing.
    pub(super) fn new() -> IdTable {
        IdTable { slots: Vec::new(), bits: 0 }
    }

    /// Makes room for `members` classes. The set is empty.
    ///
    /// # Errors
    /// `HostMemory`.
    pub(super) fn reserve(&mut self, members: usize) -> Result<()> {
        const PURPOSE: &str = "the sampler's table of ids";
        let capacity = members
            .checked_mul(2)
            .and_then(|twice| twice.max(16).checked_next_power_of_two())
            .ok_or(Error::HostMemory { bytes: usize::MAX, purpose: PURPOSE })?;
        if capacity > self.slots.len() {
            let missing = capacity - self.slots.len();
            reserve_exact(&mut self.slots, missing, PURPOSE)?;
            self.slots.resize(capacity, EMPTY);
        }
        self.bits = capacity.trailing_zeros();
        Ok(())
    }

    /// The slot of `class`: where it is, or the empty one where it belongs.
    #[inline(always)]
    fn find(&self, class: i64) -> usize {
        let mask = (1_usize << self.bits) - 1;
        // Multiplicative hashing (Knuth): the high bits of a product with 2^64 / phi.
        let hash = (class as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut slot = (hash >> (64 - self.bits)) as usize;
        loop {
            let stored = self.slots[slot];
            if stored == EMPTY || stored == class || stored == !class {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn set(&mut self, class: i64, stored: i64) -> bool {
        let slot = self.find(class);
        let is_new = self.slots[slot] == EMPTY;
        if is_new {
            self.slots[slot] = stored;
        }
        is_new
    }
}

impl Members for IdTable {
    #[inline(always)]
    fn insert(&mut self, class: i64) -> bool {
        self.set(class, class)
    }

    fn exclude(&mut self, class: i64) -> bool {
        self.set(class, !class)
    }

    #[inline(always)]
    fn contains(&self, class: i64) -> bool {
        self.slots[self.find(class)] != EMPTY
    }

    fn take(&mut self, _excluded: &Excluded<'_>, ids: &mut [i64]) {
        let in_use = &mut self.slots[..1 << self.bits];
        let drawn = in_use.iter().filter(|stored| **stored >= 0);
        for (id, stored) in ids.iter_mut().zip(drawn) {
            *id = *stored;
        }
        in_use.fill(EMPTY);
        ids.sort_unstable();
    }

    fn clear(&mut self) {
        self.slots.fill(EMPTY);
    }
}
