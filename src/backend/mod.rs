//! The engines behind a handle: one interface, chosen at creation.

mod cpu;

use libc::c_void;

use crate::abi::{SSL_BACKEND_CPU, SSL_BACKEND_CUDA};
use crate::args::{Batch, Candidates, GradientOutputs, LossOutputs, Problem, Shape};
use crate::error::{Error, Result};

/// One checked call. `forward` without gradients is `ssl_forward`, with them
/// `ssl_forward_backward`; gradients without `forward` are `ssl_backward`.
pub(crate) struct Step<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) forward: bool,
    pub(crate) batch: &'a Batch<'a>,
    pub(crate) candidates: &'a Candidates<'a>,
    pub(crate) loss: LossOutputs,
    pub(crate) gradients: Option<GradientOutputs>,
}

/// Bytes of workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkspaceSize {
    pub(crate) forward: usize,
    pub(crate) backward: usize,
}

pub(crate) enum Backend {
    Cpu(cpu::Engine),
}

/// Whether a handle on this backend can be made here.
pub(crate) fn available(backend: u32) -> Result<()> {
    match backend {
        SSL_BACKEND_CPU => Ok(()),
        SSL_BACKEND_CUDA => {
            Err(Error::NoBackend("backend = 1: this library was built without the CUDA engine".into()))
        }
        other => Err(Error::InvalidValue(format!("backend = {other} is none of SSL_BACKEND_*"))),
    }
}

impl Backend {
    pub(crate) fn create(backend: u32, device: i32, num_threads: u32) -> Result<Backend> {
        available(backend)?;
        if device != 0 {
            return Err(Error::InvalidValue(format!("device = {device}: the CPU engine has only device 0")));
        }
        cpu::Engine::new(num_threads).map(Backend::Cpu)
    }

    pub(crate) fn check_stream(&self, stream: *mut c_void) -> Result<()> {
        match self {
            Backend::Cpu(_) if !stream.is_null() => Err(Error::InvalidValue(format!(
                "stream = {stream:p}: the CPU engine has no streams, pass NULL"
            ))),
            Backend::Cpu(_) => Ok(()),
        }
    }

    pub(crate) fn workspace_size(&self, shape: &Shape) -> WorkspaceSize {
        match self {
            Backend::Cpu(engine) => engine.workspace_size(shape),
        }
    }

    /// # Safety
    /// `workspace` has the size that `workspace_size` says, and the arrays of `step`
    /// exist.
    pub(crate) unsafe fn run(&self, step: &Step<'_>, workspace: *mut u8) -> Result<()> {
        match self {
            // SAFETY: the caller's promise.
            Backend::Cpu(engine) => unsafe { engine.run(step, workspace) },
        }
    }
}
