//! The inner loops, generic over the vector, and one table of them for each instruction
//! set; the engine calls through the table that suits the machine (`machine.rs`).

use super::gemm::{Product, product};
use super::pairs::PairKernels;
use super::simd::{Lanes, Numbers, Real, Vector};

/// One panel of logits, from the first of `rows` rows.
#[derive(Clone, Copy)]
pub(crate) struct Logits<R> {
    pub(crate) data: *mut R,
    pub(crate) rows: usize,
    /// bias - ln Q of the panel's classes; -inf where there is none.
    pub(crate) offset: *const R,
}

/// What turns a row's logits into gradients: coefficient * exp(z - high - low), where
/// high + low is the row's log-sum-exp. A coefficient of 0 gives 0, whatever z is.
#[derive(Clone, Copy)]
pub(crate) struct RowScale<R> {
    pub(crate) coefficient: R,
    pub(crate) high: R,
    pub(crate) low: R,
}

/// The inner loops for one instruction set.
pub(crate) struct Kernels<R> {
    pub(crate) name: &'static str,
    /// Width of a panel: two vectors.
    pub(crate) width: usize,
    /// A matrix product on one panel.
    pub(crate) product: unsafe fn(&Product<R>),
    /// Adds the offsets and, if `state` is not NULL, takes the logits into each row's
    /// running reference, near its maximum, and sum of exponentials relative to that:
    /// `width` numbers a row, half for each.
    pub(crate) accumulate: unsafe fn(&Logits<R>, *mut R),
    /// Ends a row's state: the largest reference, and the sum relative to it.
    pub(crate) finish: unsafe fn(*const R) -> (R, R),
    /// Turns a panel of logits, offsets included, into gradients of the logits.
    pub(crate) gradients: unsafe fn(*mut R, &[RowScale<R>]),
    /// Adds the sum of each column to `width` numbers.
    pub(crate) column_sums: unsafe fn(*const R, usize, *mut R),
    /// Products of bfloat16, where the machine has instructions for them.
    pub(crate) pairs: Option<PairKernels<R>>,
}

/// How far a logit may lie above the reference of its sum: e^8 times any number of
/// classes is far from overflow.
const SLACK: f32 = 8.0;

#[inline(always)]
unsafe fn accumulate<V: Vector>(logits: &Logits<V::Real>, state: *mut V::Real) {
    // SAFETY: the panel, the offsets and the state are as wide as `Kernels` says.
    unsafe {
        let offset = [V::load(logits.offset), V::load(logits.offset.add(V::LANES))];
        let slack = V::splat(V::Real::from_f32(SLACK));
        for row in 0..logits.rows {
            let at = logits.data.add(row * 2 * V::LANES);
            let z = [V::load(at).add(offset[0]), V::load(at.add(V::LANES)).add(offset[1])];
            z[0].store(at);
            z[1].store(at.add(V::LANES));
            if state.is_null() {
                continue;
            }
            // A reference a lane, moved only when a lane is far above it: rare after the
            // first panel, so an element costs one exponential.
            let state = state.add(row * 2 * V::LANES);
            let (mut max, mut sum) = (V::load(state), V::load(state.add(V::LANES)));
            let larger = z[0].max(z[1]);
            if larger.any_above(max.add(slack)) {
                let raised = larger.max(max);
                sum = sum.mul(max.sub(raised).exp());
                max = raised;
                max.store(state);
            }
            sum = sum.add(z[0].sub(max).exp().add(z[1].sub(max).exp()));
            sum.store(state.add(V::LANES));
        }
    }
}

#[inline(always)]
unsafe fn finish<V: Vector>(state: *const V::Real) -> (V::Real, V::Real) {
    // SAFETY: a state is two vectors.
    unsafe {
        let max = V::load(state);
        let mut most = V::Real::LOWEST;
        for lane in 0..V::LANES {
            let value = *state.add(lane);
            most = if value > most { value } else { most };
        }
        let scaled = V::load(state.add(V::LANES)).mul(max.sub(V::splat(most)).exp());
        let mut lanes = [V::Real::ZERO; 16];
        scaled.store(lanes.as_mut_ptr());
        let sum = lanes[..V::LANES].iter().fold(V::Real::ZERO, |sum, &lane| sum.fma(V::Real::ONE, lane));
        (most, sum)
    }
}

#[inline(always)]
unsafe fn gradients<V: Vector>(data: *mut V::Real, scales: &[RowScale<V::Real>]) {
    for (row, scale) in scales.iter().enumerate() {
        // SAFETY: the panel has as many rows as there are scales.
        unsafe {
            for half in 0..2 {
                let at = data.add((2 * row + half) * V::LANES);
                let gradient = if scale.coefficient == V::Real::ZERO {
                    V::splat(V::Real::ZERO)
                } else {
                    let z = V::load(at).sub(V::splat(scale.high)).sub(V::splat(scale.low));
                    z.exp().mul(V::splat(scale.coefficient))
                };
                gradient.store(at);
            }
        }
    }
}

#[inline(always)]
unsafe fn column_sums<V: Vector>(data: *const V::Real, rows: usize, out: *mut V::Real) {
    // SAFETY: the panel has `rows` rows, and `out` the width of one.
    unsafe {
        let mut sum = [V::load(out), V::load(out.add(V::LANES))];
        for row in 0..rows {
            let at = data.add(row * 2 * V::LANES);
            sum = [sum[0].add(V::load(at)), sum[1].add(V::load(at.add(V::LANES)))];
        }
        sum[0].store(out);
        sum[1].store(out.add(V::LANES));
    }
}

/// Instantiates the loops in functions that enable the vector's instructions.
macro_rules! table {
    ($module:ident, $vector:ty, $real:ty, $name:literal $(, $features:literal)?) => {
        pub(super) mod $module {
            use super::*;

            $(#[target_feature(enable = $features)])?
            unsafe fn product_of(p: &Product<$real>) {
                // SAFETY: the caller's promise, here and below.
                unsafe { product::<$vector, Numbers>(p) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn accumulate_of(logits: &Logits<$real>, state: *mut $real) {
                // SAFETY: as above.
                unsafe { accumulate::<$vector>(logits, state) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn finish_of(state: *const $real) -> ($real, $real) {
                // SAFETY: as above.
                unsafe { finish::<$vector>(state) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn gradients_of(data: *mut $real, scales: &[RowScale<$real>]) {
                // SAFETY: as above.
                unsafe { gradients::<$vector>(data, scales) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn column_sums_of(data: *const $real, rows: usize, out: *mut $real) {
                // SAFETY: as above.
                unsafe { column_sums::<$vector>(data, rows, out) }
            }

            pub(in super::super) const TABLE: Kernels<$real> = Kernels {
                name: $name,
                width: 2 * <$vector>::LANES,
                product: product_of,
                accumulate: accumulate_of,
                finish: finish_of,
                gradients: gradients_of,
                column_sums: column_sums_of,
                pairs: None,
            };
        }
    };
}

table!(portable_f32, Lanes<f32, 8>, f32, "portable");
table!(portable_f64, Lanes<f64, 8>, f64, "portable");
#[cfg(target_arch = "x86_64")]
table!(avx2_f32, super::super::simd_x86::Avx2, f32, "avx2", "avx2,fma");
#[cfg(target_arch = "x86_64")]
table!(avx2_f64, Lanes<f64, 8>, f64, "avx2", "avx2,fma");
#[cfg(target_arch = "x86_64")]
table!(avx512_f32, super::super::simd_x86::Avx512, f32, "avx512", "avx512f,fma");
#[cfg(target_arch = "x86_64")]
table!(avx512_f64, Lanes<f64, 8>, f64, "avx512", "avx512f,fma");
