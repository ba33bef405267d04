//! Rows of a tensor of any dtype, read into and written from the accumulation type.
//! Rounding is to nearest even, once, on the way out.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::simd::Real;
use crate::memory::{Dtype, Tensor};

/// Reads the first elements of a row.
///
/// # Safety
/// `row` is inside the tensor, whose memory exists; so for all functions here.
#[inline]
pub(crate) unsafe fn read_row<R: Real>(tensor: &Tensor, row: usize, out: &mut [R]) {
    // SAFETY: the caller's promise, in every arm.
    unsafe {
        match tensor.dtype {
            Dtype::F32 => read(tensor.row::<f32>(row), out, R::from_f32),
            Dtype::F16 => read_halves(tensor.row(row), out),
            Dtype::Bf16 => read(tensor.row::<bf16>(row), out, |value| R::from_f32(value.to_f32())),
            Dtype::F64 => read(tensor.row::<f64>(row), out, R::from_f64),
        }
    }
}

#[inline(always)]
unsafe fn read<T: Copy, R>(from: *const T, out: &mut [R], convert: impl Fn(T) -> R) {
    for (index, out) in out.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *out = convert(unsafe { *from.add(index) });
    }
}

/// Bytes of a row that are asked for: what follows them the machine fetches of itself.
#[cfg(target_arch = "x86_64")]
const FIRST_BYTES: usize = 2048;

/// Asks for a row that will be read soon, if the machine takes such hints.
pub(crate) unsafe fn prefetch_row(tensor: &Tensor, row: usize) {
    #[cfg(target_arch = "x86_64")]
    for byte in (0..FIRST_BYTES.min(tensor.cols * tensor.dtype.size())).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the caller's promise.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(tensor.row::<i8>(row).add(byte)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (tensor, row);
}

/// float16 in blocks: one by one, each conversion would ask anew whether the machine has
/// an instruction for it.
const BLOCK: usize = 64;

unsafe fn read_halves<R: Real>(from: *const f16, out: &mut [R]) {
    let mut block = [0.0f32; BLOCK];
    for (number, out) in out.chunks_mut(BLOCK).enumerate() {
        let block = &mut block[..out.len()];
        // SAFETY: the caller's promise.
        let halves = unsafe { std::slice::from_raw_parts(from.add(number * BLOCK), out.len()) };
        halves.convert_to_f32_slice(block);
        out.iter_mut().zip(block).for_each(|(out, value)| *out = R::from_f32(*value));
    }
}

unsafe fn write_halves<R: Real>(to: *mut f16, values: &[R], add: bool) {
    let mut block = [0.0f32; BLOCK];
    for (number, values) in values.chunks(BLOCK).enumerate() {
        let block = &mut block[..values.len()];
        // SAFETY: the caller's promise.
        let halves = unsafe { std::slice::from_raw_parts_mut(to.add(number * BLOCK), values.len()) };
        if add {
            halves.convert_to_f32_slice(block);
        }
        for (value, &new) in block.iter_mut().zip(values) {
            *value = if add { new.fma(R::ONE, R::from_f32(*value)) } else { new }.to_f32();
        }
        halves.convert_from_f32_slice(block);
    }
}

/// Writes a row, or adds to it.
#[inline]
pub(crate) unsafe fn write_row<R: Real>(tensor: &Tensor, row: usize, values: &[R], add: bool) {
    // SAFETY: the caller's promise, in every arm.
    unsafe {
        match tensor.dtype {
            Dtype::F32 => write(tensor.row::<f32>(row), values, add, R::from_f32, R::to_f32),
            Dtype::F16 => write_halves(tensor.row(row), values, add),
            Dtype::Bf16 => write(
                tensor.row(row),
                values,
                add,
                |old: bf16| R::from_f32(old.to_f32()),
                |new| bf16::from_f32(new.to_f32()),
            ),
            Dtype::F64 => write(tensor.row::<f64>(row), values, add, R::from_f64, R::to_f64),
        }
    }
}

#[inline(always)]
unsafe fn write<T: Copy, R: Real>(
    to: *mut T,
    values: &[R],
    add: bool,
    widen: impl Fn(T) -> R,
    narrow: impl Fn(R) -> T,
) {
    for (index, &value) in values.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let to = to.add(index);
            to.write(narrow(if add { value.fma(R::ONE, widen(*to)) } else { value }));
        }
    }
}

/// A row of bfloat16 as it lies, in pairs, each in the room of one number: for d elements
/// `out` has half as many, rounded up, and the last pair of an odd row ends with 0.
pub(crate) unsafe fn read_pairs<R: Real>(tensor: &Tensor, row: usize, out: &mut [R]) {
    debug_assert!(tensor.dtype == Dtype::Bf16 && size_of::<R>() == 4 && out.len() == tensor.cols.div_ceil(2));
    let to = out.as_mut_ptr().cast::<u16>();
    // SAFETY: the caller's promise; the pairs have as many halves.
    unsafe {
        to.copy_from_nonoverlapping(tensor.row::<u16>(row), tensor.cols);
        if !tensor.cols.is_multiple_of(2) {
            to.add(tensor.cols).write(0);
        }
    }
}

/// Two rows of bfloat16 as d pairs, an element of each; 0 where there is no second row.
pub(crate) unsafe fn read_row_pairs<R: Real>(
    tensor: &Tensor,
    first: usize,
    second: Option<usize>,
    out: &mut [R],
) {
    debug_assert!(tensor.dtype == Dtype::Bf16 && size_of::<R>() == 4 && out.len() == tensor.cols);
    let to = out.as_mut_ptr().cast::<u32>();
    // SAFETY: the caller's promise.
    unsafe {
        let first = tensor.row::<u16>(first);
        match second.map(|second| tensor.row::<u16>(second)) {
            Some(second) => (0..tensor.cols).for_each(|k| {
                to.add(k).write(u32::from(*first.add(k)) | u32::from(*second.add(k)) << 16);
            }),
            None => (0..tensor.cols).for_each(|k| to.add(k).write(u32::from(*first.add(k)))),
        }
    }
}

/// One element of a vector.
#[inline]
pub(crate) unsafe fn read_one<R: Real>(tensor: &Tensor, index: usize) -> R {
    let mut value = [R::ZERO];
    // SAFETY: the caller's promise; a vector has one element a row.
    unsafe { read_row(tensor, index, &mut value) };
    value[0]
}
