//! P(k) proportional to 1 + how often k has been a label.
//!
//! Counts in a Fenwick tree (1994): node i holds the sum of the i & -i counts up to
//! class i - 1, so that finding a draw and adding a label both take log2(C) steps.

use super::distribution::{Distribution, rejection_budget};
use super::stream::Stream;
use crate::allocation::reserve_exact;
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::math;

/// A distribution that follows the labels.
pub(super) struct LearnedUnigram {
    counts: Vec<i64>,
    /// Node i at i - 1.
    tree: Vec<i64>,
    total: i64,
    /// How many classes have a count in [2^j, 2^(j + 1)).
    magnitudes: [i64; 63],
}

impl LearnedUnigram {
    /// Over `num_classes` classes, each with a count of 1 or as given.
    ///
    /// # Errors
    /// `Shape` or `InvalidValue` for given counts, `HostMemory`.
    pub(super) fn new(num_classes: i64, given: Option<Vec<i64>>) -> Result<LearnedUnigram> {
        const PURPOSE: &str = "the sampler's counts";
        let len = usize::try_from(num_classes).unwrap_or(usize::MAX);
        let counts = match given {
            Some(counts) => counts,
            None => {
                let mut counts = Vec::new();
                reserve_exact(&mut counts, len, PURPOSE)?;
                counts.resize(len, 1);
                counts
            }
        };
        super::checks::check_learned_length(counts.len(), num_classes)?;
        let total = checked_total(&counts)?;
        let mut tree = Vec::new();
        reserve_exact(&mut tree, len, PURPOSE)?;
        tree.extend_from_slice(&counts);
        for node in 1..=len {
            let parent = node + (node & node.wrapping_neg());
            if parent <= len {
                tree[parent - 1] += tree[node - 1];
            }
        }
        let mut magnitudes = [0; 63];
        counts.iter().for_each(|count| magnitudes[count.ilog2() as usize] += 1);
        Ok(LearnedUnigram { counts, tree, total, magnitudes })
    }

    /// `[C]`, each at least 1.
    pub(super) fn counts(&self) -> &[i64] {
        &self.counts
    }

    /// Whether `labels` more can be counted.
    ///
    /// # Errors
    /// `InvalidValue` if the sum of the counts could overflow.
    pub(super) fn check_room(&self, labels: usize) -> Result<()> {
        let room = i64::MAX - self.total;
        if i64::try_from(labels).is_ok_and(|labels| labels <= room) {
            return Ok(());
        }
        Err(Error::InvalidValue(format!(
            "learned_counts: their sum {} and {labels} more labels overflow int64",
            self.total
        )))
    }

    /// Adds 1 for each label that is not `ignored`.
    pub(super) fn learn(&mut self, labels: Labels<'_>, ignored: Option<i64>) {
        for class in labels.iter().filter(|label| Some(*label) != ignored) {
            let count = &mut self.counts[class as usize];
            self.magnitudes[count.ilog2() as usize] -= 1;
            *count += 1;
            self.magnitudes[count.ilog2() as usize] += 1;
            self.total += 1;
            let mut node = class as usize + 1;
            while node <= self.tree.len() {
                self.tree[node - 1] += 1;
                node += node & node.wrapping_neg();
            }
        }
    }

    /// Turns numbers in `[0, total)` into the classes whose stretch they fall in. Level
    /// by level for all of them, so that their cache misses overlap.
    fn locate(&self, numbers: &mut [i64]) {
        let mut nodes = [0; LANES];
        let mut step = 1_usize << self.tree.len().ilog2();
        while step > 0 {
            for (node, number) in nodes.iter_mut().zip(numbers.iter_mut()) {
                let below = self.tree.get(*node + step - 1).copied().unwrap_or(i64::MAX);
                // Multiplied by 0 or 1: a branch here is a coin toss.
                let is_right = below <= *number;
                *number -= below * i64::from(is_right);
                *node += step * usize::from(is_right);
            }
            step /= 2;
        }
        for (node, number) in nodes.iter().zip(numbers) {
            *number = *node as i64;
        }
    }
}

const LANES: usize = 16;

fn checked_total(counts: &[i64]) -> Result<i64> {
    let mut total = 0_i64;
    for (index, count) in counts.iter().enumerate() {
        if *count < 1 {
            return Err(Error::InvalidValue(format!("learned_counts[{index}] = {count} must be at least 1")));
        }
        total = total.checked_add(*count).ok_or_else(|| {
            Error::InvalidValue(format!("learned_counts: the sum of the first {} overflows int64", index + 1))
        })?;
    }
    Ok(total)
}

impl Distribution for LearnedUnigram {
    fn num_classes(&self) -> i64 {
        self.counts.len() as i64
    }

    fn num_positive(&self) -> i64 {
        self.counts.len() as i64
    }

    #[inline]
    fn probability(&self, class: i64) -> f64 {
        self.counts[class as usize] as f64 / self.total as f64
    }

    fn fill(&self, stream: &mut Stream, classes: &mut [i64]) {
        for lanes in classes.chunks_mut(LANES) {
            lanes.fill_with(|| stream.below(self.total as u64) as i64);
            self.locate(lanes);
        }
    }

    fn reach(&self) -> f64 {
        let per_count = rejection_budget(self.num_classes()) / self.total as f64;
        let met = |j: usize| math::one_minus_exp_neg(per_count * (1_u64 << j) as f64);
        self.magnitudes.iter().enumerate().map(|(j, classes)| *classes as f64 * met(j)).sum()
    }
}
