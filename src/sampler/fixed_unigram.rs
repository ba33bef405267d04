//! P(k) proportional to given weights, by an alias table.
//!
//! C cells of equal probability, each split between a class and its alias (Walker, 1977;
//! built in linear time, Vose, 1991): a draw takes one cell and one comparison.

use super::distribution::{Distribution, rejection_budget};
use super::stream::{Stream, unit};
use crate::allocation::reserve_exact;
use crate::error::Result;
use crate::math;

/// A distribution of given weights.
#[derive(Debug)]
pub(super) struct FixedUnigram {
    probabilities: Vec<f64>,
    cells: Vec<Cell>,
    num_positive: i64,
    reach: f64,
}

/// Cell k gives class k below the threshold, else the alias.
#[derive(Clone, Copy, Debug)]
struct Cell {
    threshold: f64,
    alias: i64,
}

impl FixedUnigram {
    /// Of weights that are finite, not negative and not all 0. A weight below 2^-1074
    /// of their sum counts as 0.
    ///
    /// # Errors
    /// `HostMemory`.
    pub(super) fn new(weights: Vec<f64>) -> Result<FixedUnigram> {
        let probabilities = normalised(weights);
        let cells = alias_cells(&probabilities)?;
        let num_positive = probabilities.iter().filter(|p| **p > 0.0).count() as i64;
        let budget = rejection_budget(probabilities.len() as i64);
        let reach = probabilities.iter().map(|p| math::one_minus_exp_neg(budget * p)).sum();
        Ok(FixedUnigram { probabilities, cells, num_positive, reach })
    }

    /// `[C]`, summing to 1.
    pub(super) fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }
}

/// Weights over their sum: first over their maximum, lest the sum overflow; summed with
/// the rounding errors kept (Neumaier, 1974).
fn normalised(mut weights: Vec<f64>) -> Vec<f64> {
    let max = weights.iter().copied().fold(0.0, f64::max);
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for weight in &mut weights {
        *weight /= max;
        let next = sum + *weight;
        lost += if sum >= *weight { (sum - next) + *weight } else { (*weight - next) + sum };
        sum = next;
    }
    let total = sum + lost;
    weights.iter_mut().for_each(|weight| *weight /= total);
    weights
}

/// Pairs each class that has less than 1/C with one that has more, which gives up what
/// fills the cell.
fn alias_cells(probabilities: &[f64]) -> Result<Vec<Cell>> {
    const PURPOSE: &str = "the sampler's alias table";
    let num_classes = probabilities.len();
    let (mut cells, mut order) = (Vec::new(), Vec::new());
    reserve_exact(&mut cells, num_classes, PURPOSE)?;
    reserve_exact(&mut order, num_classes, PURPOSE)?;
    order.resize(num_classes, 0);
    // Two stacks in one array: classes that lack something from its start, the others
    // from its end.
    let (mut lacking, mut others) = (0, num_classes);
    let mut heaviest = 0;
    for (class, p) in probabilities.iter().enumerate() {
        let threshold = p * num_classes as f64;
        cells.push(Cell { threshold, alias: class as i64 });
        if threshold < 1.0 {
            order[lacking] = class;
            lacking += 1;
        } else {
            others -= 1;
            order[others] = class;
        }
        if *p > probabilities[heaviest] {
            heaviest = class;
        }
    }
    while lacking > 0 && others < num_classes {
        lacking -= 1;
        let (poor, rich) = (order[lacking], order[others]);
        cells[poor].alias = rich as i64;
        let left = (cells[rich].threshold + cells[poor].threshold) - 1.0;
        cells[rich].threshold = left;
        if left < 1.0 {
            others += 1;
            order[lacking] = rich;
            lacking += 1;
        }
    }
    // What remains lacks rounding errors only; the heaviest class can bear them, and a
    // class of probability 0 stays at 0.
    for class in &order[..lacking] {
        cells[*class].alias = heaviest as i64;
    }
    Ok(cells)
}

impl Distribution for FixedUnigram {
    fn num_classes(&self) -> i64 {
        self.probabilities.len() as i64
    }

    fn num_positive(&self) -> i64 {
        self.num_positive
    }

    #[inline]
    fn probability(&self, class: i64) -> f64 {
        self.probabilities[class as usize]
    }

    fn fill(&self, stream: &mut Stream, classes: &mut [i64]) {
        for class in classes {
            let index = stream.below(self.cells.len() as u64) as usize;
            let u = unit(stream.word());
            let Cell { threshold, alias } = self.cells[index];
            *class = if u < threshold { index as i64 } else { alias };
        }
    }

    fn reach(&self) -> f64 {
        self.reach
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_hold_each_class_in_its_proportion() {
        let heavy = (0..2000).map(|k| if k == 77 { 1e7 } else { f64::from(k % 5) });
        let steep = (0..900).map(|k| 0.7_f64.powi(k));
        let rugged = (0..1013).map(|k| f64::from(k * 7919 % 1013));
        for weights in [heavy.collect::<Vec<f64>>(), steep.collect(), rugged.collect(), vec![3.0]] {
            let len = weights.len() as f64;
            let unigram = FixedUnigram::new(weights).unwrap();
            let mut mass = vec![0.0; unigram.cells.len()];
            for (class, cell) in unigram.cells.iter().enumerate() {
                let own = cell.threshold.min(1.0);
                assert!(own >= 0.0);
                mass[class] += own / len;
                mass[cell.alias as usize] += (1.0 - own) / len;
            }
            for (mass, p) in mass.iter().zip(&unigram.probabilities) {
                assert!((mass - p).abs() <= 1e-12, "{mass:e} in the cells for {p:e}");
                assert!(*p > 0.0 || *mass == 0.0);
            }
        }
    }

    #[test]
    fn small_weights_are_not_lost_in_the_sum() {
        let mut weights = vec![1e-16; 1_000_001];
        weights[0] = 1.0;
        let unigram = FixedUnigram::new(weights).unwrap();
        let want = 1.0 / (1.0 + 1e-10);
        assert!((unigram.probability(0) - want).abs() < 1e-15);
    }
}
