//! Choices decoded from bytes, so that one generator serves a seeded stream and a
//! coverage-guided fuzzer, which then changes single choices. Bytes that have run out are 0.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Bytes of one case of a seeded stream.
pub const CASE_BYTES: usize = 1024;

/// The bytes of case `number` of `seed`.
pub fn bytes_of(seed: u64, number: u64) -> Vec<u8> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut bytes = vec![0; CASE_BYTES];
    random.fill_bytes(&mut bytes);
    bytes
}

/// A reader of choices.
#[derive(Clone, Debug)]
pub struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Choices { bytes }
    }

    pub fn is_exhausted(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Cuts the rest into `count` equal parts.
    pub fn split(&mut self, count: usize) -> Vec<Choices<'a>> {
        let all = std::mem::take(&mut self.bytes);
        all.chunks(all.len().div_ceil(count).max(1)).map(Choices::new).collect()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// True once in `n` times; never where the bytes have run out.
    pub fn one_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    /// In `[0, bound)`, where `bound` is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A size or an id as no caller means it.
    pub fn wild(&mut self) -> i64 {
        const EDGES: [i64; 20] = [
            i64::MIN,
            i64::MIN + 1,
            -(1 << 32),
            -2,
            -1,
            0,
            1,
            7,
            65,
            1 << 30,
            i32::MAX as i64,
            1 << 31,
            (1 << 32) + 1,
            1 << 40,
            1 << 59,
            1 << 60,
            (1 << 60) + 1,
            1 << 62,
            i64::MAX - 1,
            i64::MAX,
        ];
        match self.below(EDGES.len() + 2) {
            index if index < EDGES.len() => EDGES[index],
            index if index == EDGES.len() => self.word() as i64,
            _ => i64::from(self.byte()),
        }
    }

    /// An enumeration's value, mostly known.
    pub fn code(&mut self, known: &[u32]) -> u32 {
        match self.one_in(128) {
            true => self.pick(&[3, 4, 6, 77, u32::MAX, 1 << 31]),
            false => self.pick(known),
        }
    }

    /// Numbers that follow from 2 bytes, for the contents of arrays.
    pub fn random(&mut self) -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::seed_from_u64(u64::from(self.byte()) << 8 | u64::from(self.byte()))
    }
}
