//! One call on the CPU: which rows take part, the loop over chunks, the reduction.

use super::convert::write_row;
use super::host::Host;
use super::kernels::Kernels;
use super::simd::Real;
use super::team::Team;
use super::workspace::{Buffers, GROUP, GradientBuffers};
use crate::args::{Reduction, Shape};
use crate::backend::Step;

/// Operations below which a job is not worth waking other threads for.
const WORTH_SHARING: usize = 1 << 19;

/// Rows of one task: enough that what they share is read from memory seldom.
const TASK_ROWS: usize = 128;

/// A call in progress.
pub(super) struct Run<'a, R: 'static> {
    pub(super) step: &'a Step<'a>,
    pub(super) host: Host<'a>,
    pub(super) kernels: &'static Kernels<R>,
    pub(super) team: &'a Team,
    pub(super) buffers: Buffers<R>,
    /// Factor of the reduction: 1 / sum of weights for the mean, else 1.
    pub(super) normaliser: f64,
}

// SAFETY: what a run leads to is shared between tasks that write disjoint parts of it.
unsafe impl<R> Sync for Run<'_, R> {}

/// Rows that take part, `first..first + rows` of their list.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Accidental hits found in it.
    pub(super) hits: usize,
}

impl<'a, R: Real> Run<'a, R> {
    /// # Safety
    /// All arrays of `step` and `buffers` exist; so for all methods.
    pub(super) unsafe fn new(
        step: &'a Step<'a>,
        host: Host<'a>,
        kernels: &'static Kernels<R>,
        team: &'a Team,
        buffers: Buffers<R>,
    ) -> Run<'a, R> {
        let mut run = Run { step, host, kernels, team, buffers, normaliser: 1.0 };
        if step.problem.reduction == Reduction::Mean {
            let rows = (0..run.shape().rows).filter(|&row| !host.is_ignored(row));
            // SAFETY: the caller's promise.
            let total: f64 = rows.map(|row| unsafe { run.sample_weight(row) }).sum();
            run.normaliser = if total == 0.0 { 0.0 } else { 1.0 / total };
        }
        run
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.step.batch.shape
    }

    /// The buffers of a call that computes gradients.
    pub(super) fn gradient_buffers(&self) -> &GradientBuffers<R> {
        self.buffers.gradients.as_ref().expect("a call with gradients lays them out")
    }

    /// Groups of panels whose sums are taken together.
    pub(super) fn groups(&self) -> usize {
        self.shape().sampled.div_ceil(self.kernels.width * GROUP)
    }

    /// The batch's row behind a chunk's.
    pub(super) unsafe fn row(&self, chunk: Chunk, row: usize) -> usize {
        // SAFETY: `active` lists at least `chunk.first + chunk.rows` rows.
        unsafe { *self.buffers.active.add(chunk.first + row) }
    }

    /// Shares tasks among the threads, if their operations are worth it.
    pub(super) fn share(&self, work: usize, tasks: usize, task: impl Fn(usize, usize) + Sync) {
        self.team.run(work < WORTH_SHARING, tasks, task);
    }

    /// What it takes to read so many rows of d numbers from anywhere in memory and to pack
    /// them, in operations of a product that take as long.
    pub(super) fn reading(&self, rows: usize) -> usize {
        rows * (4096 + 64 * self.shape().dim)
    }

    /// Shares a chunk's rows: `task(worker, first, last)`.
    pub(super) fn share_rows(&self, work: usize, chunk: Chunk, task: impl Fn(usize, usize, usize) + Sync) {
        let even = chunk.rows.div_ceil(self.team.threads()).next_multiple_of(8);
        let size = even.clamp(8, TASK_ROWS);
        self.share(work, chunk.rows.div_ceil(size), |worker, number| {
            let first = number * size;
            task(worker, first, (first + size).min(chunk.rows));
        });
    }

    /// The whole call.
    pub(super) unsafe fn all(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            let active = self.choose_rows();
            self.prepare_candidates();
            if let Some(gradients) = &self.buffers.gradients {
                self.clear(gradients, active);
            }
            let mut first = 0;
            while first < active {
                let rows = self.buffers.chunk.min(active - first);
                self.chunk(self.prepare_rows(Chunk { first, rows, hits: 0 }));
                first += rows;
            }
            if self.step.forward {
                self.write_loss();
            }
            if let Some(gradients) = &self.step.gradients
                && gradients.of_parameters()
            {
                self.merge(gradients);
            }
            if !self.step.loss.device_status.is_null() {
                self.step.loss.device_status.write(0);
            }
        }
    }

    unsafe fn chunk(&self, chunk: Chunk) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.step.forward {
                self.compute_logits(chunk);
                self.finish_rows(chunk);
                if self.step.gradients.is_some() {
                    self.compute_gradients(chunk);
                }
            } else {
                self.finish_rows(chunk);
                self.compute_logits(chunk);
            }
            if let Some(gradients) = &self.step.gradients
                && let Some(d_inputs) = &gradients.d_inputs
            {
                self.compute_d_inputs(chunk, d_inputs);
            }
        }
    }

    /// Lists the rows that take part and gives the others their result, without reading
    /// what they hold.
    unsafe fn choose_rows(&self) -> usize {
        let mut active = 0;
        let gradients = self.step.gradients.as_ref();
        let zeros = |row| {
            if let Some(d_inputs) = gradients.and_then(|gradients| gradients.d_inputs) {
                let dim = self.shape().dim;
                // SAFETY: a thread's row buffer has d numbers, here before any task runs.
                unsafe {
                    let zeros = std::slice::from_raw_parts_mut(self.buffers.rows, dim);
                    zeros.fill(R::ZERO);
                    write_row(&d_inputs, row, zeros, false);
                }
            }
        };
        for row in 0..self.shape().rows {
            // SAFETY: all these have N elements.
            unsafe {
                // Not those without upstream gradient, which forward needs: in backward
                // too, so that its sums are grouped alike.
                if self.host.is_ignored(row) || self.sample_weight(row) == 0.0 {
                    zeros(row);
                    if self.step.forward {
                        self.buffers.row_loss.add(row).write(0.0);
                        if !self.step.loss.log_sum_exp.is_null() {
                            self.step.loss.log_sum_exp.add(row).write(0.0);
                        }
                    }
                } else {
                    self.buffers.active.add(active).write(row);
                    active += 1;
                }
            }
        }
        active
    }

    unsafe fn write_loss(&self) {
        let output = &self.step.loss.loss;
        // SAFETY: row_loss has N elements, and the loss as many as the reduction leaves.
        unsafe {
            let weighted = |row| {
                let weight = self.sample_weight(row);
                // The weight of an ignored row may be NaN.
                let idle = weight == 0.0 || self.host.is_ignored(row);
                if idle { 0.0 } else { weight * *self.buffers.row_loss.add(row) }
            };
            let rows = 0..self.shape().rows;
            if self.step.problem.reduction == Reduction::None {
                rows.for_each(|row| write_row(output, row, &[R::from_f64(weighted(row))], false));
            } else {
                let sum: f64 = rows.map(weighted).sum();
                let reduced = if self.normaliser == 0.0 { 0.0 } else { sum * self.normaliser };
                write_row(output, 0, &[R::from_f64(reduced)], false);
            }
        }
    }
}
