//! What is made ready before the matrix work, in forward and backward alike: the
//! reduction, the candidates as sorted columns, the inputs as an operand, and each row's
//! own numbers.

use super::arguments::*;
use super::forward::Run;
use super::launch::{dtype_code, labels_code, rows_of_block, tensor};
use crate::args;
use crate::error::Result;

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

    /// Clears what kernels report in, finds the normaliser, computes the labels' expected
    /// counts after a draw.
    ///
    /// # Safety
    /// As `enqueue`; so for all methods.
    pub(super) unsafe fn begin(&self) -> Result<()> {
        let batch = self.step.batch;
        let (has_ignore_index, ignore_index) = self.ignore();
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
            control: self.buffers.control,
            ..Default::default()
        };
        // SAFETY: see `enqueue`.
        unsafe {
            self.queue.launch(self.small.begin, [1, 1], &begin)?;
            match &self.true_counts {
                Some(counts) => self.queue.cover(
                    self.small.true_counts,
                    counts.count as usize,
                    self.small.true_counts.rows,
                    counts,
                ),
                None => Ok(()),
            }
        }
    }

    /// Sorts the candidates, computes what is added to their logits, gathers their weights.
    pub(super) unsafe fn prepare_candidates(&self) -> Result<()> {
        let (plan, buffers, candidates) = (self.plan, &self.buffers, self.step.candidates);
        let sampled = plan.shape.sampled;
        let keys = KeysArgs {
            classes: candidates.ids as Address,
            index_bits: plan.index_bits as i32,
            count: sampled as i64,
            padded: sampled.next_power_of_two() as i64,
            num_classes: plan.shape.classes as i64,
            num_true: 1,
            keys: buffers.keys,
            control: buffers.control,
            ..Default::default()
        };
        let columns = ColumnsArgs {
            weights: tensor(Some(&self.step.batch.weights)),
            biases: tensor(self.step.batch.biases.as_ref()),
            keys: buffers.keys,
            index_bits: plan.index_bits as i32,
            num_sampled: sampled as i32,
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
        };
        let kernel = self.small.columns;
        // SAFETY: see `enqueue`.
        unsafe {
            self.queue.cover(self.small.keys, keys.padded as usize, self.small.keys.rows, &keys)?;
            // What this call drew ascends.
            if !candidates.draws {
                self.queue.sort(self.small, buffers.keys, sampled.next_power_of_two())?;
            }
            self.queue.cover(kernel, sampled, rows_of_block(kernel, plan.padded_dim), &columns)
        }
    }

    /// Makes an operand of the inputs where they are none; a row of factor 0 is left out.
    pub(super) unsafe fn pack(&self, factor: Address) -> Result<()> {
        let plan = self.plan;
        let pack = PackArgs {
            from: tensor(Some(&self.step.batch.inputs)),
            rows: plan.shape.rows as i32,
            dim: plan.shape.dim as i32,
            padded_dim: plan.padded_dim as i32,
            planes: plan.arithmetic.written_planes(),
            out_dtype: dtype_code(plan.arithmetic.dtype()),
            factor,
            out: self.buffers.inputs,
            ..Default::default()
        };
        let kernel = self.small.pack;
        // SAFETY: see `enqueue`.
        unsafe { self.queue.cover(kernel, plan.shape.rows, rows_of_block(kernel, plan.padded_dim), &pack) }
    }

    /// States, true logits and hits of the rows.
    pub(super) unsafe fn prepare_rows(&self) -> Result<()> {
        let (plan, buffers, batch) = (self.plan, &self.buffers, self.step.batch);
        let (has_ignore_index, ignore_index) = self.ignore();
        let (grad_output, grad_stride) = self.upstream();
        let rows = RowsArgs {
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
            control: buffers.control,
            ..Default::default()
        };
        // SAFETY: see `enqueue`.
        unsafe {
            if !plan.is_operand(&batch.inputs) {
                self.pack(0)?;
            }
            self.queue.cover(self.small.rows, plan.shape.rows, self.small.rows.rows, &rows)
        }
    }
}
