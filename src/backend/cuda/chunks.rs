//! The gradients where rows are too long for registers: probabilities of a chunk of rows
//! are stored and multiplied with the candidates' rows and, transposed, with the inputs.
//! The products are cuBLASLt's where it is there, else `kernels/product.cuh`. Where the loss
//! is still to be computed, too, exponentials take the place of probabilities
//! (`exponentials.rs`).

use std::mem::offset_of;

use super::arguments::*;
use super::cublaslt::{CublasLt, Factors, Operands, Product};
use super::forward::Run;
use super::gradients::{Chunk, ClassParts, RowParts};
use super::instances::Instance;
use super::plan::{Arithmetic, Split};
use super::workspace::Gradients;
use crate::args::GradientOutputs;
use crate::error::Result;

impl Run<'_> {
    /// Writes d_inputs, and sums up the candidates' parts.
    ///
    /// # Safety
    /// As `enqueue`; so for all methods.
    pub(super) unsafe fn all_chunks(
        &self,
        outputs: &GradientOutputs,
        buffers: &Gradients,
        rows_of_chunk: usize,
    ) -> Result<ClassParts> {
        let rows = self.plan.shape.rows;
        let exponentials = self.exponentials();
        if exponentials.is_none() && self.library().is_some() && outputs.of_weights() {
            // A library cannot leave out a row of NaN that has no gradient: it gets packed
            // inputs, where such rows are zeros.
            // SAFETY: the caller's promise.
            unsafe { self.pack(buffers.coefficient)? };
        }
        let (mut first, mut blocks) = (0, 0);
        while first < rows {
            let chunk = Chunk { first, rows: rows_of_chunk.min(rows - first) };
            // SAFETY: the caller's promise.
            unsafe {
                match exponentials {
                    Some(kernel) => {
                        blocks = self.exponentials_and_loss(kernel, outputs, buffers, chunk, blocks)?
                    }
                    None => self.probabilities(outputs, buffers, chunk)?,
                }
                if outputs.d_inputs.is_some() {
                    self.multiply_plain(buffers, chunk)?;
                    let factor = if exponentials.is_some() { buffers.coefficient } else { 0 };
                    let unscale = self.scale(offset_of!(Control, unscale_classes));
                    let parts = RowParts { chunk, splits: 1, factor, factor_stride: 0, unscale };
                    self.shares(outputs, buffers, Some(parts), chunk.first + chunk.rows == rows)?;
                }
                if outputs.of_weights() {
                    self.multiply_transposed(buffers, chunk)?;
                }
            }
            first += chunk.rows;
        }
        if rows == 0 || outputs.d_inputs.is_none() {
            // SAFETY: the caller's promise.
            unsafe { self.shares(outputs, buffers, None, true)? };
        }
        Ok(ClassParts { splits: usize::from(rows > 0) })
    }

    /// Stores the probabilities of a chunk, times the rows' gradients.
    unsafe fn probabilities(
        &self,
        outputs: &GradientOutputs,
        buffers: &Gradients,
        chunk: Chunk,
    ) -> Result<()> {
        let (plan, kernel) = (self.plan, self.plan.family.probabilities);
        let split = plan.probability_split();
        let row_tiles = chunk.rows.div_ceil(kernel.rows);
        let logits = LogitsArgs {
            row_factor: buffers.coefficient + chunk.floats_before(),
            scale: self.scale(offset_of!(Control, scale_classes)),
            col_sums: if outputs.of_biases() { buffers.chunk.col_sums } else { 0 },
            ..self.stored_logits(buffers, chunk, split)
        };
        // SAFETY: the caller's promise.
        unsafe {
            self.queue.logits(kernel, plan.arithmetic, [row_tiles, split.parts], logits)?;
            match outputs.of_biases() {
                true => self.add_sums(buffers, chunk, row_tiles),
                false => Ok(()),
            }
        }
    }

    /// What every mode takes that stores something of a chunk's logits.
    pub(super) fn stored_logits(&self, buffers: &Gradients, chunk: Chunk, split: Split) -> LogitsArgs {
        let plan = self.plan;
        LogitsArgs {
            q: self.inputs(chunk.first),
            k: self.columns(),
            rows: chunk.rows as i32,
            cols: plan.shape.sampled as i32,
            dim: plan.padded_dim as i32,
            cols_per_split: split.cols as i32,
            col_add: self.buffers.col_add,
            hits: self.row_hits(chunk.first),
            row_add: buffers.row_add + chunk.floats_before(),
            p: buffers.chunk.probabilities,
            p_stride: plan.probability_stride() as i64,
            ..Default::default()
        }
    }

    /// The chunk's part of d_biases, from the sums of `row_tiles` tiles.
    pub(super) unsafe fn add_sums(&self, buffers: &Gradients, chunk: Chunk, row_tiles: usize) -> Result<()> {
        let (kernel, sampled) = (self.small.add_sums, self.plan.shape.sampled);
        let sums = AddSumsArgs {
            parts: buffers.chunk.col_sums,
            total: buffers.class_sums,
            count: row_tiles as i32,
            cols: sampled as i32,
            accumulate: i32::from(chunk.first > 0),
            pad: 0,
        };
        // SAFETY: the caller's promise.
        unsafe { self.queue.cover(kernel, sampled, kernel.rows, &sums) }
    }

    /// Probabilities times the candidates' rows: the sampled part of d_inputs.
    unsafe fn multiply_plain(&self, buffers: &Gradients, chunk: Chunk) -> Result<()> {
        let plan = self.plan;
        let product = ProductArgs {
            a: self.stored(buffers),
            b: self.columns(),
            rows: chunk.rows as i32,
            depth: plan.shape.sampled as i32,
            dim: plan.padded_dim as i32,
            accumulate: 0,
            depth_factor: 0,
            out: buffers.row_parts,
        };
        // SAFETY: the caller's promise.
        unsafe { self.multiply(buffers, plan.family.plain, &product, false) }
    }

    /// Transposed probabilities times the inputs: the candidates' part of d_weights.
    unsafe fn multiply_transposed(&self, buffers: &Gradients, chunk: Chunk) -> Result<()> {
        let plan = self.plan;
        let packed = self.library().is_some() || self.exponentials().is_some();
        let b = if packed { self.packed_inputs(chunk.first) } else { self.inputs(chunk.first) };
        let product = ProductArgs {
            a: self.stored(buffers),
            b,
            rows: plan.shape.sampled as i32,
            depth: chunk.rows as i32,
            dim: plan.padded_dim as i32,
            accumulate: i32::from(chunk.first > 0),
            depth_factor: buffers.coefficient + chunk.floats_before(),
            out: buffers.class_parts,
        };
        // SAFETY: the caller's promise.
        unsafe { self.multiply(buffers, plan.family.transposed, &product, true) }
    }

    fn stored(&self, buffers: &Gradients) -> Operand {
        Operand { plane: buffers.chunk.probabilities, stride: self.plan.probability_stride() as i64 }
    }

    /// cuBLASLt, where it is there and computes in the plan's arithmetic.
    fn library(&self) -> Option<&CublasLt> {
        self.library.filter(|_| self.plan.uses_library())
    }

    unsafe fn multiply(
        &self,
        buffers: &Gradients,
        kernel: &'static Instance,
        product: &ProductArgs,
        transposed: bool,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(library) = self.library()
                && self.multiply_by(library, buffers, product, transposed)?
            {
                return Ok(());
            }
            let row_tiles = (product.rows as usize).div_ceil(kernel.rows);
            let grid = [row_tiles, self.plan.padded_dim.div_ceil(kernel.cols)];
            self.queue.launch(kernel, grid, product)
        }
    }

    /// `false`: the library has nothing for such a product.
    unsafe fn multiply_by(
        &self,
        library: &CublasLt,
        buffers: &Gradients,
        product: &ProductArgs,
        transposed: bool,
    ) -> Result<bool> {
        let sizes = Product {
            factors: match self.plan.arithmetic {
                Arithmetic::F16 => Factors::F16,
                Arithmetic::Tf32 => Factors::Tf32,
                _ => Factors::Bf16,
            },
            transposed,
            accumulate: product.accumulate != 0,
            rows: product.rows as usize,
            depth: product.depth as usize,
            dim: self.plan.padded_dim,
            a_stride: product.a.stride as usize,
            b_stride: product.b.stride as usize,
            out_stride: self.plan.padded_dim,
        };
        let operands = Operands {
            a: product.a.plane[0],
            b: product.b.plane[0],
            out: product.out,
            workspace: buffers.chunk.library,
            workspace_bytes: self.plan.machine.library_workspace,
        };
        if self.queue.rehearsal {
            return library.can_multiply(&sizes, &operands);
        }
        // SAFETY: the operands are as large as their sizes say.
        unsafe { library.multiply(self.queue.entered, &sizes, &operands, self.queue.stream) }
    }
}

impl Chunk {
    /// Bytes of one float for each row before it.
    pub(super) fn floats_before(&self) -> Address {
        (self.first * size_of::<f32>()) as Address
    }
}
