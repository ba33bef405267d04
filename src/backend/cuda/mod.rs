//! The CUDA engine: fused kernels on the caller's stream.

mod cache;
mod context;
mod cublaslt;
mod cublaslt_library;
mod driver;
#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod emulated;
mod graph;
mod images;
mod instances;
mod libraries;
mod module;
mod nvrtc;
mod pinned;
mod pointers;
mod sources;
mod stream;

use std::sync::Arc;

use libc::c_void;

use crate::args::{Problem, Shape};
use crate::backend::{self, Sample, Step, WorkspaceSize};
use crate::error::{Error, Result};
use crate::sampler::Sampler;

pub(crate) struct Engine;

fn absent<T>() -> Result<T> {
    Err(Error::NoBackend("backend = 1: this library was built without the CUDA engine".into()))
}

/// Whether this machine has what the engine needs.
pub(crate) fn available() -> Result<()> {
    absent()
}

impl Engine {
    pub(crate) fn new(_: i32, _: &Problem, _: &Arc<Sampler>) -> Result<Engine> {
        absent()
    }
}

impl backend::Engine for Engine {
    fn check_stream(&self, _: *mut c_void) -> Result<()> {
        absent()
    }

    fn workspace_size(&self, _: &Problem, _: &Shape) -> Result<WorkspaceSize> {
        absent()
    }

    unsafe fn run(&self, _: &Step<'_>) -> Result<()> {
        absent()
    }

    unsafe fn sample(&self, _: &Sample<'_>) -> Result<()> {
        absent()
    }
}
