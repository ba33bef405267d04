//! A call on the device, and its loss: the logits summed up over the candidates, and from
//! the sums the loss and what the gradients need. Backward takes the sums from the caller.

use std::mem::offset_of;

use super::arguments::*;
use super::catalogue::Small;
use super::cublaslt::CublasLt;
use super::gradients::Chunk;
use super::instances::Instance;
use super::launch::{Queue, tensor};
use super::plan::{Arithmetic, Plan, Route, Split};
use super::workspace::Workspace;
use crate::args;
use crate::backend::Step;
use crate::error::Result;

/// A call in progress.
pub(super) struct Run<'a> {
    pub(super) queue: &'a Queue<'a>,
    pub(super) small: &'a Small,
    pub(super) plan: &'a Plan,
    pub(super) step: &'a Step<'a>,
    pub(super) buffers: Workspace,
    /// Where it is installed.
    pub(super) library: Option<&'a CublasLt>,
    /// What the draw of this call left in pinned memory, where the device has to look.
    pub(super) info: Address,
    /// The expected counts of the labels, where the device computes them.
    pub(super) true_counts: Option<TrueCountsArgs>,
}

/// What a pass over the candidates has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) splits: usize,
    /// Whether the sampled part of d_inputs is there too.
    pub(super) online: bool,
}

impl Run<'_> {
    /// Puts the whole call on the stream.
    ///
    /// # Safety
    /// All arrays of `step` exist on the device, and `buffers` lie in its workspace.
    pub(super) unsafe fn enqueue(&self) -> Result<()> {
        // SAFETY: every struct is filled as its comment in `kernels/arguments.cuh` asks,
        // from arrays that the caller and the workspace's layout vouch for; so in all
        // methods.
        unsafe {
            self.begin()?;
            self.prepare()?;
            let mut parts = None;
            if self.exponentials().is_none() {
                if self.step.forward {
                    parts = Some(self.pass_over_candidates()?);
                }
                self.finish_rows(parts, self.whole(), 0)?;
            }
            match &self.step.gradients {
                Some(gradients) => self.gradients(gradients, parts),
                None => Ok(()),
            }
        }
    }

    /// The kernel for the one pass over the logits of a call that computes loss and gradients of rows too long for
    /// registers, if it is such a call.
    pub(super) fn exponentials(&self) -> Option<&'static Instance> {
        let together = self.step.forward && self.step.gradients.is_some() && self.plan.shape.rows > 0;
        self.plan.family.exponentials.filter(|_| together && matches!(self.plan.route, Route::Chunks { .. }))
    }

    /// Whether probabilities are stored in float16, whose range is small.
    fn is_half(&self) -> bool {
        self.plan.arithmetic == Arithmetic::F16
    }

    /// Address of one of the scales of 16-bit probabilities, or NULL where there is none.
    pub(super) fn scale(&self, offset: usize) -> Address {
        if self.is_half() { self.buffers.control + offset as u64 } else { 0 }
    }

    /// The inputs from row `first` on, as an operand.
    pub(super) fn inputs(&self, first: usize) -> Operand {
        let inputs = &self.step.batch.inputs;
        match self.plan.is_operand(inputs) {
            true => self.rows_from(first, [inputs.data as Address, 0], inputs.stride),
            false => self.packed_inputs(first),
        }
    }

    /// The same as `pack` has left them.
    pub(super) fn packed_inputs(&self, first: usize) -> Operand {
        self.rows_from(first, self.buffers.inputs, self.plan.padded_dim)
    }

    fn rows_from(&self, first: usize, planes: [Address; 2], stride: usize) -> Operand {
        let bytes = (first * stride * self.plan.arithmetic.dtype().size()) as u64;
        let behind = |plane: Address| if plane == 0 { 0 } else { plane + bytes };
        Operand { plane: planes.map(behind), stride: stride as i64 }
    }

    pub(super) fn columns(&self) -> Operand {
        Operand { plane: self.buffers.columns, stride: self.plan.padded_dim as i64 }
    }

    /// The accidental hits of the rows from `first` on.
    pub(super) fn row_hits(&self, first: usize) -> Hits {
        let width = self.plan.shape.num_true;
        let list = self.buffers.hits + (first * width * size_of::<u32>()) as u64;
        Hits { list: if self.masks_hits() { list } else { 0 }, begin: 0, end: 0, width: width as i64 }
    }

    pub(super) fn masks_hits(&self) -> bool {
        self.step.problem.hits != args::Hits::Keep
    }

    /// Sums up every row's logits; with them the candidates' rows, where d_inputs will
    /// want that and it costs no second pass.
    unsafe fn pass_over_candidates(&self) -> Result<Parts> {
        let wants_d_inputs =
            self.step.gradients.as_ref().is_some_and(|gradients| gradients.d_inputs.is_some());
        match self.plan.route {
            Route::Attend(attend) if wants_d_inputs => {
                let split = self.plan.row_split(attend.online, self.plan.shape.rows);
                // SAFETY: see `enqueue`.
                unsafe { self.attend_online(attend.online, split)? };
                Ok(Parts { splits: split.parts, online: true })
            }
            _ => {
                let split = self.plan.row_split(self.plan.family.lse, self.plan.shape.rows);
                // SAFETY: see `enqueue`.
                unsafe { self.sum_logits(split)? };
                Ok(Parts { splits: split.parts, online: false })
            }
        }
    }

    unsafe fn sum_logits(&self, split: Split) -> Result<()> {
        let (plan, kernel) = (self.plan, self.plan.family.lse);
        let logits = LogitsArgs {
            q: self.inputs(0),
            k: self.columns(),
            rows: plan.shape.rows as i32,
            cols: plan.shape.sampled as i32,
            dim: plan.padded_dim as i32,
            cols_per_split: split.cols as i32,
            col_add: self.buffers.col_add,
            hits: self.row_hits(0),
            partial: self.buffers.partial,
            ..Default::default()
        };
        // SAFETY: see `enqueue`.
        unsafe {
            let grid = [plan.shape.rows.div_ceil(kernel.rows), split.parts];
            self.queue.logits(kernel, plan.arithmetic, grid, logits)
        }
    }

    unsafe fn attend_online(&self, kernel: &'static Instance, split: Split) -> Result<()> {
        let out = self.buffers.gradients.map_or(0, |buffers| buffers.row_parts);
        let attend = AttendArgs { partial: self.buffers.partial, ..self.rows_attend(split, out) };
        let grid = [self.plan.shape.rows.div_ceil(kernel.rows), split.parts];
        // SAFETY: see `enqueue`.
        unsafe { self.queue.attend(kernel, self.plan.arithmetic, grid, attend) }
    }

    /// What both modes take where rows attend to the candidates.
    pub(super) fn rows_attend(&self, split: Split, out: Address) -> AttendArgs {
        let plan = self.plan;
        AttendArgs {
            q: self.inputs(0),
            k: self.columns(),
            rows: plan.shape.rows as i32,
            cols: plan.shape.sampled as i32,
            dim: plan.padded_dim as i32,
            cols_per_split: split.cols as i32,
            col_add: self.buffers.col_add,
            hits: self.row_hits(0),
            scale: self.scale(offset_of!(Control, scale_rows)),
            out,
            ..Default::default()
        }
    }

    /// The log-sum-exp, of what the pass left or as forward kept it; what follows from it
    /// for the rows and, with the last, for the batch. `first_block`: of the rows before, in
    /// blocks of this kernel; gives that of the rows behind.
    pub(super) unsafe fn finish_rows(
        &self,
        parts: Option<Parts>,
        chunk: Chunk,
        first_block: usize,
    ) -> Result<usize> {
        let (plan, buffers, loss) = (self.plan, &self.buffers, &self.step.loss);
        let (grad_output, grad_stride) = self.upstream();
        let splits = parts.map_or(0, |parts| parts.splits);
        let mut finish = FinishRowsArgs {
            splits: splits as i32,
            true_logits: buffers.true_logits,
            state: buffers.state,
            first: chunk.first as i64,
            rows: chunk.rows as i64,
            num_true: plan.shape.num_true as i64,
            floor: self.step.problem.probability_floor,
            sample_weights: tensor(self.step.batch.sample_weights.as_ref()),
            grad_output,
            grad_stride,
            reduction: match self.step.problem.reduction {
                args::Reduction::None => 0,
                args::Reduction::Mean => 1,
                args::Reduction::Sum => 2,
            },
            half: i32::from(self.is_half()),
            lse: loss.log_sum_exp as Address,
            totals: buffers.totals,
            first_block: first_block as i32,
            more: i32::from(chunk.first + chunk.rows < plan.shape.rows),
            device_status: loss.device_status as Address,
            control: buffers.control,
            ..Default::default()
        };
        if let Some(parts) = parts {
            finish.partial = buffers.partial;
            finish.loss = loss.loss.data as Address;
            finish.online = i32::from(parts.online);
        }
        if let Some(gradients) = &buffers.gradients {
            finish.gradients = 1;
            finish.row_add = gradients.row_add;
            finish.coefficient = gradients.coefficient;
            finish.part_factor = gradients.part_factor;
            finish.d_true = gradients.d_true;
            finish.redo = if self.exponentials().is_some() { gradients.chunk.redo } else { 0 };
        }
        // As `finish_lanes` of `kernels/loss.cuh`.
        let lanes = if splits > 4 || plan.shape.num_true > 4 { 32 } else { 1 };
        let kernel = self.small.finish_rows;
        let blocks = (chunk.rows * lanes).div_ceil(kernel.threads as usize).max(1);
        // SAFETY: see `enqueue`.
        unsafe { self.queue.launch(kernel, [blocks, 1], &finish)? };
        Ok(first_block + blocks)
    }
}

impl Parts {
    /// Splits whose part of d_inputs is there, 0 where none is.
    pub(super) fn of_d_inputs(parts: Option<Parts>) -> usize {
        parts.filter(|parts| parts.online).map_or(0, |parts| parts.splits)
    }
}
