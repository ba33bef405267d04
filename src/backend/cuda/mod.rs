//! The CUDA engine: fused kernels on the caller's stream.
//!
//! ```text
//! engine     checks a call, then puts it on the stream
//!   plan       arithmetic, kernels, splits, chunks          catalogue, instances
//!   workspace  where everything lies in the caller's memory
//!   sampling   candidates drawn ahead, at once, or by the stream
//!              draw, slots, ahead, capture
//!   prepare    candidates, rows, sorted keys                kernels/{begin,prepare}.cuh
//!   forward    logits, loss                                 kernels/{logits,attend,loss}.cuh
//!   gradients  d_inputs, d_weights, d_biases                kernels/{shares,attend,merge,update}.cuh
//!   chunks     the same for long rows                       kernels/{logits,product}.cuh, cublaslt
//!   exponentials  their loss and gradients in one call      kernels/{logits,loss,factors}.cuh
//!   launch     a kernel with its arguments
//!   wgmma      kernels for compute capability 9.0             kernels/{logits,attend}_wgmma.cuh
//! driver     context, stream, pointers, pinned, graph: libcuda
//! module     kernels compiled or found                      images, nvrtc, cache, sources, libraries
//! ```
//!
//! Everything goes on the caller's stream. After the first call of its kind a call
//! allocates nothing on the device and waits for nothing.

mod ahead;
mod arguments;
mod cache;
mod capture;
mod catalogue;
mod chunks;
mod context;
mod cublaslt;
mod cublaslt_library;
mod device_draw;
mod draw;
mod driver;
#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod emulated;
mod engine;
#[cfg(test)]
mod engine_tests;
mod exponentials;
mod forward;
mod gradients;
mod graph;
mod images;
mod instances;
mod launch;
mod libraries;
mod module;
#[cfg(test)]
mod module_tests;
mod nvrtc;
mod pinned;
mod plan;
mod pointers;
mod prepare;
mod sampling;
mod slots;
mod sources;
mod stream;
mod wgmma;
mod workspace;

use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::args::{Problem, Shape};
use crate::backend::{self, Sample, Step, WorkspaceSize};
use crate::error::{Error, Result};
use crate::sampler::Sampler;
use engine::OnDevice;

/// The engine as a handle has it.
pub(crate) struct Engine {
    device: ManuallyDrop<OnDevice>,
    /// The process that made it: CUDA does not survive a fork.
    process: u32,
}

/// Whether this machine has what the engine needs.
pub(crate) fn available() -> Result<()> {
    context::count_devices().map(|_| ())
}

impl Engine {
    pub(crate) fn new(device: i32, problem: &Problem, sampler: &Arc<Sampler>) -> Result<Engine> {
        let device = ManuallyDrop::new(OnDevice::new(device, problem, sampler)?);
        Ok(Engine { device, process: std::process::id() })
    }

    fn in_this_process(&self) -> Result<&OnDevice> {
        if self.process == std::process::id() {
            return Ok(&self.device);
        }
        Err(Error::InvalidValue(format!(
            "handle: process {} was forked from {}, and CUDA does not survive a fork; create the handle in the \
             process that uses it",
            std::process::id(),
            self.process
        )))
    }
}

impl backend::Engine for Engine {
    fn workspace_size(&self, problem: &Problem, shape: &Shape) -> Result<WorkspaceSize> {
        self.in_this_process()?.workspace_size(problem, shape)
    }

    unsafe fn run(&self, step: &Step<'_>) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.in_this_process()?.run(step) }
    }

    unsafe fn sample(&self, sample: &Sample<'_>) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.in_this_process()?.sample(sample) }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // SAFETY: not used again.
            unsafe { ManuallyDrop::drop(&mut self.device) };
        }
        // In a forked child neither the threads nor the driver are there to be told; what
        // is left is the parent's.
    }
}
