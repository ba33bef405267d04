//! What a sampler must know of its distribution.

use super::stream::Stream;

/// A fixed probability for each of C classes.
pub(super) trait Distribution {
    /// Whether all classes have the same probability.
    const EQUIPROBABLE: bool = false;

    /// C.
    fn num_classes(&self) -> i64;

    /// How many classes have a positive probability.
    fn num_positive(&self) -> i64;

    /// Probability of `class`, which lies in `[0, C)`.
    fn probability(&self, class: i64) -> f64;

    /// Fills `classes` with independent draws, one after the other from the stream: how
    /// the draws are cut into calls does not matter.
    fn fill(&self, stream: &mut Stream, classes: &mut [i64]);

    /// A lower bound on how many distinct classes [`rejection_budget`] draws are
    /// expected to meet.
    fn reach(&self) -> f64;

    /// Probabilities of several classes; the same numbers as [`probability`] gives.
    ///
    /// [`probability`]: Distribution::probability
    fn probabilities(&self, classes: &[i64], out: &mut [f64]) {
        for (p, class) in out.iter_mut().zip(classes) {
            *p = self.probability(*class);
        }
    }
}

/// Draws that sampling by rejection may be expected to take before a pass over all
/// classes is the cheaper way: a key costs about as much as three draws.
pub(super) fn rejection_budget(num_classes: i64) -> f64 {
    3.0 * num_classes as f64
}
