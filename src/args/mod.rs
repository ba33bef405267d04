//! From raw structs to checked plans: every pointer, size, dtype and enumeration is
//! looked at here, before anything is computed or written. What arrays hold is the
//! engines' to check: they may lie on a device.

mod batch;
mod candidates;
mod config;
mod outputs;
mod update;

pub(crate) use batch::{Batch, Shape, labels};
pub(crate) use candidates::{Call, Candidates};
pub(crate) use config::{Hits, MOST_THREADS, Precision, Problem, Reduction, Setup};
pub(crate) use outputs::{GradientOutputs, Layout, LossOutputs, RowList};
pub(crate) use update::{Rule, Update};

use crate::abi::{self, ssl_batch, ssl_candidates, ssl_config, ssl_gradients, ssl_loss, ssl_update};
use crate::error::{Error, Result};
use crate::memory::{Dtype, Tensor};

/// A struct of the ABI.
///
/// # Safety
/// It is `repr(C)`, begins with `struct_size: u32`, is valid when all its bytes are
/// zero, has no padding, and no field of it straddles a multiple of 8 bytes.
pub(crate) unsafe trait AbiStruct: Copy {}

// SAFETY: see the definitions in `abi`; their layouts are tested.
unsafe impl AbiStruct for ssl_config {}
// SAFETY: as above.
unsafe impl AbiStruct for ssl_batch {}
// SAFETY: as above.
unsafe impl AbiStruct for ssl_candidates {}
// SAFETY: as above.
unsafe impl AbiStruct for ssl_loss {}
// SAFETY: as above.
unsafe impl AbiStruct for ssl_gradients {}
// SAFETY: as above.
unsafe impl AbiStruct for ssl_update {}

/// More than any version of any struct will need, so that a wild `struct_size` is not
/// followed through memory.
const LARGEST_STRUCT: usize = 4096;

/// Reads a struct of any version: an older, shorter one is extended with zeros, which
/// are the defaults; a newer, longer one must have nothing but zeros behind the fields
/// that this library knows.
///
/// # Safety
/// `raw` is NULL or leads to as many bytes as its `struct_size` says, if that is
/// between 4 and 4096.
pub(crate) unsafe fn read_struct<T: AbiStruct>(raw: *const T, name: &'static str) -> Result<T> {
    if raw.is_null() {
        return Err(Error::NullPointer(name));
    }
    let bytes = raw.cast::<u8>();
    // SAFETY: every struct begins with its size; the caller may have packed it.
    let size = unsafe { bytes.cast::<u32>().read_unaligned() } as usize;
    let known = size_of::<T>();
    if !(8..=LARGEST_STRUCT).contains(&size) || !size.is_multiple_of(8) {
        return Err(Error::StructSize(format!(
            "{name}.struct_size = {size} is not a size of this struct, which has {known} bytes; begin it with SSL_INIT"
        )));
    }
    // SAFETY: zeros are a valid value, and the copy stays inside both structs.
    let value = unsafe {
        let mut value = std::mem::zeroed::<T>();
        std::ptr::copy_nonoverlapping(bytes, (&raw mut value).cast::<u8>(), size.min(known));
        value
    };
    // SAFETY: the caller's struct has `size` bytes.
    let newer = (known..size).find(|&offset| unsafe { bytes.add(offset).read() } != 0);
    match newer {
        Some(offset) => Err(Error::StructSize(format!(
            "{name}.struct_size = {size}: byte {offset} is set, but this library knows only {known} bytes"
        ))),
        None => Ok(value),
    }
}

fn zero(name: &str, value: u32) -> Result<()> {
    match value {
        0 => Ok(()),
        value => Err(Error::InvalidValue(format!("{name} = {value} is reserved and must be 0"))),
    }
}

fn flag(name: &str, value: u32) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(Error::InvalidValue(format!("{name} = {value} is neither 0 nor 1"))),
    }
}

fn unknown<T>(name: &str, value: u32, constants: &str) -> Result<T> {
    Err(Error::InvalidValue(format!("{name} = {value} is none of {constants}")))
}

fn dtype(name: &str, value: u32) -> Result<Dtype> {
    match value {
        abi::SSL_DTYPE_FLOAT32 => Ok(Dtype::F32),
        abi::SSL_DTYPE_FLOAT16 => Ok(Dtype::F16),
        abi::SSL_DTYPE_BFLOAT16 => Ok(Dtype::Bf16),
        abi::SSL_DTYPE_FLOAT64 => Ok(Dtype::F64),
        value => Err(Error::Dtype(format!("{name} = {value} is none of SSL_DTYPE_*"))),
    }
}

/// A pointer to `count` elements: not NULL unless there is none, and aligned.
fn pointer<T>(name: &'static str, data: *const T, count: usize, alignment: usize) -> Result<*mut T> {
    if data.is_null() && count > 0 {
        return Err(Error::NullPointer(name));
    }
    if !(data as usize).is_multiple_of(alignment) {
        return Err(Error::Alignment { argument: name, address: data as usize, alignment });
    }
    Ok(data.cast_mut())
}

/// A slice of the caller's memory.
///
/// # Safety
/// `data` leads to `count` elements, which nobody writes while the slice lives.
unsafe fn slice<'a, T>(name: &'static str, data: *const T, count: usize) -> Result<&'a [T]> {
    let data = pointer(name, data, count, align_of::<T>())?;
    // SAFETY: the caller's promise, and NULL only where `count` is 0.
    Ok(if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, count) } })
}

/// Number of elements as an address may count them in bytes: at most `isize::MAX` bytes
/// with 8 bytes an element.
fn elements(name: &str, factors: &[i64]) -> Result<usize> {
    let product = factors.iter().try_fold(1i64, |product, &factor| product.checked_mul(factor));
    match product.filter(|&product| product <= (isize::MAX / 8) as i64) {
        Some(product) => Ok(product as usize),
        None => {
            let factors: Vec<String> = factors.iter().map(ToString::to_string).collect();
            Err(Error::Shape(format!(
                "{name}: {} elements are more than memory can hold",
                factors.join(" * ")
            )))
        }
    }
}

/// A matrix argument; a stride of 0 means no gaps.
fn matrix(
    name: &'static str,
    data: *const libc::c_void,
    dtype: Dtype,
    rows: usize,
    cols: usize,
    stride: i64,
) -> Result<Tensor> {
    if stride != 0 && stride < cols as i64 {
        return Err(Error::Shape(format!("{name}_stride = {stride} is less than dim = {cols}")));
    }
    let stride = if stride == 0 { cols } else { stride as usize };
    // A stride that no address can be moved by is refused where there are no rows, too.
    elements(name, &[(rows as i64).max(1), stride as i64])?;
    let data = pointer(name, data, rows * cols, dtype.size())?;
    Ok(Tensor { data: data.cast(), dtype, rows, cols, stride })
}

/// A vector argument.
fn vector(name: &'static str, data: *const libc::c_void, dtype: Dtype, count: usize) -> Result<Tensor> {
    let data = pointer(name, data, count, dtype.size())?;
    Ok(Tensor { data: data.cast(), dtype, rows: count, cols: 1, stride: 1 })
}

/// float64 takes part everywhere or nowhere: half of a gradient check in float32 would
/// look like an error of the gradient.
fn same_precision(name: &str, dtype: Dtype, real: Dtype) -> Result<()> {
    if (dtype == Dtype::F64) == (real == Dtype::F64) {
        return Ok(());
    }
    let (this, inputs) = if dtype == Dtype::F64 { ("is", "is not") } else { ("is not", "is") };
    Err(Error::Dtype(format!(
        "{name} {this} float64, but inputs {inputs}: float64 is for all tensors of a call or none"
    )))
}
