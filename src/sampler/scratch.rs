//! Memory that a sampler keeps from draw to draw, so that draws allocate nothing.

use super::exponential_keys::Key;
use super::membership::Membership;
use super::replacement;
use crate::error::Result;

/// Working memory of a draw.
#[derive(Default)]
pub(super) struct Scratch {
    /// Empty between draws. Made at creation where drawn classes are distinct, else by
    /// the first draw that excludes any.
    membership: Option<Membership>,
    buffers: Buffers,
}

/// Buffers of the ways to draw that need some.
#[derive(Default)]
pub(super) struct Buffers {
    /// Of [`super::exponential_keys`].
    pub(super) keys: Vec<Key>,
    /// Of [`super::replacement`].
    pub(super) arrivals: Vec<f64>,
}

impl Scratch {
    /// The empty set with room for `members` classes, and the buffers. A sampler always
    /// passes the same `num_classes` and `num_sampled`.
    ///
    /// # Errors
    /// `HostMemory`.
    pub(super) fn members(
        &mut self,
        num_classes: i64,
        num_sampled: usize,
        members: usize,
    ) -> Result<(&mut Membership, &mut Buffers)> {
        let membership = match &mut self.membership {
            Some(membership) => membership,
            none => none.insert(Membership::new(num_classes, num_sampled)?),
        };
        membership.reserve(members)?;
        Ok((membership, &mut self.buffers))
    }

    /// Makes room for a sample of `count` with replacement.
    ///
    /// # Errors
    /// `HostMemory`.
    pub(super) fn reserve_arrivals(&mut self, count: usize) -> Result<()> {
        replacement::reserve(&mut self.buffers.arrivals, count)
    }

    /// Empties what a draw that failed has left behind.
    pub(super) fn clear(&mut self) {
        if let Some(membership) = &mut self.membership {
            membership.clear();
        }
    }
}
