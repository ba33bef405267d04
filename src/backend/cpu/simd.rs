//! What the kernels ask of the machine: a vector of numbers. Here in plain Rust, for
//! float64 and for machines without a file of their own; `simd_x86.rs` has AVX.
//!
//! All methods are `unsafe` for one reason: the instructions must exist. Kernels are
//! generic over `Vector` and inlined into functions that enable them (`kernels.rs`).

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

/// Plain Rust lanes. The compiler turns these loops into whatever the machine has.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<R, const N: usize>([R; N]);

macro_rules! lanes {
    ($real:ty, $lanes:literal) => {
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
                Lanes(self.0.map(<$real>::exp))
            }
        }
    };
}

lanes!(f32, 8);
lanes!(f64, 8);
