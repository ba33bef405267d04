//! An array of a dtype known at run time, in memory aligned for every dtype.

use half::{bf16, f16};

use super::{BF16, F16, F32, F64};

/// Untouched memory reads as this, in every byte.
const PATTERN: u64 = 0xA5A5_A5A5_A5A5_A5A5;

/// `len` elements of `dtype`.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    dtype: u32,
    len: usize,
    words: Vec<u64>,
}

impl Buffer {
    /// Memory that nobody has written yet, recognisable as such.
    pub fn untouched(dtype: u32, len: usize) -> Self {
        let words = vec![PATTERN; (len * size_of_dtype(dtype)).div_ceil(8)];
        Buffer { dtype, len, words }
    }

    /// A copy of `len` elements elsewhere.
    ///
    /// # Safety
    /// They are there.
    pub unsafe fn read(dtype: u32, from: *const libc::c_void, len: usize) -> Self {
        let mut buffer = Self::untouched(dtype, len);
        // SAFETY: the caller's promise; the words have room for them.
        unsafe { buffer.pointer().copy_from_nonoverlapping(from, buffer.size_in_bytes()) };
        buffer
    }

    /// `values` rounded to `dtype`.
    pub fn new(dtype: u32, values: &[f64]) -> Self {
        let mut buffer = Self::untouched(dtype, values.len());
        for (index, &value) in values.iter().enumerate() {
            buffer.set(index, value);
        }
        buffer
    }

    /// Rows of `dim` values with `gap` untouched elements between them.
    pub fn rows(dtype: u32, values: &[f64], dim: usize, gap: usize) -> Self {
        let mut buffer = Self::untouched_rows(dtype, values.len() / dim, dim, gap);
        for (index, &value) in values.iter().enumerate() {
            buffer.set(index / dim * (dim + gap) + index % dim, value);
        }
        buffer
    }

    /// `count` rows of `dim` elements with `gap` elements between them.
    pub fn untouched_rows(dtype: u32, count: usize, dim: usize, gap: usize) -> Self {
        Self::untouched(dtype, (count * (dim + gap)).saturating_sub(gap))
    }

    pub fn set(&mut self, index: usize, value: f64) {
        assert!(index < self.len);
        let size = size_of_dtype(self.dtype);
        let bits = match self.dtype {
            F32 => u64::from((value as f32).to_bits()),
            // By way of float32: on some processors `from_f64` goes there, on others not.
            F16 => u64::from(f16::from_f32(value as f32).to_bits()),
            BF16 => u64::from(bf16::from_f64(value).to_bits()),
            _ => value.to_bits(),
        };
        let shift = 8 * (index * size % 8);
        let mask = (u64::MAX >> (64 - 8 * size)) << shift;
        let word = &mut self.words[index * size / 8];
        *word = *word & !mask | bits << shift;
    }

    pub fn get(&self, index: usize) -> f64 {
        assert!(index < self.len);
        let size = size_of_dtype(self.dtype);
        let bits = self.words[index * size / 8] >> (8 * (index * size % 8));
        match self.dtype {
            F32 => f64::from(f32::from_bits(bits as u32)),
            F16 => f16::from_bits(bits as u16).to_f64(),
            BF16 => bf16::from_bits(bits as u16).to_f64(),
            _ => f64::from_bits(bits),
        }
    }

    /// Whether nothing has written the element.
    pub fn is_untouched(&self, index: usize) -> bool {
        let size = size_of_dtype(self.dtype);
        let shift = 8 * (index * size % 8);
        let mask = u64::MAX >> (64 - 8 * size);
        self.words[index * size / 8] >> shift & mask == PATTERN & mask
    }

    pub fn values(&self) -> Vec<f64> {
        (0..self.len).map(|index| self.get(index)).collect()
    }

    /// The first `count` rows, without the gaps between them.
    pub fn dense_rows(&self, count: usize, dim: usize, gap: usize) -> Vec<f64> {
        (0..count * dim).map(|i| self.get(i / dim * (dim + gap) + i % dim)).collect()
    }

    /// Whether the gaps between rows have been left alone.
    pub fn gaps_are_untouched(&self, dim: usize, gap: usize) -> bool {
        (0..self.len).filter(|i| i % (dim + gap) >= dim).all(|i| self.is_untouched(i))
    }

    pub fn pointer(&mut self) -> *mut libc::c_void {
        self.words.as_mut_ptr().cast()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn size_in_bytes(&self) -> usize {
        self.len * size_of_dtype(self.dtype)
    }
}

fn size_of_dtype(dtype: u32) -> usize {
    match dtype {
        F64 => 8,
        F32 => 4,
        _ => 2,
    }
}

/// `value` as `dtype` holds it.
pub fn round(dtype: u32, value: f64) -> f64 {
    Buffer::new(dtype, &[value]).get(0)
}

/// Half the distance from 1 to the next value of `dtype`.
pub fn unit_roundoff(dtype: u32) -> f64 {
    match dtype {
        F64 => f64::EPSILON / 2.0,
        F32 => f64::from(f32::EPSILON) / 2.0,
        F16 => f16::EPSILON.to_f64() / 2.0,
        _ => bf16::EPSILON.to_f64() / 2.0,
    }
}
