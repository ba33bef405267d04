//! A call's kernels on the caller's stream. The same code runs twice: as a rehearsal,
//! which loads every kernel and looks at every grid, and then in earnest, so that
//! nothing is on the stream when something turns out to be missing.

use super::arguments::{self, Address, Arguments, SortArgs};
use super::catalogue::Small;
use super::context::Entered;
use super::instances::Instance;
use super::module::Modules;
use super::pointers::Stream;
use crate::error::{Error, Result};
use crate::labels::LabelArray;
use crate::memory::{Dtype, Tensor};

/// Where a call's work goes.
pub(super) struct Queue<'a> {
    pub(super) entered: &'a Entered<'a>,
    pub(super) modules: &'a Modules,
    pub(super) stream: Stream,
    /// Whether to put nothing on the stream yet.
    pub(super) rehearsal: bool,
}

impl Queue<'_> {
    /// Launches a kernel on a grid of `[x, y]` blocks; none, if that is nothing.
    ///
    /// # Safety
    /// `arguments` is the kernel's struct, and its addresses are what
    /// `kernels/arguments.cuh` says until the kernel has run.
    pub(super) unsafe fn launch<T: Arguments>(
        &self,
        instance: &'static Instance,
        grid: [usize; 2],
        arguments: &T,
    ) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let function = self.modules.get(self.entered, self.stream, instance)?;
        let [Ok(x), Ok(y)] = grid.map(u32::try_from) else { return Err(too_large(instance, grid)) };
        if x > i32::MAX as u32 || y > u32::from(u16::MAX) {
            return Err(too_large(instance, grid));
        }
        if self.rehearsal {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { self.entered.launch(&function, [x, y, 1], self.stream, arguments) }
    }

    /// Launches a kernel on blocks that take `items_of_block` items each.
    ///
    /// # Safety
    /// As `launch`.
    pub(super) unsafe fn cover<T: Arguments>(
        &self,
        instance: &'static Instance,
        items: usize,
        items_of_block: usize,
        arguments: &T,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.launch(instance, [items.div_ceil(items_of_block), 1], arguments) }
    }

    /// Sorts `count` keys, a power of two.
    ///
    /// # Safety
    /// They exist on the device.
    pub(super) unsafe fn sort(&self, small: &Small, keys: Address, count: usize) -> Result<()> {
        let block = small.sort_block;
        // SAFETY: the caller's promise.
        unsafe {
            self.cover(block, count, block.rows, &sort_arguments(keys, count, 0, 0))?;
            self.merge_runs(small, keys, count)
        }
    }

    /// Sorts keys of which each block of `sort_block` is sorted; there is one up to 8,192.
    ///
    /// # Safety
    /// As `sort`.
    pub(super) unsafe fn merge_runs(&self, small: &Small, keys: Address, count: usize) -> Result<()> {
        let Small { sort_step, sort_merge, .. } = *small;
        let block = sort_merge.rows;
        let args = |run, distance| sort_arguments(keys, count, run, distance);
        let mut run = block;
        while run < count {
            let mut distance = run;
            while distance >= block {
                // SAFETY: the caller's promise.
                unsafe { self.cover(sort_step, count, sort_step.rows, &args(run, distance))? };
                distance /= 2;
            }
            // SAFETY: the caller's promise.
            unsafe { self.cover(sort_merge, count, block, &args(run, 0))? };
            run *= 2;
        }
        Ok(())
    }
}

fn sort_arguments(keys: Address, count: usize, run: usize, distance: usize) -> SortArgs {
    SortArgs { keys, count: count as i64, run: run as i64, distance: distance as i64 }
}

fn too_large(instance: &Instance, [x, y]: [usize; 2]) -> Error {
    Error::Shape(format!("{}: {x} x {y} blocks are more than the device can launch", instance.symbol()))
}

/// Threads that share a row of `dim` elements, as `row_threads` of `kernels/convert.cuh`.
fn row_threads(instance: &Instance, dim: usize) -> usize {
    dim.div_ceil(8).next_power_of_two().min(instance.threads as usize)
}

/// Rows of a block whose threads share rows of `dim` elements.
pub(super) fn rows_of_block(instance: &Instance, dim: usize) -> usize {
    instance.threads as usize / row_threads(instance, dim)
}

/// The same where a row is shared by a warp at least.
pub(super) fn warps_of_block(instance: &Instance, dim: usize) -> usize {
    instance.threads as usize / row_threads(instance, dim).max(32)
}

/// The kernels' number for a type; float64 has been refused.
pub(super) fn dtype_code(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::F16 => 1,
        Dtype::Bf16 => 2,
        Dtype::F32 | Dtype::F64 => 0,
    }
}

/// A tensor as kernels take it; none is NULL.
pub(super) fn tensor(tensor: Option<&Tensor>) -> arguments::Tensor {
    tensor.map_or_else(Default::default, |tensor| arguments::Tensor {
        data: tensor.data as Address,
        stride: tensor.stride as i64,
        dtype: dtype_code(tensor.dtype),
        pad: 0,
    })
}

/// The kernels' number for a type of labels.
pub(super) fn labels_code(labels: &LabelArray) -> i32 {
    i32::from(!labels.wide)
}
