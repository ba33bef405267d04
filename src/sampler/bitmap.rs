//! A set of classes as one bit a class, and one summary bit for each word of 64.
//!
//! Insertion is two writes without a branch. The summary leads straight to the words in
//! use, in ascending order: no sort, and what is cleared is what was touched.

use super::excluded::Excluded;
use super::membership::Members;
use crate::allocation::reserve_exact;
use crate::error::Result;

/// A set of classes in `[0, C)`.
pub(super) struct Bitmap {
    words: Vec<u64>,
    /// Bit w of the summary is set if word w may be other than 0.
    summary: Vec<u64>,
}

impl Bitmap {
    /// The empty set over `num_classes` classes.
    ///
    /// # Errors
    /// `HostMemory`.
    pub(super) fn new(num_classes: i64) -> Result<Bitmap> {
        let num_words = (num_classes as u64).div_ceil(64) as usize;
        Ok(Bitmap { words: zeros(num_words)?, summary: zeros(num_words.div_ceil(64))? })
    }

    #[inline(always)]
    fn set(&mut self, class: i64) -> bool {
        let index = class as usize / 64;
        let bit = 1 << (class as u64 % 64);
        let word = &mut self.words[index];
        let is_new = *word & bit == 0;
        *word |= bit;
        self.summary[index / 64] |= 1 << (index % 64);
        is_new
    }
}

fn zeros(len: usize) -> Result<Vec<u64>> {
    let mut words = Vec::new();
    reserve_exact(&mut words, len, "the sampler's bitmap")?;
    words.resize(len, 0);
    Ok(words)
}

impl Members for Bitmap {
    #[inline(always)]
    fn insert(&mut self, class: i64) -> bool {
        self.set(class)
    }

    fn exclude(&mut self, class: i64) -> bool {
        self.set(class)
    }

    #[inline(always)]
    fn contains(&self, class: i64) -> bool {
        self.words[class as usize / 64] >> (class as u64 % 64) & 1 == 1
    }

    fn take(&mut self, excluded: &Excluded<'_>, ids: &mut [i64]) {
        excluded.for_each(|class| self.words[class as usize / 64] &= !(1 << (class as u64 % 64)));
        let mut ids = ids.iter_mut();
        for (group, summary) in self.summary.iter_mut().enumerate() {
            let mut in_use = std::mem::take(summary);
            while in_use != 0 {
                let index = group * 64 + in_use.trailing_zeros() as usize;
                in_use &= in_use - 1;
                let mut word = std::mem::take(&mut self.words[index]);
                while word != 0 {
                    let class = index as i64 * 64 + i64::from(word.trailing_zeros());
                    word &= word - 1;
                    *ids.next().expect("room for every drawn class") = class;
                }
            }
        }
    }

    fn clear(&mut self) {
        self.words.fill(0);
        self.summary.fill(0);
    }
}
