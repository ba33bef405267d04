//! The float32 vectors of x86-64: AVX-512, and AVX2 with FMA.
// Every block here rests on the one promise of `Vector`: the instructions exist.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::arch::x86_64::*;

use super::pairs::Narrow;
use super::simd::{Multiply, Powers, Vector, exp};

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

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
            unsafe fn prefetch_far(line: *const f32) {
                unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
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

/// Two bfloat16 a lane.
pub(crate) struct Bf16Pairs;

impl Multiply<Avx512> for Bf16Pairs {
    #[inline(always)]
    unsafe fn add_product(a: Avx512, b: Avx512, sum: Avx512) -> Avx512 {
        let pairs = |of: Avx512| unsafe { std::mem::transmute::<__m512, __m512bh>(of.0) };
        Avx512(unsafe { _mm512_dpbf16_ps(sum.0, pairs(a), pairs(b)) })
    }
}

/// Rounds a panel of numbers to pairs, two rows at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(crate) unsafe fn narrow(p: &Narrow<f32>) {
    const WIDTH: usize = 2 * Avx512::LANES;
    // Words of the first and the second row in turn, of the left and the right half.
    let mut turns = [[0u16; WIDTH]; 2];
    for place in 0..WIDTH as u16 {
        let from = place / 2 + if place.is_multiple_of(2) { 0 } else { WIDTH as u16 };
        turns[0][place as usize] = from;
        turns[1][place as usize] = from + WIDTH as u16 / 2;
    }
    unsafe {
        let turns = turns.map(|words| _mm512_loadu_si512(words.as_ptr().cast()));
        let rounded = |row: usize| {
            let at = p.data.add(row * WIDTH);
            let halves = (_mm512_loadu_ps(at.add(Avx512::LANES)), _mm512_loadu_ps(at));
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(halves.0, halves.1))
        };
        for row in (0..p.rows).step_by(2) {
            let first = rounded(row);
            let second = if row + 1 < p.rows { rounded(row + 1) } else { _mm512_setzero_si512() };
            if !p.along.is_null() {
                _mm512_storeu_si512(p.along.add(row * WIDTH).cast(), first);
                if row + 1 < p.rows {
                    _mm512_storeu_si512(p.along.add((row + 1) * WIDTH).cast(), second);
                }
            }
            if !p.down.is_null() {
                for (half, &turns) in turns.iter().enumerate() {
                    let to = p.down.add(row / 2 * WIDTH + half * Avx512::LANES);
                    _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi16(first, turns, second));
                }
            }
        }
    }
}

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
