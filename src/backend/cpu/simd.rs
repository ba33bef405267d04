//! What the kernels ask of the machine: a vector of numbers. Here in plain Rust, for
//! float64 and for machines without a file of their own; `simd_x86.rs` has AVX.
//!
//! All methods are `unsafe` for one reason: the instructions must exist. Kernels are
//! generic over `Vector` and inlined into functions that enable them (`kernels.rs`).

use crate::math;

/// The type in which a call accumulates: float32 or float64.
pub(crate) trait Real: Copy + Send + Sync + PartialOrd + 'static {
    const ZERO: Self;
    const ONE: Self;
    const LOWEST: Self;
    const NEG_INFINITY: Self;
    fn from_f32(value: f32) -> Self;
    fn from_f64(value: f64) -> Self;
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
    fn fma(self, factor: Self, sum: Self) -> Self;
}

macro_rules! real {
    ($type:ty) => {
        impl Real for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$type>::MIN;
            const NEG_INFINITY: Self = <$type>::NEG_INFINITY;
            #[inline(always)]
            fn from_f32(value: f32) -> Self {
                value as $type
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn fma(self, factor: Self, sum: Self) -> Self {
                self * factor + sum
            }
        }
    };
}

real!(f32);
real!(f64);

/// A register of `LANES` numbers.
///
/// # Safety
/// Of every method: the machine has the instructions of the implementing type; loads
/// and stores reach `LANES` elements.
pub(crate) trait Vector: Copy {
    type Real: Real;
    const LANES: usize;
    /// Rows of the GEMM register tile; its width is two vectors.
    const TILE_ROWS: usize;
    /// Asks for a cache line that will be read or written soon, if the machine takes
    /// such hints; any address will do.
    unsafe fn prefetch(_line: *const Self::Real) {}
    /// The same for one that is read later: into the second-level cache.
    unsafe fn prefetch_far(_line: *const Self::Real) {}
    unsafe fn splat(value: Self::Real) -> Self;
    unsafe fn load(from: *const Self::Real) -> Self;
    unsafe fn store(self, to: *mut Self::Real);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * factor + sum`, in one rounding where the machine can.
    unsafe fn fma(self, factor: Self, sum: Self) -> Self;
    /// The larger of each lane; `other` where either is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// Whether a lane of `self` is above that of `other`.
    unsafe fn any_above(self, other: Self) -> bool;
    /// e to the power of each lane: 0 below the smallest subnormal, NaN of NaN.
    unsafe fn exp(self) -> Self;
}

/// What `exp` needs beyond a `Vector`, under its one promise.
pub(super) trait Powers: Vector<Real = f32> {
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn round(self) -> Self;
    /// self * 2^n
    unsafe fn scale(self, n: Self) -> Self;
}

/// exp: 2^n * e^r with n = round(x / ln 2), |r| <= ln 2 / 2, and e^r by a polynomial of
/// degree 6 fitted for the smallest relative error on that interval; within 1 ulp.
#[inline(always)]
pub(super) unsafe fn exp<V: Powers>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        // Beyond these bounds the result is 0 or infinity anyhow. NaN passes both.
        let x = V::splat(89.0).min(V::splat(-104.0).max(x));
        let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        // ln 2 in two parts, the first with zeros at its end so that n * part is exact.
        let r = n.fma(V::splat(-0.693_359_4), x);
        let r = n.fma(V::splat(2.121_944_4e-4), r);
        let mut p = V::splat(1.389_920_8e-3);
        for coefficient in [8.368_929e-3, 4.166_685e-2, 1.666_651_8e-1, 0.5, 1.0, 1.0] {
            p = p.fma(r, V::splat(coefficient));
        }
        p.scale(n)
    }
}

impl Powers for Lanes<f32, 8> {
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        Lanes(std::array::from_fn(|i| if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        Lanes(self.0.map(|x| (x + ROUND) - ROUND))
    }
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        // In two factors, since 2^n alone may lie below the normal range.
        let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
        Lanes(std::array::from_fn(|i| {
            let n = ((n.0[i] + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
            let half = n >> 1;
            self.0[i] * power(half) * power(n.wrapping_sub(half))
        }))
    }
}

/// Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
const ROUND: f32 = 12_582_912.0;

/// What the lanes of a product's operands hold.
///
/// # Safety
/// As `Vector`.
pub(crate) trait Multiply<V: Vector> {
    /// `sum + a * b`.
    unsafe fn add_product(a: V, b: V, sum: V) -> V;
}

/// One number a lane.
pub(crate) struct Numbers;

impl<V: Vector> Multiply<V> for Numbers {
    #[inline(always)]
    unsafe fn add_product(a: V, b: V, sum: V) -> V {
        // SAFETY: the caller's promise.
        unsafe { a.fma(b, sum) }
    }
}

/// Plain Rust lanes. The compiler turns these loops into whatever the machine has.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<R, const N: usize>([R; N]);

macro_rules! lanes {
    ($real:ty, $lanes:literal, $exp:expr) => {
        impl Vector for Lanes<$real, $lanes> {
            type Real = $real;
            const LANES: usize = $lanes;
            const TILE_ROWS: usize = 4;
            #[inline(always)]
            unsafe fn splat(value: $real) -> Self {
                Lanes([value; $lanes])
            }
            #[inline(always)]
            unsafe fn load(from: *const $real) -> Self {
                // SAFETY: the caller's promise.
                Lanes(unsafe { from.cast::<[$real; $lanes]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $real) {
                // SAFETY: the caller's promise.
                unsafe { to.cast::<[$real; $lanes]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                Lanes(std::array::from_fn(|i| self.0[i] + other.0[i]))
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                Lanes(std::array::from_fn(|i| self.0[i] - other.0[i]))
            }
            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                Lanes(std::array::from_fn(|i| self.0[i] * other.0[i]))
            }
            #[inline(always)]
            unsafe fn fma(self, factor: Self, sum: Self) -> Self {
                Lanes(std::array::from_fn(|i| self.0[i].fma(factor.0[i], sum.0[i])))
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                Lanes(std::array::from_fn(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
            }
            #[inline(always)]
            unsafe fn any_above(self, other: Self) -> bool {
                (0..$lanes).any(|i| self.0[i] > other.0[i])
            }
            #[inline(always)]
            unsafe fn exp(self) -> Self {
                $exp(self)
            }
        }
    };
}

lanes!(f32, 8, |x| {
    // SAFETY: plain Rust needs no instructions.
    unsafe { exp(x) }
});
lanes!(f64, 8, |x: Self| Lanes(x.0.map(math::exp)));
