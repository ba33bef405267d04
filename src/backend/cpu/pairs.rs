//! Products of bfloat16: two factors in the room of one float32, multiplied and added to
//! a float32 sum by one instruction (AVX512-BF16), at twice float32's rate.
//!
//! A product takes its k in pairs. Where k runs along rows (inputs and weights for the
//! logits), memory holds the pairs as they are needed; where it runs down columns
//! (inputs for d_weights, weights for d_inputs), two rows are interleaved. A panel of
//! pairs has the width of a panel of numbers and is half as long in k; where k is odd, the
//! last pair ends with 0.
//!
//! The logits of bfloat16 inputs and weights are multiplied so always: every product is
//! exact. Gradients are where they are returned in bfloat16 too, because their other
//! factor, the gradient of a logit, must be rounded: each term by 2^-8 of it at most, as
//! the sum is on its way out. The instruction takes subnormal numbers, below 1.2e-38,
//! for 0.

use super::gemm::Product;
#[cfg(target_arch = "x86_64")]
use super::gemm::product;
use super::kernels::Kernels;
use super::panels::Panels;
#[cfg(target_arch = "x86_64")]
use super::simd_x86::{Avx512, Bf16Pairs, narrow};
use crate::args::{Precision, Problem, Shape};
use crate::backend::Step;
use crate::memory::{Dtype, Tensor};

/// Which of the three products take pairs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paired {
    pub(crate) logits: bool,
    pub(crate) d_inputs: bool,
    pub(crate) d_weights: bool,
}

impl Paired {
    /// None.
    pub(crate) const NONE: Paired = Paired { logits: false, d_inputs: false, d_weights: false };

    /// As the dtypes of a call allow.
    pub(crate) fn of_step<R>(step: &Step<'_>, kernels: &Kernels<R>) -> Paired {
        let logits = Paired::possible(step.problem, &step.batch.shape, kernels);
        let short = |of: Option<Tensor>| logits && of.is_none_or(|tensor| tensor.dtype == Dtype::Bf16);
        let gradients = step.gradients.as_ref();
        Paired {
            logits,
            d_inputs: short(gradients.and_then(|gradients| gradients.d_inputs)),
            // An update is no gradient that is returned.
            d_weights: short(gradients.and_then(|gradients| gradients.d_weights))
                && gradients.is_none_or(|gradients| gradients.update().is_none()),
        }
    }

    /// Whether such inputs and weights are multiplied in pairs, here and by choice.
    pub(crate) fn possible<R>(problem: &Problem, shape: &Shape, kernels: &Kernels<R>) -> bool {
        let short = (shape.inputs, shape.weights) == (Dtype::Bf16, Dtype::Bf16);
        short && kernels.pairs.is_some() && problem.precision != Precision::Ieee
    }
}

/// Steps of k that so many numbers take.
pub(crate) fn steps(paired: bool, numbers: usize) -> usize {
    if paired { numbers.div_ceil(2) } else { numbers }
}

/// The loops for pairs of one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct PairKernels<R> {
    /// A matrix product on one panel, of pairs.
    pub(crate) product: unsafe fn(&Product<R>),
    /// Rounds a panel of numbers to pairs.
    pub(crate) narrow: unsafe fn(&Narrow<R>),
}

/// A panel of numbers to round to bfloat16.
// Only x86-64 has kernels that read it.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[derive(Clone, Copy)]
pub(crate) struct Narrow<R> {
    pub(crate) data: *const R,
    pub(crate) rows: usize,
    /// Pairs of neighbours in a column, half as many rows as wide as the panel; NULL
    /// where not wanted.
    pub(crate) down: *mut R,
    /// Pairs of neighbours in a row, `width / 2` of them every `width`; NULL where not
    /// wanted. A row of it may lie where that row of `data` does, or before.
    pub(crate) along: *mut R,
}

#[cfg(target_arch = "x86_64")]
pub(crate) const AVX512: PairKernels<f32> = PairKernels { product: product_of, narrow };

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16,fma")]
unsafe fn product_of(p: &Product<f32>) {
    // SAFETY: the caller's promise.
    unsafe { product::<Avx512, Bf16Pairs>(p) }
}

/// The matrix whose panels hold pairs of neighbours of the columns of `numbers`: two
/// panels of numbers are one of pairs, which lies where the first of them does.
pub(crate) fn along<R: Copy>(numbers: &Panels<R>) -> Panels<R> {
    Panels { rows: 2 * numbers.rows, cols: numbers.cols.div_ceil(2), ..*numbers }
}
