//! The classes that one draw must not return.

use super::distribution::Distribution;
use super::membership::Members;
use crate::labels::Labels;

/// Labels and avoided ids, in any order and with repeats.
pub(super) struct Excluded<'a> {
    /// Labels, where label exclusion is asked for.
    pub(super) labels: Option<Labels<'a>>,
    /// A label value that stands for no class.
    pub(super) ignored: Option<i64>,
    /// Ids of the caller's avoid list.
    pub(super) avoid: &'a [i64],
}

/// How much is excluded, each class counted once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExcludedMass {
    /// Excluded classes of positive probability.
    pub(super) classes: i64,
    /// Their probability.
    pub(super) probability: f64,
}

impl Excluded<'_> {
    /// Calls `visit` with every excluded class, repeats included.
    pub(super) fn for_each(&self, mut visit: impl FnMut(i64)) {
        if let Some(labels) = self.labels {
            labels.iter().filter(|label| Some(*label) != self.ignored).for_each(&mut visit);
        }
        self.avoid.iter().copied().for_each(visit);
    }

    /// An upper bound on the number of excluded classes.
    pub(super) fn len_bound(&self) -> usize {
        self.labels.map_or(0, |labels| labels.len()) + self.avoid.len()
    }

    /// Puts the excluded classes into `members`, and measures them.
    pub(super) fn mark<D: Distribution, M: Members>(
        &self,
        distribution: &D,
        members: &mut M,
    ) -> ExcludedMass {
        let mut mass = ExcludedMass::default();
        self.for_each(|class| {
            let p = distribution.probability(class);
            if members.exclude(class) && p > 0.0 {
                mass.classes += 1;
                mass.probability += p;
            }
        });
        mass
    }
}
