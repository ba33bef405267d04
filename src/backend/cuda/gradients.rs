//! The gradients on the device: of the inputs from the parts that the candidates left, of
//! the parameters with the roles of rows and candidates swapped, merged with the labels'
//! shares into one row for each class.

use std::mem::offset_of;

use super::arguments::*;
use super::catalogue::Attend;
use super::forward::{Parts, Run};
use super::launch::{dtype_code, labels_code, rows_of_block, tensor, warps_of_block};
use super::plan::Route;
use super::workspace::Gradients;
use crate::abi;
use crate::args::{GradientOutputs, Layout, RowList, Rule, Update};
use crate::error::Result;
use crate::memory::Tensor;

/// What is summed to the candidates' gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassParts {
    pub(super) splits: usize,
}

/// Rows `first..first + rows` of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// Parts of d_inputs and what each is multiplied by.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowParts {
    pub(super) chunk: Chunk,
    pub(super) splits: usize,
    pub(super) factor: Address,
    pub(super) factor_stride: usize,
    pub(super) unscale: Address,
}

impl Run<'_> {
    /// All gradients that are wanted.
    ///
    /// # Safety
    /// As `enqueue`; so for all methods.
    pub(super) unsafe fn gradients(&self, outputs: &GradientOutputs, parts: Option<Parts>) -> Result<()> {
        let Some(buffers) = &self.buffers.gradients else { return Ok(()) };
        // SAFETY: the caller's promise.
        unsafe {
            let parts = match self.plan.route {
                Route::Attend(attend) => {
                    let parts = match outputs.d_inputs {
                        Some(_) => Some(self.attended_inputs(attend, buffers, parts)?),
                        None => None,
                    };
                    self.shares(outputs, buffers, parts, true)?;
                    match outputs.of_parameters() {
                        true => self.attended_classes(attend, buffers)?,
                        false => return Ok(()),
                    }
                }
                Route::Chunks { rows } => self.all_chunks(outputs, buffers, rows)?,
            };
            match outputs.of_parameters() {
                true => self.merge(outputs, buffers, parts),
                false => Ok(()),
            }
        }
    }

    pub(super) fn whole(&self) -> Chunk {
        Chunk { first: 0, rows: self.plan.shape.rows }
    }

    /// The sampled part of d_inputs, which the pass over the candidates may have left.
    unsafe fn attended_inputs(
        &self,
        attend: Attend,
        buffers: &Gradients,
        parts: Option<Parts>,
    ) -> Result<RowParts> {
        let mut splits = Parts::of_d_inputs(parts);
        let (mut factor, mut factor_stride) = (buffers.part_factor, self.plan.shape.rows);
        if splits == 0 {
            // SAFETY: the caller's promise.
            splits = unsafe { self.attend_to_candidates(attend, buffers)? };
            (factor, factor_stride) = (buffers.coefficient, 0);
        }
        let unscale = self.scale(offset_of!(Control, unscale_rows));
        Ok(RowParts { chunk: self.whole(), splits, factor, factor_stride, unscale })
    }

    /// The sampled part of d_inputs from the log-sum-exp; gives its splits.
    unsafe fn attend_to_candidates(&self, attend: Attend, buffers: &Gradients) -> Result<usize> {
        let (plan, kernel) = (self.plan, attend.known);
        let split = plan.row_split(kernel, plan.shape.rows);
        let arguments = AttendArgs { row_add: buffers.row_add, ..self.rows_attend(split, buffers.row_parts) };
        let grid = [plan.shape.rows.div_ceil(kernel.rows), split.parts];
        // SAFETY: the caller's promise.
        unsafe { self.queue.attend(kernel, plan.arithmetic, grid, arguments)? };
        Ok(split.parts)
    }

    /// Writes the rows of d_inputs whose parts are there. Once in a call also what goes before
    /// `merge`: the ranks of the classes, and long runs of labels summed in pieces.
    pub(super) unsafe fn shares(
        &self,
        outputs: &GradientOutputs,
        buffers: &Gradients,
        parts: Option<RowParts>,
        once: bool,
    ) -> Result<()> {
        let (plan, kernel) = (self.plan, self.small.shares);
        let mut shares = SharesArgs::default();
        let mut row_blocks = 0;
        if let (Some(d_inputs), Some(parts)) = (&outputs.d_inputs, parts) {
            shares.d_inputs = self.d_inputs_arguments(buffers, d_inputs, parts);
            row_blocks = parts.chunk.rows.div_ceil(rows_of_block(kernel, plan.shape.dim));
        }
        if once && outputs.of_parameters() {
            shares.index = self.index(outputs, buffers);
            shares.merge = self.merge_arguments(outputs, buffers, ClassParts { splits: 0 });
            shares.rank_blocks = 1;
            if outputs.of_weights() {
                shares.piece_blocks = (plan.labels() / MERGE_PIECE) as i64;
            }
        }
        let blocks = (shares.rank_blocks + shares.piece_blocks) as usize + row_blocks;
        // SAFETY: the caller's promise.
        unsafe { self.queue.launch(kernel, [blocks, 1], &shares) }
    }

    fn d_inputs_arguments(&self, buffers: &Gradients, d_inputs: &Tensor, parts: RowParts) -> DInputsArgs {
        let (plan, labels) = (self.plan, &self.step.batch.labels);
        DInputsArgs {
            parts: buffers.row_parts,
            splits: parts.splits as i32,
            padded_dim: plan.padded_dim as i32,
            factor: parts.factor,
            factor_stride: parts.factor_stride as i64,
            unscale: parts.unscale,
            weights: tensor(Some(&self.step.batch.weights)),
            labels: labels.data as Address,
            labels_dtype: labels_code(labels),
            dim: plan.shape.dim as i32,
            first: parts.chunk.first as i64,
            rows: parts.chunk.rows as i64,
            num_true: plan.shape.num_true as i64,
            d_true: buffers.d_true,
            state: self.buffers.state,
            out: d_inputs.data as Address,
            out_stride: d_inputs.stride as i64,
            out_dtype: dtype_code(d_inputs.dtype),
            pad: 0,
        }
    }

    /// The candidates attend to the rows: the same pass with the roles swapped.
    unsafe fn attended_classes(&self, attend: Attend, buffers: &Gradients) -> Result<ClassParts> {
        let (plan, kernel) = (self.plan, attend.known);
        if plan.shape.rows == 0 {
            return Ok(ClassParts { splits: 0 });
        }
        let split = plan.class_split(kernel);
        let mut inputs = self.inputs(0);
        if kernel.is_wgmma() {
            // Copies of whole tiles cannot leave out a row of NaN that has no gradient: packed,
            // such rows are zeros.
            // SAFETY: the caller's promise.
            unsafe { self.pack(buffers.coefficient)? };
            inputs = self.packed_inputs(0);
        }
        let arguments = AttendArgs {
            q: self.columns(),
            k: inputs,
            rows: plan.shape.sampled as i32,
            cols: plan.shape.rows as i32,
            dim: plan.padded_dim as i32,
            cols_per_split: split.cols as i32,
            col_add: buffers.row_add,
            row_add: self.buffers.col_add,
            col_factor: buffers.coefficient,
            hits: self.class_hits(buffers),
            scale: self.scale(offset_of!(Control, scale_classes)),
            out: buffers.class_parts,
            row_sums: buffers.class_sums,
            ..Default::default()
        };
        let grid = [plan.shape.sampled.div_ceil(kernel.rows), split.parts];
        // SAFETY: the caller's promise.
        unsafe { self.queue.attend(kernel, plan.arithmetic, grid, arguments)? };
        Ok(ClassParts { splits: split.parts })
    }

    /// The accidental hits as the candidates see them.
    pub(super) fn class_hits(&self, buffers: &Gradients) -> Hits {
        if !self.masks_hits() {
            return Hits::default();
        }
        Hits { list: buffers.class_list, begin: buffers.class_begin, end: buffers.class_end, width: 0 }
    }

    /// One row for each class that has a gradient.
    unsafe fn merge(&self, outputs: &GradientOutputs, buffers: &Gradients, parts: ClassParts) -> Result<()> {
        let (plan, small) = (self.plan, self.small);
        let classes = plan.shape.sampled + plan.labels();
        let classes_of_block = warps_of_block(small.merge_rows, plan.shape.dim);
        let rows = self.merge_arguments(outputs, buffers, parts);
        // SAFETY: the caller's promise.
        unsafe {
            match &outputs.layout {
                Layout::Update(update, _) => {
                    self.queue.cover(small.update_rows, classes, classes_of_block, &update_rows(rows, update))
                }
                Layout::Sparse(_) | Layout::Dense => {
                    self.queue.cover(small.merge_rows, classes, classes_of_block, &rows)
                }
            }
        }
    }

    fn merge_arguments(
        &self,
        outputs: &GradientOutputs,
        buffers: &Gradients,
        parts: ClassParts,
    ) -> MergeRowsArgs {
        let plan = self.plan;
        let RowList { row_ids, capacity, .. } = outputs.layout.list();
        let (of_weights, of_biases) = (outputs.of_weights(), outputs.of_biases());
        let where_wanted = |wanted, buffer| if wanted { buffer } else { 0 };
        MergeRowsArgs {
            keys: self.buffers.keys,
            label_keys: buffers.label_keys,
            labels: plan.labels() as i64,
            num_true: plan.shape.num_true as i64,
            num_sampled: plan.shape.sampled as i32,
            index_bits: plan.index_bits as i32,
            label_bits: plan.label_bits as i32,
            sparse: i32::from(!row_ids.is_null()),
            heads: buffers.heads,
            news: buffers.news,
            parts: where_wanted(of_weights, buffers.class_parts),
            sums: where_wanted(of_biases, buffers.class_sums),
            pieces: where_wanted(of_weights, buffers.pieces),
            splits: parts.splits as i32,
            sum_parts: parts.splits as i32,
            dim: plan.shape.dim as i32,
            padded_dim: plan.padded_dim as i32,
            unscale: self.scale(offset_of!(Control, unscale_classes)),
            inputs: tensor(Some(&self.step.batch.inputs)),
            d_true: buffers.d_true,
            row_ids: row_ids as Address,
            capacity: capacity as i64,
            d_weights: address(&outputs.d_weights),
            d_weights_stride: outputs.d_weights.map_or(0, |tensor| tensor.stride as i64),
            d_biases: address(&outputs.d_biases),
            d_weights_dtype: outputs.d_weights.map_or(0, |tensor| dtype_code(tensor.dtype)),
            d_biases_dtype: outputs.d_biases.map_or(0, |tensor| dtype_code(tensor.dtype)),
            control: self.buffers.control,
        }
    }
}

fn address(tensor: &Option<Tensor>) -> Address {
    tensor.map_or(0, |tensor| tensor.data as Address)
}

fn update_rows(merge: MergeRowsArgs, update: &Update) -> UpdateRowsArgs {
    UpdateRowsArgs {
        merge,
        rule: match update.rule {
            Rule::Sgd => abi::SSL_UPDATE_SGD,
            Rule::Adagrad => abi::SSL_UPDATE_ADAGRAD,
            Rule::RowAdagrad => abi::SSL_UPDATE_ROW_ADAGRAD,
        } as i32,
        rate: update.learning_rate as f32,
        epsilon: update.epsilon as f32,
        decay: update.weight_decay as f32,
        rate_pointer: address(&update.learning_rate_pointer),
        weights: address(&update.weights),
        weights_stride: update.weights.map_or(0, |tensor| tensor.stride as i64),
        biases: address(&update.biases),
        weights_dtype: update.weights.map_or(0, |tensor| dtype_code(tensor.dtype)),
        biases_dtype: update.biases.map_or(0, |tensor| dtype_code(tensor.dtype)),
        weights_state: address(&update.weights_state),
        weights_state_stride: update.weights_state.map_or(0, |tensor| tensor.stride as i64),
        biases_state: address(&update.biases_state),
    }
}
