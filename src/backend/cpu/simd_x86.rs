//! The float32 vectors of x86-64: AVX-512, and AVX2 with FMA.
// Every block here rests on the one promise of `Vector`: the instructions exist.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::arch::x86_64::*;

use super::simd::Vector;

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// What `exp` needs beyond a `Vector`.
trait Powers: Vector<Real = f32> {
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn round(self) -> Self;
    /// self * 2^n
    unsafe fn scale(self, n: Self) -> Self;
}

/// exp: 2^n * e^r with n = round(x / ln 2), |r| <= ln 2 / 2, and e^r by a polynomial of
/// degree 6 fitted for the smallest relative error on that interval; within 1 ulp.
#[inline(always)]
unsafe fn exp<V: Powers>(x: V) -> V {
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

macro_rules! vector {
    (
        $name:ident($register:ty), lanes $lanes:literal, rows $rows:literal,
        $splat:ident $load:ident $store:ident $add:ident $sub:ident $mul:ident $fma:ident $max:ident $min:ident,
        above $above:expr, round $round:expr, scale $scale:expr
    ) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name($register);

        impl Vector for $name {
            type Real = f32;
            const LANES: usize = $lanes;
            const TILE_ROWS: usize = $rows;
            #[inline(always)]
            unsafe fn prefetch(line: *const f32) {
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(value: f32) -> Self {
                $name(unsafe { $splat(value) })
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                $name(unsafe { $load(from) })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                $name(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                $name(unsafe { $sub(self.0, other.0) })
            }
            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                $name(unsafe { $mul(self.0, other.0) })
            }
            #[inline(always)]
            unsafe fn fma(self, factor: Self, sum: Self) -> Self {
                $name(unsafe { $fma(self.0, factor.0, sum.0) })
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                $name(unsafe { $max(self.0, other.0) })
            }
            #[inline(always)]
            unsafe fn any_above(self, other: Self) -> bool {
                unsafe { $above(self.0, other.0) }
            }
            #[inline(always)]
            unsafe fn exp(self) -> Self {
                unsafe { exp(self) }
            }
        }

        impl Powers for $name {
            #[inline(always)]
            unsafe fn min(self, other: Self) -> Self {
                $name(unsafe { $min(self.0, other.0) })
            }
            #[inline(always)]
            unsafe fn round(self) -> Self {
                $name(unsafe { $round(self.0) })
            }
            #[inline(always)]
            unsafe fn scale(self, n: Self) -> Self {
                $name(unsafe { $scale(self.0, n.0) })
            }
        }
    };
}

vector!(
    Avx512(__m512), lanes 16, rows 8,
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_fmadd_ps
    _mm512_max_ps _mm512_min_ps,
    above |a, b| _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) != 0,
    round _mm512_roundscale_ps::<NEAREST>,
    scale _mm512_scalef_ps
);

vector!(
    Avx2(__m256), lanes 8, rows 6,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_fmadd_ps
    _mm256_max_ps _mm256_min_ps,
    above |a, b| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) != 0,
    round _mm256_round_ps::<NEAREST>,
    scale scale
);

/// p * 2^n in two factors, since 2^n alone may lie below the normal range.
#[inline(always)]
unsafe fn scale(p: __m256, n: __m256) -> __m256 {
    unsafe {
        let power =
            |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
        let n = _mm256_cvtps_epi32(n);
        let half = _mm256_srai_epi32::<1>(n);
        _mm256_mul_ps(_mm256_mul_ps(p, power(half)), power(_mm256_sub_epi32(n, half)))
    }
}
