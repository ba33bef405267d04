//! What number formats round, and what engines round beside their accumulation.

use sampled_softmax::abi::*;

use super::{BF16, Case, F16, F32, F64, unit_roundoff};

/// How exactly an engine computes beside the accumulation, which is in the loss's type.
#[derive(Clone, Copy, Debug)]
pub struct Accuracy {
    /// Relative error of the products that logits are sums of.
    pub products: f64,
    /// Of probabilities and rows as they enter the gradients' products.
    pub factors: f64,
    /// Of inputs that are multiplied by their row's factor on their way into d_weights', in
    /// the place of probabilities: what that rounds, and what is lost of a term at most where
    /// the product is below the normal numbers.
    pub inputs: f64,
    pub inputs_least: f64,
    /// Below this, a probability is lost as it enters them, and one that was scaled so that
    /// the largest is 2^14, 2^-14 of that.
    pub least: f64,
}

impl Accuracy {
    /// All in the loss's type.
    pub const FULL: Accuracy =
        Accuracy { products: 0.0, factors: 0.0, inputs: 0.0, inputs_least: 0.0, least: 0.0 };

    /// What the CUDA engine multiplies with, and what that rounds: bfloat16 and float16
    /// products are exact, and what enters the gradients' products is rounded to these
    /// types; three bfloat16 products leave out the least of four; tf32 has 11 bits. Where
    /// rows are too long for registers, exponentials of up to 2^48 are multiplied with inputs
    /// times the rest of their probabilities, rounded to the type of both.
    pub fn of_cuda(case: &Case) -> Accuracy {
        let two = |exponent: i32| 2f64.powi(exponent);
        let exact = Accuracy { inputs_least: two(48 - 126), ..Accuracy::FULL };
        match (case.precision, case.types.inputs, case.types.weights) {
            (SSL_PRECISION_IEEE, ..) => exact,
            (_, BF16, BF16) if case.dim > 256 => Accuracy { factors: two(-8), inputs: two(-8), ..exact },
            (_, BF16, BF16) => Accuracy { factors: two(-8), ..Accuracy::FULL },
            (_, F16, F16) => Accuracy { factors: two(-10), least: two(-25), ..Accuracy::FULL },
            (SSL_PRECISION_TF32, ..) => Accuracy { products: two(-9), factors: two(-9), ..exact },
            _ => Accuracy { products: two(-15), factors: two(-15), ..exact },
        }
    }
}

/// Unit roundoff of a result and its reference together: in float64 both round.
pub fn both_roundings(dtype: u32) -> f64 {
    if dtype == F64 { 2.0 * unit_roundoff(F64) } else { unit_roundoff(dtype) }
}

/// Rounding a result to its dtype: relative, and absolute among the subnormals.
pub fn rounding(dtype: u32, value: f64) -> f64 {
    both_roundings(dtype) * if value.is_finite() { value.abs() } else { 0.0 } + smallest(dtype)
}

/// The smallest subnormal, at the least what rounding moves a value below the normals by.
pub fn smallest(dtype: u32) -> f64 {
    match dtype {
        F64 => f64::from_bits(4),
        F32 => 2.0_f64.powi(-149),
        F16 => 2.0_f64.powi(-24),
        _ => 2.0_f64.powi(-133),
    }
}

pub const CONFIDENCE: f64 = 6.0;

/// The error of a sum in unit roundoffs of its terms' sizes (tolerance.rs says why). A
/// term comes up to `copies` times, and these round alike.
pub fn growth(terms: usize, copies: usize) -> f64 {
    let (terms, copies) = (terms as f64, copies.max(1) as f64);
    terms.min(CONFIDENCE * (terms * copies).sqrt()) + 1.0
}
