//! Logarithms, exponentials and powers from additions, multiplications, divisions and
//! fused multiply-adds alone: IEEE 754 fixes those to the last bit, a platform's libm is
//! free. A seed then gives the same ids and counts everywhere, a loss the same bits with
//! one instruction set on every machine, and the loops vectorise.

use crate::vectorised::vectorised;

const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Below this, four terms of the series of artanh reach float64.
pub(crate) const SMALL: f64 = 1.0 / 64.0;

/// artanh(s) / s for s = sqrt(z) up to 1/127: the next term is below 2^-59.
#[inline(always)]
fn artanh_short(z: f64) -> f64 {
    1.0 + z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0)))
}

/// artanh(s) / s for s = sqrt(z) up to 0.1716: the next term is below 2^-60.
#[inline(always)]
fn artanh_long(z: f64) -> f64 {
    const ODD: [f64; 10] = [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0];
    ODD.iter().fold(0.0, |sum, odd| z * (sum + 1.0 / odd)) + 1.0
}

/// ln(x) for x > 0 and finite: ln(2^k m) = k ln 2 + 2 artanh((m - 1) / (m + 1)), in two
/// parts: the first, a multiple of ln 2 to 32 bits, is exact.
#[inline(always)]
fn ln_parts(x: f64) -> (f64, f64) {
    const SUBNORMAL_SHIFT: f64 = 18_014_398_509_481_984.0; // 2^54
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * SUBNORMAL_SHIFT, 54) } else { (x, 0) };
    let bits = x.to_bits();
    // The mantissa is taken into [sqrt(1/2), sqrt(2)), where |s| < 0.1716.
    let upper = u64::from(bits & 0x000f_ffff_ffff_ffff >= 0x0006_a09e_667f_3bcd);
    let exponent = (bits >> 52) + upper;
    let k = exponent as f64 - 1023.0 - f64::from(shift);
    let m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | ((1023 - upper) << 52));
    let s = (m - 1.0) / (m + 1.0);
    (k * LN_2_HIGH, 2.0 * s * artanh_long(s * s) + k * LN_2_LOW)
}

/// ln(x), also of 0, infinity, NaN and, as NaN, of negative numbers.
#[inline(always)]
pub(crate) fn ln(x: f64) -> f64 {
    // Nothing but selections, so that a loop of these vectorises; so for all functions here
    // that a loop may hold.
    let (high, low) = ln_parts(x);
    if x > 0.0 && x < f64::INFINITY {
        high + low
    } else if x == 0.0 {
        f64::NEG_INFINITY
    } else if x == f64::INFINITY {
        x
    } else {
        f64::NAN
    }
}

vectorised! {
    /// `ln` of each.
    pub(crate) fn ln_each(values: &mut [f64]) {
        for value in values {
            *value = ln(*value);
        }
    }
}

/// ln(1 + x) for x >= 0: below 1/4 2 artanh(x / (2 + x)), which cancels nothing. NaN of NaN.
pub(crate) fn ln_1p(x: f64) -> f64 {
    if x < 0.25 {
        let s = x / (2.0 + x);
        2.0 * s * artanh_long(s * s)
    } else {
        ln(1.0 + x)
    }
}

/// e^(high + low), low far below high: 2^n e^r with r = high - n ln 2 + low, |r| <= ln(2)/2,
/// and e^r from its Taylor series to r^13. 0 below the subnormals, NaN of NaN.
#[inline(always)]
fn exp_parts(high: f64, low: f64) -> f64 {
    // Beyond these the result is 0 or infinity. The comparisons let NaN pass.
    let high = if high < -746.0 { -746.0 } else { high };
    let high = if high > 710.0 { 710.0 } else { high };
    let rounded = high * std::f64::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (high - n * LN_2_HIGH) + (low - n * LN_2_LOW);
    let e_r = 1.0 + (r + r * r * taylor_tail(r));
    // 2^n in two factors, since it may lie outside of the normal range. The low bits of
    // `rounded` are n in two's complement.
    let n = rounded.to_bits() as i32;
    let half = n >> 1;
    let power = |n: i32| f64::from_bits((n.wrapping_add(1023) as u64) << 52);
    e_r * power(half) * power(n.wrapping_sub(half))
}

/// e^x, of every x.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    exp_parts(x, 0.0)
}

/// x^y for a finite x >= 0 and a finite y; 1 for y = 0, as everywhere.
pub(crate) fn pow(x: f64, y: f64) -> f64 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if x == 0.0 {
        return if y > 0.0 { 0.0 } else { f64::INFINITY };
    }
    // y ln x as a sum and what its rounding leaves (Knuth's two-sum), for an error in the
    // exponent is one of the power, whatever the exponent's size.
    let (high, low) = ln_parts(x);
    let (a, b) = (y * high, y * low);
    let sum = a + b;
    if sum.abs() > 800.0 {
        return exp(sum);
    }
    let from_b = sum - a;
    let left = (a - (sum - from_b)) + (b - from_b);
    exp_parts(sum, y.mul_add(high, -a) + left)
}

/// -ln(1 - p) for p in [0, 1/64): 2 artanh(p / (2 - p)), which cancels nothing.
#[inline(always)]
pub(crate) fn neg_ln_1m_small(p: f64) -> f64 {
    // Doubled before the division, so that the smallest subnormal survives it.
    let twice = (p + p) / (2.0 - p);
    twice * artanh_short(0.25 * twice * twice)
}

/// -ln(1 - p) for p in [0, 1]; infinite at 1.
#[inline(always)]
pub(crate) fn neg_ln_1m(p: f64) -> f64 {
    let twice = (p + p) / (2.0 - p);
    let (middle, far) = (twice * artanh_long(0.25 * twice * twice), -ln(1.0 - p));
    if p < SMALL {
        neg_ln_1m_small(p)
    } else if p < 0.29 {
        middle
    } else {
        far
    }
}

/// ln(1 + 1/m) for m >= 64: 2 artanh(1 / (2m + 1)).
#[inline(always)]
pub(crate) fn ln_1p_reciprocal_large(m: f64) -> f64 {
    let s = 1.0 / (2.0 * m + 1.0);
    2.0 * s * artanh_short(s * s)
}

/// ln(1 + 1/m) for any integer m >= 1.
#[inline(always)]
pub(crate) fn ln_1p_reciprocal(m: f64) -> f64 {
    let s = 1.0 / (2.0 * m + 1.0);
    let (middle, near) = (2.0 * s * artanh_long(s * s), ln(1.0 + 1.0 / m));
    if m >= 64.0 {
        ln_1p_reciprocal_large(m)
    } else if m >= 3.0 {
        middle
    } else {
        near
    }
}

/// 1 - exp(-t) for t >= 0, infinity included.
///
/// With -t = r - n ln 2 and |r| <= ln(2)/2: (1 - 2^-n) - 2^-n (e^r - 1), the last from
/// its Taylor series to r^13, whose remainder is below 2^-56 of it.
#[inline(always)]
pub(crate) fn one_minus_exp_neg(t: f64) -> f64 {
    // exp(-64) is below half an ulp of 1.
    let t = if t < 64.0 { t } else { 64.0 };
    let rounded = t * std::f64::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (n * LN_2_HIGH - t) + n * LN_2_LOW;
    let scale = f64::from_bits(1023_u64.wrapping_sub(rounded.to_bits() & 0xff) << 52);
    let tail = r * r * taylor_tail(r);
    (1.0 - scale) - scale * (r + tail)
}

/// (e^r - 1 - r) / r^2 to the term of r^11.
#[inline(always)]
fn taylor_tail(r: f64) -> f64 {
    const INVERSE_FACTORIALS: [f64; 12] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        1.0 / 2.0,
    ];
    let mut sum = 0.0;
    for coefficient in INVERSE_FACTORIALS {
        sum = sum * r + coefficient;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positive numbers over all of float64, dense near 1.
    fn grid() -> impl Iterator<Item = f64> {
        let far = (0..20_000).map(|i| (2.0_f64).powf(f64::from(i) * 0.1049 - 1074.0));
        let near = (1..20_000).map(|i| 0.5 + f64::from(i) * 5e-5);
        far.chain(near).filter(|x| *x > 0.0 && x.is_finite())
    }

    fn assert_close(name: &str, x: f64, got: f64, want: f64) {
        let error = (got - want).abs() / want.abs().max(f64::MIN_POSITIVE);
        assert!(error <= 1.5e-15, "{name}({x:e}) = {got:e}, want {want:e}, off by {error:e}");
    }

    #[test]
    fn logarithm_agrees_with_libm_everywhere() {
        grid().for_each(|x| assert_close("ln", x, ln(x), x.ln()));
        assert_eq!(ln(1.0), 0.0);
        assert_eq!((ln(0.0), ln(f64::INFINITY)), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(ln(-1.0).is_nan() && ln(f64::NAN).is_nan());
    }

    #[test]
    fn logarithms_together_have_the_bits_of_each_alone() {
        let odd = [0.0, -0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::from_bits(1)];
        let values: Vec<f64> = grid().chain(odd).collect();
        for length in [1, 7, 8, 33, values.len()] {
            let mut together = values[values.len() - length..].to_vec();
            ln_each(&mut together);
            let alone = values[values.len() - length..].iter().map(|x| ln(*x).to_bits());
            assert!(alone.eq(together.iter().map(|y| y.to_bits())), "of {length}");
        }
    }

    #[test]
    fn ln_1p_keeps_relative_precision_near_0() {
        grid().for_each(|x| assert_close("ln_1p", x, ln_1p(x), x.ln_1p()));
        assert_eq!(ln_1p(0.0), 0.0);
        assert!(ln_1p(f64::NAN).is_nan());
    }

    #[test]
    fn exponential_agrees_with_libm_everywhere() {
        for x in (-7446..7098).map(|tenths| f64::from(tenths) * 0.1).chain(grid().map(|x| -x)) {
            let (got, want) = (exp(x), x.exp());
            let error = (got - want).abs() / (want + f64::MIN_POSITIVE);
            assert!(error <= 4.5e-16, "exp({x}) = {got:e}, want {want:e}, off by {error:e}");
        }
        assert_eq!((exp(0.0), exp(f64::NEG_INFINITY), exp(f64::INFINITY)), (1.0, 0.0, f64::INFINITY));
        assert!(exp(f64::NAN).is_nan());
    }

    #[test]
    fn powers_agree_with_libm_everywhere() {
        for y in [-2.0, -0.75, 1e-3, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 17.0] {
            for x in grid() {
                let want = x.powf(y);
                if want > f64::MIN_POSITIVE && want < f64::INFINITY {
                    // The error of the smaller part of ln x comes y times.
                    let error = (pow(x, y) - want).abs() / want;
                    assert!(error <= 5e-16 + 2e-16 * y.abs(), "{x:e}^{y} = {:e}, want {want:e}", pow(x, y));
                }
            }
        }
        assert_eq!((pow(0.0, 0.0), pow(0.0, 2.0), pow(0.0, -1.0)), (1.0, 0.0, f64::INFINITY));
        assert_eq!((pow(1e300, 2.0), pow(1e-300, 2.0)), (f64::INFINITY, 0.0));
        assert_eq!((pow(1e300, 1e308), pow(1e-300, 1e308), pow(1.0, 1e308)), (f64::INFINITY, 0.0, 1.0));
    }

    #[test]
    fn neg_ln_1m_keeps_relative_precision_at_both_ends() {
        for p in grid().filter(|p| *p < 1.0) {
            assert_close("neg_ln_1m", p, neg_ln_1m(p), -(-p).ln_1p());
        }
        assert_eq!(neg_ln_1m(0.0), 0.0);
        assert_eq!(neg_ln_1m(1.0), f64::INFINITY);
        assert!(neg_ln_1m(f64::from_bits(1)) > 0.0);
    }

    #[test]
    fn one_minus_exp_neg_agrees_with_libm_everywhere() {
        for t in grid() {
            assert_close("one_minus_exp_neg", t, one_minus_exp_neg(t), -(-t).exp_m1());
        }
        assert_eq!(one_minus_exp_neg(0.0), 0.0);
        assert_eq!(one_minus_exp_neg(f64::INFINITY), 1.0);
    }

    #[test]
    fn ln_1p_reciprocal_agrees_with_libm_for_every_octave() {
        for m in (1..2000).map(f64::from).chain((11..63).map(|e| 2.0_f64.powi(e) + 1.0)) {
            assert_close("ln_1p_reciprocal", m, ln_1p_reciprocal(m), (1.0 / m).ln_1p());
        }
    }
}
