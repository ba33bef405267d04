//! The random stream of one draw.
//!
//! xoshiro256++ (Blackman and Vigna, 2018), started anew for every (seed, step, rank):
//! any draw of a run can be made without those before it, and a restart needs two
//! integers. With `mix` the finaliser of SplitMix64 (Steele, Lea and Flood, 2014),
//! g = 0x9e3779b97f4a7c15 and sums modulo 2^64, the state (s0, s1, s2, s3) is
//!
//! ```text
//! a  = mix(seed + g)   b  = mix(step + a + g)   c  = mix(rank + b + g)
//! s0 = mix(a + c + g)  s1 = mix(b + s0 + g)     s2 = mix(c + s1 + g)   s3 = mix(s2 + g)
//! ```
//!
//! `mix` is a bijection, so c, b and a, and from them rank, step and seed, can be read
//! back from the state: no two draws share one, and each word depends on all three.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::math;

/// 2^64 over the golden ratio, odd: the increment of SplitMix64.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Uniform words, and what is made of them.
pub(super) struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream of draw `step` of a run.
    pub(super) fn new(seed: u64, step: u64, rank: u64) -> Stream {
        let a = mix(seed);
        let b = mix(step.wrapping_add(a));
        let c = mix(rank.wrapping_add(b));
        let s0 = mix(a.wrapping_add(c));
        let s1 = mix(b.wrapping_add(s0));
        let s2 = mix(c.wrapping_add(s1));
        let mut state = [0; 32];
        for (bytes, word) in state.chunks_exact_mut(8).zip([s0, s1, s2, mix(s2)]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Stream(Xoshiro256PlusPlus::from_seed(state))
    }

    /// 64 uniform bits.
    #[inline(always)]
    pub(super) fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, bound)` without bias (Lemire, 2019), and beside it the rest of
    /// the word: uniform in `[0, 2^64)` but for steps of `bound`, independent of it.
    #[inline(always)]
    pub(super) fn below_with_rest(&mut self, bound: u64) -> (u64, u64) {
        loop {
            let product = u128::from(self.word()) * u128::from(bound);
            let rest = product as u64;
            // 2^64 mod bound is below bound: most draws are spared the division.
            if rest >= bound || rest >= bound.wrapping_neg() % bound {
                return ((product >> 64) as u64, rest);
            }
        }
    }

    /// Uniform in `[0, bound)`.
    #[inline(always)]
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.below_with_rest(bound).0
    }

    /// Exponential of mean 1.
    ///
    /// -ln of a uniform number v; for v > 1/2 from 1 - v, which the word holds exactly,
    /// so that neither tail is coarser than 2^-65.
    #[inline]
    pub(super) fn exponential(&mut self) -> f64 {
        const ULP: f64 = 1.0 / 18_446_744_073_709_551_616.0; // 2^-64
        let word = self.word();
        if word >> 63 == 0 {
            -math::ln((word as f64 + 0.5) * ULP)
        } else {
            math::neg_ln_1m((!word as f64 + 0.5) * ULP)
        }
    }
}

/// A word as a number in [0, 1), of 53 bits.
#[inline(always)]
pub(super) fn unit(word: u64) -> f64 {
    // Converted as int64, for which every machine has an instruction.
    (word >> 11) as i64 as f64 * (1.0 / 9_007_199_254_740_992.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_steps_and_ranks_all_give_different_streams() {
        let mut first_words = std::collections::HashSet::new();
        for (seed, step, rank) in (0..4096_u64).map(|i| (i % 16, i / 16 % 16, i / 256)) {
            assert!(first_words.insert(Stream::new(seed, step, rank).word()));
        }
        // Sums that a mere seed + step + rank would confuse.
        let mut words: Vec<u64> = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (u64::MAX, 1, 1), (0, 1, u64::MAX)]
            .map(|(seed, step, rank)| Stream::new(seed, step, rank).word())
            .to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 5);
    }

    #[test]
    fn the_stream_is_the_documented_one() {
        // An independent xoshiro256++ over the documented state.
        let (seed, step, rank) = (7_u64, 5_u64, 3_u64);
        let a = mix(seed);
        let b = mix(step.wrapping_add(a));
        let c = mix(rank.wrapping_add(b));
        let s0 = mix(a.wrapping_add(c));
        let s1 = mix(b.wrapping_add(s0));
        let s2 = mix(c.wrapping_add(s1));
        let mut s = [s0, s1, s2, mix(s2)];
        let mut stream = Stream::new(seed, step, rank);
        for _ in 0..100 {
            let want = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
            let t = s[1] << 17;
            s[2] ^= s[0];
            s[3] ^= s[1];
            s[1] ^= s[2];
            s[0] ^= s[3];
            s[2] ^= t;
            s[3] = s[3].rotate_left(45);
            assert_eq!(stream.word(), want);
        }
    }

    #[test]
    fn the_mixing_is_splitmix64() {
        // The published first outputs of SplitMix64 from state 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(GAMMA), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn below_has_no_bias_where_rounding_would() {
        // Of 2^64 words scaled to 3/4 of 2^64 numbers, multiples of 3 would get two each
        // and all others one: half of the draws instead of a third.
        let bound = 3 << 62;
        let mut stream = Stream::new(1, 2, 3);
        let multiples = (0..90_000).filter(|_| stream.below(bound).is_multiple_of(3)).count();
        assert!((29_000..31_000).contains(&multiples), "{multiples} of 90000");
    }

    #[test]
    fn exponentials_have_mean_and_variance_one() {
        let mut stream = Stream::new(1, 2, 3);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..1_000_000 {
            let e = stream.exponential();
            assert!(e > 0.0 && e < 46.0);
            sum += e;
            squares += e * e;
        }
        assert!((sum / 1e6 - 1.0).abs() < 5e-3, "mean {}", sum / 1e6);
        assert!((squares / 1e6 - 2.0).abs() < 2.5e-2, "second moment {}", squares / 1e6);
    }
}
