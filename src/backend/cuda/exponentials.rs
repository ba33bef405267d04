//! Loss and gradients in one call where rows are too long for registers: the one pass over
//! the logits of a chunk of rows sums up their exponentials and stores them, too, before
//! the sums are known. What makes probabilities and gradients of them is one factor for
//! each row, which d_inputs are multiplied by in the end, and the inputs before d_weights.
//!
//! An exponential is exp(z - k), k the largest true logit of its row, so that the factor is
//! g exp(k - lse), g the row's upstream gradient. Where these are too far apart for
//! float32 (a true logit far below a sampled one), or not finite, `finish_rows` asks for the
//! row to be computed again, now with its log-sum-exp, on the device and without anyone
//! waiting: the pass for that is always launched, and ends at once where it finds no such
//! row.

use super::arguments::*;
use super::forward::{Parts, Run};
use super::gradients::Chunk;
use super::instances::Instance;
use super::launch::rows_of_block;
use super::workspace::Gradients;
use crate::args::GradientOutputs;
use crate::error::Result;

impl Run<'_> {
    /// Stores the exponentials of a chunk and finishes its rows; `first_block` as in
    /// `finish_rows`.
    ///
    /// # Safety
    /// As `enqueue`; so for all methods.
    pub(super) unsafe fn exponentials_and_loss(
        &self,
        kernel: &'static Instance,
        outputs: &GradientOutputs,
        buffers: &Gradients,
        chunk: Chunk,
        first_block: usize,
    ) -> Result<usize> {
        let split = self.plan.row_split(kernel, chunk.rows);
        let grid = [chunk.rows.div_ceil(kernel.rows), split.parts];
        let logits =
            LogitsArgs { partial: self.buffers.partial, ..self.stored_logits(buffers, chunk, split) };
        let parts = Parts { splits: split.parts, online: false };
        // SAFETY: the caller's promise.
        unsafe {
            self.queue.logits(kernel, self.plan.arithmetic, grid, logits)?;
            let behind = self.finish_rows(Some(parts), chunk, first_block)?;
            self.redo(buffers, chunk)?;
            self.apply_factors(outputs, buffers, chunk)?;
            Ok(behind)
        }
    }

    /// Stores probabilities without upstream gradients in the place of exponentials, where
    /// those cannot stand for them.
    unsafe fn redo(&self, buffers: &Gradients, chunk: Chunk) -> Result<()> {
        let kernel = self.plan.family.probabilities;
        let split = self.plan.row_split(kernel, chunk.rows);
        let logits = LogitsArgs {
            row_factor: buffers.coefficient + chunk.floats_before(),
            redo: buffers.chunk.redo,
            ..self.stored_logits(buffers, chunk, split)
        };
        let grid = [chunk.rows.div_ceil(kernel.rows), split.parts];
        // SAFETY: the caller's promise.
        unsafe { self.queue.logits(kernel, self.plan.arithmetic, grid, logits) }
    }

    /// Packs the inputs times the rows' factors, for d_weights, and sums up the stored
    /// exponentials times these, for d_biases.
    unsafe fn apply_factors(
        &self,
        outputs: &GradientOutputs,
        buffers: &Gradients,
        chunk: Chunk,
    ) -> Result<()> {
        let (plan, kernel) = (self.plan, self.small.factors);
        let sampled = plan.shape.sampled;
        let factor = buffers.coefficient + chunk.floats_before();
        let packed = if outputs.of_weights() { chunk.rows } else { 0 };
        let pack_blocks = packed.div_ceil(rows_of_block(kernel, plan.padded_dim));
        let row_tiles = chunk.rows.div_ceil(kernel.rows);
        let sum_blocks = if outputs.of_biases() { row_tiles * sampled.div_ceil(kernel.cols) } else { 0 };
        let factors = FactorsArgs {
            pack: self.pack_scaled_arguments(factor, chunk),
            e: buffers.chunk.probabilities,
            e_stride: plan.probability_stride() as i64,
            rows: chunk.rows as i32,
            cols: sampled as i32,
            factor,
            sums: buffers.chunk.col_sums,
            pack_blocks: pack_blocks as i64,
        };
        // SAFETY: the caller's promise.
        unsafe {
            self.queue.launch(kernel, [pack_blocks + sum_blocks, 1], &factors)?;
            match outputs.of_biases() {
                true => self.add_sums(buffers, chunk, row_tiles),
                false => Ok(()),
            }
        }
    }

    /// Of a chunk's inputs, each row times its factor.
    fn pack_scaled_arguments(&self, factor: Address, chunk: Chunk) -> PackArgs {
        let mut pack = self.pack_arguments(factor);
        let inputs = &self.step.batch.inputs;
        pack.from.data += (chunk.first * inputs.stride * inputs.dtype.size()) as Address;
        pack.rows = chunk.rows as i32;
        pack.scaled = 1;
        pack.out = self.packed_inputs(chunk.first).plane;
        pack
    }
}
