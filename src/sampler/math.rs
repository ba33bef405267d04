//! Logarithms and exponentials of the samplers, from additions, multiplications and
//! divisions alone: IEEE 754 fixes those to the last bit, a platform's libm is free.
//! A seed then gives the same ids and counts everywhere, and the loops vectorise.

const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// Below this, four terms of the series of artanh reach float64.
pub(super) const SMALL: f64 = 1.0 / 64.0;

/// artanh(s) / s for s = sqrt(z) up to 1/127: the next term is below 2^-59.
#[inline(always)]
fn artanh_short(z: f64) -> f64 {
    1.0 + z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0)))
}

/// artanh(s) / s for s = sqrt(z) up to 0.1716: the next term is below 2^-60.
#[inline]
fn artanh_long(z: f64) -> f64 {
    const ODD: [f64; 10] = [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0];
    ODD.iter().fold(0.0, |sum, odd| z * (sum + 1.0 / odd)) + 1.0
}

/// ln(x) for x > 0 and finite: ln(2^k m) = k ln 2 + 2 artanh((m - 1) / (m + 1)).
pub(super) fn ln(x: f64) -> f64 {
    const SUBNORMAL_SHIFT: f64 = 18_014_398_509_481_984.0; // 2^54
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * SUBNORMAL_SHIFT, 54) } else { (x, 0) };
    let bits = x.to_bits();
    // The mantissa is taken into [sqrt(1/2), sqrt(2)), where |s| < 0.1716.
    let upper = u64::from(bits & 0x000f_ffff_ffff_ffff >= 0x0006_a09e_667f_3bcd);
    let exponent = (bits >> 52) + upper;
    let k = exponent as f64 - 1023.0 - f64::from(shift);
    let m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | ((1023 - upper) << 52));
    let s = (m - 1.0) / (m + 1.0);
    k * LN_2_HIGH + (2.0 * s * artanh_long(s * s) + k * LN_2_LOW)
}

/// -ln(1 - p) for p in [0, 1/64): 2 artanh(p / (2 - p)), which cancels nothing.
#[inline(always)]
pub(super) fn neg_ln_1m_small(p: f64) -> f64 {
    // Doubled before the division, so that the smallest subnormal survives it.
    let twice = (p + p) / (2.0 - p);
    twice * artanh_short(0.25 * twice * twice)
}

/// -ln(1 - p) for p in [0, 1]; infinite at 1.
#[inline]
pub(super) fn neg_ln_1m(p: f64) -> f64 {
    if p < SMALL {
        neg_ln_1m_small(p)
    } else if p < 0.29 {
        let twice = (p + p) / (2.0 - p);
        twice * artanh_long(0.25 * twice * twice)
    } else if p < 1.0 {
        -ln(1.0 - p)
    } else {
        f64::INFINITY
    }
}

/// ln(1 + 1/m) for m >= 64: 2 artanh(1 / (2m + 1)).
#[inline(always)]
pub(super) fn ln_1p_reciprocal_large(m: f64) -> f64 {
    let s = 1.0 / (2.0 * m + 1.0);
    2.0 * s * artanh_short(s * s)
}

/// ln(1 + 1/m) for any integer m >= 1.
pub(super) fn ln_1p_reciprocal(m: f64) -> f64 {
    if m >= 64.0 {
        ln_1p_reciprocal_large(m)
    } else if m >= 3.0 {
        let s = 1.0 / (2.0 * m + 1.0);
        2.0 * s * artanh_long(s * s)
    } else {
        ln(1.0 + 1.0 / m)
    }
}

/// 1 - exp(-t) for t >= 0, infinity included.
///
/// With -t = r - n ln 2 and |r| <= ln(2)/2: (1 - 2^-n) - 2^-n (e^r - 1), the last from
/// its Taylor series to r^13, whose remainder is below 2^-56 of it.
#[inline(always)]
pub(super) fn one_minus_exp_neg(t: f64) -> f64 {
    // Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
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
