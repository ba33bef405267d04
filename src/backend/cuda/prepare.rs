//! What is made ready before the matrix work, in forward and backward alike, by two
//! kernels: `begin`, with what depends on the caller's arrays alone, and `prepare`, with
//! what needs the sorted keys.

use super::arguments::*;
use super::forward::Run;
use super::launch::{dtype_code, labels_code, rows_of_block, tensor};
use super::workspace::Gradients;
use crate::args::{self, GradientOutputs};
use crate::error::Result;

/// Rows that a block of `prepare` looks at.
const ROWS_OF_BLOCK: usize = 8;

impl Run<'_> {
    fn ignore(&self) -> (i32, i64) {
        (i32::from(self.step.batch.ignored.is_some()), self.step.batch.ignored.unwrap_or(0))
    }

    /// The upstream gradient, and the elements from one row's to the next.
    pub(super) fn upstream(&self) -> (Address, i32) {
        let gradient = self.step.gradients.as_ref().and_then(|gradients| gradients.grad_output);
        let stride = i32::from(self.step.problem.reduction == args::Reduction::None);
        (gradient.map_or(0, |gradient| gradient.data as Address), stride)
    }

    /// Clears what kernels report in, finds the normaliser, sorts candidates and labels by
    /// class, computes the labels' expected counts after a draw.
    ///
    /// # Safety
    /// As `enqueue`; so for all methods.
    pub(super) unsafe fn begin(&self) -> Result<()> {
        let (batch, kernel) = (self.step.batch, self.small.begin);
        let (has_ignore_index, ignore_index) = self.ignore();
        let (candidates, label_keys) = (self.candidate_keys(), self.label_keys());
        let begin = BeginArgs {
            sample_weights: tensor(batch.sample_weights.as_ref()),
            labels: batch.labels.data as Address,
            labels_dtype: labels_code(&batch.labels),
            has_ignore_index,
            ignore_index,
            rows: batch.shape.rows as i64,
            num_true: batch.shape.num_true as i64,
            mean: i32::from(self.step.problem.reduction == args::Reduction::Mean),
            info: self.info,
            candidates,
            label_keys,
            true_counts: self.true_counts.unwrap_or_default(),
            control: self.buffers.control,
            ..Default::default()
        };
        let of_keys = |keys: &KeysArgs| (keys.padded as usize).div_ceil(self.small.sort_merge.rows);
        let of_counts = (begin.true_counts.count as usize).div_ceil(kernel.threads as usize);
        let blocks = 1 + of_keys(&candidates) + of_keys(&label_keys) + of_counts;
        // SAFETY: see `enqueue`.
        unsafe {
            self.queue.launch(kernel, [blocks, 1], &begin)?;
            for keys in [&candidates, &label_keys] {
                if keys.ascending == 0 {
                    self.queue.merge_runs(self.small, keys.keys, keys.padded as usize)?;
                }
            }
            Ok(())
        }
    }

    fn candidate_keys(&self) -> KeysArgs {
        let (shape, candidates) = (&self.plan.shape, self.step.candidates);
        KeysArgs {
            classes: candidates.ids as Address,
            index_bits: self.plan.index_bits as i32,
            count: shape.sampled as i64,
            padded: shape.sampled.next_power_of_two() as i64,
            num_classes: shape.classes as i64,
            num_true: 1,
            // What this call drew does.
            ascending: i32::from(candidates.draws),
            keys: self.buffers.keys,
            ..Default::default()
        }
    }

    /// Nothing where no gradient asks for the labels by class.
    fn label_keys(&self) -> KeysArgs {
        let labels = &self.step.batch.labels;
        let wanted = self.step.gradients.as_ref().is_some_and(|gradients| gradients.of_parameters());
        let (true, Some(buffers)) = (wanted, &self.buffers.gradients) else { return KeysArgs::default() };
        let (has_ignore_index, ignore_index) = self.ignore();
        KeysArgs {
            classes: labels.data as Address,
            dtype: labels_code(labels),
            index_bits: self.plan.label_bits as i32,
            count: labels.count as i64,
            padded: labels.count.next_power_of_two() as i64,
            num_classes: self.plan.shape.classes as i64,
            num_true: self.plan.shape.num_true as i64,
            ignore_index,
            has_ignore_index,
            keys: buffers.label_keys,
            ..Default::default()
        }
    }

    /// Gathers the candidates, looks at the rows, packs the inputs where they are no operand,
    /// and makes the index of the gradients.
    pub(super) unsafe fn prepare(&self) -> Result<()> {
        let (plan, kernel) = (self.plan, self.small.prepare);
        let (rows, sampled) = (plan.shape.rows, plan.shape.sampled);
        let matrix_rows = rows_of_block(kernel, plan.padded_dim);
        let packed = if plan.is_operand(&self.step.batch.inputs) { 0 } else { rows };
        let (mut index, mut index_blocks) = (IndexArgs::default(), 0);
        if self.label_keys().padded > 0
            && let (Some(outputs), Some(buffers)) = (&self.step.gradients, &self.buffers.gradients)
        {
            index = self.index(outputs, buffers);
            index_blocks = rank_blocks(sampled.max(plan.labels()));
        }
        let prepare = PrepareArgs {
            columns: self.column_arguments(),
            rows: self.row_arguments(),
            pack: self.pack_arguments(0),
            index,
            column_blocks: sampled.div_ceil(matrix_rows) as i64,
            row_blocks: rows.div_ceil(ROWS_OF_BLOCK) as i64,
            pack_blocks: packed.div_ceil(matrix_rows) as i64,
        };
        let blocks = (prepare.column_blocks + prepare.row_blocks + prepare.pack_blocks) as usize;
        // SAFETY: see `enqueue`.
        unsafe { self.queue.launch(kernel, [blocks + index_blocks, 1], &prepare) }
    }

    /// What is added to the candidates' logits, and their weights.
    fn column_arguments(&self) -> ColumnsArgs {
        let (plan, buffers, candidates) = (self.plan, &self.buffers, self.step.candidates);
        ColumnsArgs {
            weights: tensor(Some(&self.step.batch.weights)),
            biases: tensor(self.step.batch.biases.as_ref()),
            keys: buffers.keys,
            index_bits: plan.index_bits as i32,
            num_sampled: plan.shape.sampled as i32,
            num_classes: plan.shape.classes as i64,
            counts: candidates.sampled_counts as Address,
            counts_double: i32::from(candidates.double),
            dim: plan.shape.dim as i32,
            padded_dim: plan.padded_dim as i32,
            planes: plan.arithmetic.written_planes(),
            out_dtype: dtype_code(plan.arithmetic.dtype()),
            out: buffers.columns,
            col_add: buffers.col_add,
            control: buffers.control,
            ..Default::default()
        }
    }

    /// Makes an operand of the inputs; a row of factor 0 is left out.
    pub(super) unsafe fn pack(&self, factor: Address) -> Result<()> {
        let (kernel, pack) = (self.small.pack, self.pack_arguments(factor));
        let rows = rows_of_block(kernel, self.plan.padded_dim);
        // SAFETY: see `enqueue`.
        unsafe { self.queue.cover(kernel, self.plan.shape.rows, rows, &pack) }
    }

    pub(super) fn pack_arguments(&self, factor: Address) -> PackArgs {
        let plan = self.plan;
        PackArgs {
            from: tensor(Some(&self.step.batch.inputs)),
            rows: plan.shape.rows as i32,
            dim: plan.shape.dim as i32,
            padded_dim: plan.padded_dim as i32,
            planes: plan.arithmetic.written_planes(),
            out_dtype: dtype_code(plan.arithmetic.dtype()),
            factor,
            out: self.buffers.inputs,
            ..Default::default()
        }
    }

    /// States, true logits and hits of the rows.
    fn row_arguments(&self) -> RowsArgs {
        let (plan, buffers, batch) = (self.plan, &self.buffers, self.step.batch);
        let (has_ignore_index, ignore_index) = self.ignore();
        let (grad_output, grad_stride) = self.upstream();
        RowsArgs {
            inputs: tensor(Some(&batch.inputs)),
            weights: tensor(Some(&batch.weights)),
            biases: tensor(batch.biases.as_ref()),
            sample_weights: tensor(batch.sample_weights.as_ref()),
            labels: batch.labels.data as Address,
            labels_dtype: labels_code(&batch.labels),
            has_ignore_index,
            ignore_index,
            rows: plan.shape.rows as i64,
            num_true: plan.shape.num_true as i64,
            num_classes: plan.shape.classes as i64,
            dim: plan.shape.dim as i32,
            counts_double: i32::from(self.step.candidates.double),
            true_counts: self.step.candidates.true_counts as Address,
            keys: buffers.keys,
            index_bits: plan.index_bits as i32,
            num_sampled: plan.shape.sampled as i32,
            mask_hits: i32::from(self.masks_hits()),
            grad_stride,
            grad_output,
            backward: i32::from(!self.step.forward),
            state: buffers.state,
            true_logits: buffers.true_logits,
            hits: buffers.hits,
            row_add: match (&buffers.gradients, self.exponentials()) {
                (Some(gradients), Some(_)) => gradients.row_add,
                _ => 0,
            },
            control: buffers.control,
            ..Default::default()
        }
    }

    /// What candidates and labels are to each other, where parameters have gradients.
    pub(super) fn index(&self, outputs: &GradientOutputs, buffers: &Gradients) -> IndexArgs {
        let (plan, hits) = (self.plan, self.class_hits(buffers));
        IndexArgs {
            keys: self.buffers.keys,
            label_keys: buffers.label_keys,
            labels: plan.labels() as i64,
            num_true: plan.shape.num_true as i64,
            num_sampled: plan.shape.sampled as i32,
            index_bits: plan.index_bits as i32,
            label_bits: plan.label_bits as i32,
            pad: 0,
            list: hits.list,
            begin: hits.begin,
            end: hits.end,
            heads: buffers.heads,
            news: buffers.news,
            control: self.buffers.control,
            num_rows: outputs.layout.list().num_rows as Address,
        }
    }
}
