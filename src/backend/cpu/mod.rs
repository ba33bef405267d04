//! The CPU engine: rows in chunks, logits by panels of classes, 6 N S d operations a
//! step and no N x S array beyond a chunk.
//!
//! ```text
//! candidates   sort ids, pack the sampled weights twice (as they are, transposed)
//! for each chunk of rows
//!   rows       pack inputs, true logits, accidental hits
//!   logits     inputs x weights^T by panels; maximum and sum of each row   (classes shared)
//!   rows       log-sum-exp, loss, the scale of each row's gradient         (rows shared)
//!   gradients  logits -> their gradients; d_weights += gradients^T x inputs (classes shared)
//!   d_inputs   gradients x weights, and the labels' part                   (rows shared)
//! merge        candidates' and labels' rows into unique ascending rows, or into an update
//! ```
//!
//! Forward stops after the loss; backward takes the log-sum-exp from the caller and goes
//! from logits straight to gradients. Every number is computed by one task in one fixed
//! order, so threads do not show in the results.

mod candidates;
mod convert;
mod gemm;
mod grid;
mod host;
#[cfg(test)]
mod kernel_tests;
mod kernels;
mod logits;
mod machine;
mod merge;
mod pairs;
mod panels;
mod rows;
mod simd;
#[cfg(target_arch = "x86_64")]
mod simd_x86;
mod step;
mod team;
mod update;
mod workspace;

use libc::c_void;

use crate::args::{MOST_THREADS, Problem, Shape};
use crate::backend::{self, Sample, Step, WorkspaceSize};
use crate::error::{Error, Result};
use crate::memory::{Arena, Dtype};
use host::Host;
use kernels::Kernels;
use machine::Machine;
use pairs::Paired;
use simd::Real;
use step::Run;
use team::Team;
use workspace::Buffers;

pub(crate) struct Engine {
    machine: Machine,
    team: Team,
}

/// Tells how many threads a handle has that asks for none in particular.
const THREADS: &str = "SAMPLED_SOFTMAX_NUM_THREADS";

impl Engine {
    pub(crate) fn new(device: i32, num_threads: u32) -> Result<Engine> {
        if device != 0 {
            return Err(Error::InvalidValue(format!("device = {device}: the CPU engine has only device 0")));
        }
        let threads = match num_threads {
            0 => default_threads()?,
            threads => threads as usize,
        };
        Ok(Engine { machine: Machine::detect()?, team: Team::new(threads)? })
    }

    fn measure<R: Real>(&self, problem: &Problem, shape: &Shape, kernels: &Kernels<R>) -> WorkspaceSize {
        let bytes = |gradients, paired| {
            let mut arena = Arena::measure();
            Buffers::lay_out(shape, kernels, self.team.threads(), gradients, paired, &mut arena);
            arena.bytes()
        };
        // Gradients in pairs take less room than those of numbers.
        let paired = Paired { logits: Paired::possible(problem, shape, kernels), ..Paired::NONE };
        let forward = bytes(false, paired);
        // What serves backward serves forward too: few classes and many threads could
        // turn it round.
        WorkspaceSize { forward, backward: bytes(true, paired).max(forward) }
    }

    unsafe fn run_in<R: Real>(&self, kernels: &'static Kernels<R>, step: &Step<'_>, host: Host<'_>) {
        let mut arena = Arena::over(step.workspace);
        let gradients = step.gradients.is_some();
        let paired = Paired::of_step(step, kernels);
        let threads = self.team.threads();
        let buffers = Buffers::lay_out(&step.batch.shape, kernels, threads, gradients, paired, &mut arena);
        // SAFETY: the caller's promise.
        unsafe { Run::new(step, host, kernels, &self.team, buffers).all() }
    }
}

impl backend::Engine for Engine {
    fn workspace_size(&self, problem: &Problem, shape: &Shape) -> Result<WorkspaceSize> {
        Ok(match shape.real {
            Dtype::F64 => self.measure(problem, shape, self.machine.f64),
            _ => self.measure(problem, shape, self.machine.f32),
        })
    }

    unsafe fn run(&self, step: &Step<'_>) -> Result<()> {
        check_stream(step.stream)?;
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(update) = step.gradients.as_ref().and_then(|gradients| gradients.update()) {
                update::check_rate(update)?;
            }
            let host = Host::prepare(step)?;
            match step.batch.shape.real {
                Dtype::F64 => self.run_in(self.machine.f64, step, host),
                _ => self.run_in(self.machine.f32, step, host),
            }
        }
        Ok(())
    }

    unsafe fn sample(&self, sample: &Sample<'_>) -> Result<()> {
        check_stream(sample.stream)?;
        // SAFETY: the caller's promise.
        unsafe { host::sample(sample) }
    }
}

fn check_stream(stream: *mut c_void) -> Result<()> {
    if stream.is_null() {
        return Ok(());
    }
    Err(Error::InvalidValue(format!("stream = {stream:p}: the CPU engine has no streams, pass NULL")))
}

fn default_threads() -> Result<usize> {
    let Ok(text) = std::env::var(THREADS) else {
        return Ok(std::thread::available_parallelism().map_or(1, usize::from));
    };
    match text.trim().parse() {
        Ok(threads @ 1..=MOST_THREADS) => Ok(threads as usize),
        _ => Err(Error::InvalidValue(format!("{THREADS}={text} is not a number from 1 to {MOST_THREADS}"))),
    }
}
