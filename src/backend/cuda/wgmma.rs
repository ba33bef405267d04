//! The kernels for compute capability 9.0 alone (`kernels/hopper.cuh`): when they are used,
//! and how they are launched, with their operands as tensor maps.

use std::ffi::c_void;

use cudarc::driver::sys::{
    CUtensorMapDataType, CUtensorMapFloatOOBfill, CUtensorMapInterleave, CUtensorMapL2promotion,
    CUtensorMapSwizzle,
};

use super::arguments::{AttendArgs, AttendWgmmaArgs, LogitsArgs, LogitsWgmmaArgs, Operand, TensorMap};
use super::context::Device;
use super::instances::{self, Instance};
use super::launch::Queue;
use super::module::Modules;
use super::plan::Arithmetic;
use crate::error::{Error, Result};

/// Asks for these kernels. They have run on the emulator only, so nobody gets them unasked.
const HOPPER: &str = "SAMPLED_SOFTMAX_HOPPER";

/// Columns of a tensor map's box: as many 16-bit numbers as the swizzle's 128 bytes hold.
const BOX_COLUMNS: u32 = 64;

/// Whether they are asked for, and device, driver and compiler have what they need: the
/// architecture itself, tensor maps (CUDA 12), code for sm_90a.
pub(super) fn is_used(device: &Device, modules: &Modules) -> Result<bool> {
    let asked = asks(std::env::var(HOPPER).ok().as_deref())?;
    let specific = instances::all().iter().find(|instance| instance.is_wgmma());
    Ok(asked
        && device.arch == 90
        && device.driver.cuTensorMapEncodeTiled.is_some()
        && specific.is_some_and(|instance| modules.can_make(instance)))
}

fn asks(value: Option<&str>) -> Result<bool> {
    match value.map_or("", str::trim) {
        "" | "0" => Ok(false),
        "1" => Ok(true),
        other => Err(Error::InvalidValue(format!("{HOPPER}={other} is neither 0 nor 1"))),
    }
}

impl Queue<'_> {
    /// Launches `attend` or `attend_wgmma`.
    ///
    /// # Safety
    /// As `launch`; for `attend_wgmma` also what it asks of columns of factor 0.
    pub(super) unsafe fn attend(
        &self,
        instance: &'static Instance,
        arithmetic: Arithmetic,
        grid: [usize; 2],
        attend: AttendArgs,
    ) -> Result<()> {
        if !instance.is_wgmma() || grid.contains(&0) {
            // SAFETY: the caller's promise.
            return unsafe { self.launch(instance, grid, &attend) };
        }
        let q = self.tensor_map(arithmetic, &attend.q, [attend.rows, attend.dim], instance.rows)?;
        let k = self.tensor_map(arithmetic, &attend.k, [attend.cols, attend.dim], instance.cols)?;
        // SAFETY: the caller's promise.
        unsafe { self.launch(instance, grid, &AttendWgmmaArgs { q, k, attend }) }
    }

    /// Launches `logits` or `logits_wgmma`.
    ///
    /// # Safety
    /// As `launch`.
    pub(super) unsafe fn logits(
        &self,
        instance: &'static Instance,
        arithmetic: Arithmetic,
        grid: [usize; 2],
        logits: LogitsArgs,
    ) -> Result<()> {
        if !instance.is_wgmma() || grid.contains(&0) {
            // SAFETY: the caller's promise.
            return unsafe { self.launch(instance, grid, &logits) };
        }
        let q = self.tensor_map(arithmetic, &logits.q, [logits.rows, logits.dim], instance.rows)?;
        let k = self.tensor_map(arithmetic, &logits.k, [logits.cols, logits.dim], instance.cols)?;
        // SAFETY: the caller's promise.
        unsafe { self.launch(instance, grid, &LogitsWgmmaArgs { q, k, logits }) }
    }

    /// Of a matrix of `[rows, dim]` elements, in tiles of `tile` rows.
    fn tensor_map(
        &self,
        arithmetic: Arithmetic,
        matrix: &Operand,
        [rows, dim]: [i32; 2],
        tile: usize,
    ) -> Result<TensorMap> {
        let device = self.entered.device;
        let encode = device
            .driver
            .cuTensorMapEncodeTiled
            .ok_or_else(|| Error::Panic("tensor maps of a driver that has none".into()))?;
        let kind = match arithmetic {
            Arithmetic::F16 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
            _ => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        };
        let sizes = [dim as u64, rows as u64];
        let pitch = matrix.stride as u64 * arithmetic.dtype().size() as u64;
        let mut map = TensorMap::default();
        // SAFETY: two sizes, one pitch, two box sizes and two steps, as the rank says. The
        // matrix is not touched.
        let code = unsafe {
            encode(
                (&raw mut map).cast(),
                kind as i32,
                2,
                matrix.plane[0] as *mut c_void,
                sizes.as_ptr(),
                &pitch,
                [BOX_COLUMNS, tile as u32].as_ptr(),
                [1, 1].as_ptr(),
                CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE as i32,
                CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B as i32,
                CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B as i32,
                CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE as i32,
            )
        };
        device.check_named(code, || {
            format!("cuTensorMapEncodeTiled: {rows} x {dim} at {:#x}, {pitch} bytes a row", matrix.plane[0])
        })?;
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::asks;

    #[test]
    fn the_switch_is_0_or_1() {
        for (value, asked) in [(None, false), (Some(""), false), (Some("0"), false), (Some(" 1 "), true)] {
            assert_eq!(asks(value).unwrap(), asked, "{value:?}");
        }
        assert!(asks(Some("yes")).unwrap_err().to_string().contains("SAMPLED_SOFTMAX_HOPPER=yes"));
    }
}
