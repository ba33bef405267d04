//! The engines behind a handle: one interface, chosen at creation.

mod cpu;
mod cuda;
mod threads;

use std::sync::Arc;

use libc::c_void;

use crate::abi::{SSL_BACKEND_CPU, SSL_BACKEND_CUDA};
use crate::args::{Batch, Candidates, GradientOutputs, LossOutputs, Problem, Shape};
use crate::error::{Error, Result};
use crate::labels::LabelArray;
use crate::sampler::Sampler;

/// One call, its structs checked: what its arrays hold is the engine's to check. Forward
/// without gradients is `ssl_forward`, with them `ssl_forward_backward`.
pub(crate) struct Step<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) sampler: &'a Sampler,
    /// Whether the loss is computed.
    pub(crate) forward: bool,
    pub(crate) batch: &'a Batch,
    pub(crate) candidates: &'a Candidates<'a>,
    pub(crate) loss: LossOutputs,
    pub(crate) gradients: Option<GradientOutputs>,
    /// As large as `Engine::workspace_size` says.
    pub(crate) workspace: *mut u8,
    pub(crate) stream: *mut c_void,
}

/// One `ssl_sample`.
pub(crate) struct Sample<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) sampler: &'a Sampler,
    pub(crate) labels: LabelArray,
    /// The ignore index.
    pub(crate) ignored: Option<i64>,
    pub(crate) candidates: &'a Candidates<'a>,
    pub(crate) stream: *mut c_void,
}

impl Sample<'_> {
    /// What is left to do where `ids` is NULL: to write the counts learned so far.
    ///
    /// # Safety
    /// `learned_counts` is NULL or has C elements, which nobody borrows.
    unsafe fn save_learned(&self) -> Result<()> {
        let Candidates { learned_counts, num_classes, .. } = *self.candidates;
        if learned_counts.is_null() {
            return Err(Error::NullPointer("ids"));
        }
        // SAFETY: the caller's promise; aligned by `Candidates::check`.
        self.sampler.save_learned(unsafe { std::slice::from_raw_parts_mut(learned_counts, num_classes) })
    }
}

/// Bytes of workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkspaceSize {
    pub(crate) forward: usize,
    pub(crate) backward: usize,
}

/// What computes.
pub(crate) trait Engine: Send + Sync {
    /// Sizes that do not grow when rows become fewer.
    fn workspace_size(&self, problem: &Problem, shape: &Shape) -> Result<WorkspaceSize>;

    /// Forward, backward or both. Nothing has looked at `step.stream` yet.
    ///
    /// # Safety
    /// The arrays of `step` exist where this engine computes.
    unsafe fn run(&self, step: &Step<'_>) -> Result<()>;

    /// Draws candidates and nothing else.
    ///
    /// # Safety
    /// As `run`.
    unsafe fn sample(&self, sample: &Sample<'_>) -> Result<()>;
}

/// Whether a handle on this backend can be made here.
pub(crate) fn available(backend: u32) -> Result<()> {
    match backend {
        SSL_BACKEND_CPU => Ok(()),
        SSL_BACKEND_CUDA => cuda::available(),
        other => Err(Error::InvalidValue(format!("backend = {other} is none of SSL_BACKEND_*"))),
    }
}

/// Makes the engine that a configuration asks for.
pub(crate) fn create(
    backend: u32,
    device: i32,
    num_threads: u32,
    problem: &Problem,
    sampler: &Arc<Sampler>,
) -> Result<Box<dyn Engine>> {
    available(backend)?;
    Ok(match backend {
        SSL_BACKEND_CUDA => Box::new(cuda::Engine::new(device, problem, sampler)?),
        _ => Box::new(cpu::Engine::new(device, num_threads)?),
    })
}
