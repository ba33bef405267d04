//! What the tolerances of the classes' gradients are made of.

use super::accuracy::CONFIDENCE;
use super::{BF16, Case, unit_roundoff};

/// Sums over rows of |slope value|, and their lengths.
pub struct ClassSums {
    pub d_weights: Vec<f64>,
    /// Of the candidates alone.
    pub rounded: Vec<Rounded>,
    pub d_biases: Vec<f64>,
    pub terms: Vec<usize>,
}

impl ClassSums {
    pub fn new(case: &Case) -> ClassSums {
        ClassSums {
            d_weights: vec![0.0; case.classes * case.dim],
            rounded: vec![Rounded::default(); case.classes * case.dim],
            d_biases: vec![0.0; case.classes],
            terms: vec![0; case.classes],
        }
    }
}

/// Sums of |slope value| and of its square, where slopes are rounded to bfloat16.
#[derive(Clone, Copy, Default)]
pub struct Rounded {
    pub sizes: f64,
    pub squares: f64,
}

impl Rounded {
    pub fn add(&mut self, size: f64) {
        self.sizes += size;
        self.squares += size * size;
    }

    pub fn error(self, copies: usize) -> f64 {
        let likely = CONFIDENCE * (self.squares * copies.max(1) as f64).sqrt();
        unit_roundoff(BF16) * self.sizes.min(likely)
    }
}
