//! The set of classes already drawn, and of those that must not be.

use super::bitmap::Bitmap;
use super::excluded::Excluded;
use super::id_table::IdTable;
use crate::error::Result;

/// A set of classes that gives its drawn members back in ascending order.
pub(super) trait Members {
    /// Adds a drawn class; false if it was a member, drawn or excluded.
    fn insert(&mut self, class: i64) -> bool;

    /// Adds a class that must not be drawn; false if it was a member.
    fn exclude(&mut self, class: i64) -> bool;

    /// Whether `class` is a member, drawn or excluded.
    fn contains(&self, class: i64) -> bool;

    /// Moves the drawn classes, ascending, to `ids`, which has room for exactly these,
    /// and leaves the set empty. `excluded` is what has been excluded.
    fn take(&mut self, excluded: &Excluded<'_>, ids: &mut [i64]);

    /// Empties the set, in time of its size.
    fn clear(&mut self);
}

/// Beyond, passing over a bitmap's summary takes longer than sorting the sample: measured
/// with S from 64 to 65,536 and C from 10^6 to 10^9.
const CLASSES_PER_SAMPLE: i64 = 1 << 15;

/// The bitmap takes 1 GiB here.
const LARGEST_BITMAP: i64 = 1 << 33;

/// The structure that suits the numbers of classes and samples.
pub(super) enum Membership {
    /// One bit a class.
    Bitmap(Bitmap),
    /// Memory in proportion to the sample.
    Table(IdTable),
}

impl Membership {
    /// For samples of `num_sampled` of `num_classes` classes.
    ///
    /// # Errors
    /// `HostMemory`.
    pub(super) fn new(num_classes: i64, num_sampled: usize) -> Result<Membership> {
        let worthwhile = (num_sampled as i64).saturating_mul(CLASSES_PER_SAMPLE);
        if num_classes <= worthwhile.min(LARGEST_BITMAP) {
            Bitmap::new(num_classes).map(Membership::Bitmap)
        } else {
            Ok(Membership::Table(IdTable::new()))
        }
    }

    /// Makes room for `members` classes, drawn and excluded. The set is empty.
    ///
    /// # Errors
    /// `HostMemory`.
    pub(super) fn reserve(&mut self, members: usize) -> Result<()> {
        match self {
            Membership::Bitmap(_) => Ok(()),
            Membership::Table(table) => table.reserve(members),
        }
    }

    /// Empties the set.
    pub(super) fn clear(&mut self) {
        match self {
            Membership::Bitmap(bitmap) => bitmap.clear(),
            Membership::Table(table) => table.clear(),
        }
    }
}
