//! The candidates of a call, made ready: sorted by id, their offsets computed and their
//! weights packed, whatever the dtype.

use super::convert::{prefetch_row, read_one, read_pairs, read_row, read_row_pairs};
use super::simd::Real;
use super::step::Run;
use super::workspace::GradientBuffers;
use crate::math;

/// Columns of the widest panel.
const MOST_WIDTH: usize = 32;

/// Candidates between the one whose weights are read and the one whose are asked for.
const AHEAD: usize = 8;

impl<R: Real> Run<'_, R> {
    /// Sorts, computes offsets, packs the weights as forward and backward need them.
    ///
    /// # Safety
    /// All arrays and buffers of the run exist; so for all methods of `Run`.
    pub(super) unsafe fn prepare_candidates(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.sort_candidates() };
        let width = self.kernels.width;
        let panels = self.buffers.weights_t.count();
        self.share(self.reading(self.shape().sampled), panels, |worker, panel| {
            // SAFETY: each task has its own candidates.
            unsafe {
                self.compute_offsets(panel * width);
                self.pack_weights(worker, panel * width);
            }
        });
    }

    /// Ascending order of ids, equal ids in the order given: then the copies of a class
    /// stand together, and a label's hits are one range.
    unsafe fn sort_candidates(&self) {
        let given = self.host.ids;
        let b = &self.buffers;
        // SAFETY: both buffers have S elements.
        let (order, ids) = unsafe {
            (0..given.len()).for_each(|index| b.order.add(index).write(index));
            b.ids.copy_from_nonoverlapping(given.as_ptr(), given.len());
            (
                std::slice::from_raw_parts_mut(b.order, given.len()),
                std::slice::from_raw_parts_mut(b.ids, given.len()),
            )
        };
        if !given.is_sorted() {
            order.sort_unstable_by_key(|&index| (given[index], index));
            ids.iter_mut().zip(&*order).for_each(|(id, &index)| *id = given[index]);
        }
    }

    /// Those of one panel.
    unsafe fn compute_offsets(&self, first: usize) {
        let b = &self.buffers;
        let width = self.kernels.width;
        let mut logarithms = [0.0; MOST_WIDTH];
        let logarithms = &mut logarithms[..width.min(self.shape().sampled - first)];
        // SAFETY: offsets are padded to whole panels; order and ids have S elements.
        unsafe {
            for (column, count) in (first..).zip(logarithms.iter_mut()) {
                *count = self.host.sampled_counts.get(*b.order.add(column));
            }
            math::ln_each(logarithms);
            for (column, logarithm) in (first..).zip(logarithms.iter()) {
                b.offsets.add(column).write(R::from_f64(self.bias(*b.ids.add(column)) - logarithm));
            }
            for column in first + logarithms.len()..first + width {
                b.offsets.add(column).write(R::NEG_INFINITY);
            }
        }
    }

    /// A class's bias; 0 where there are none.
    pub(super) unsafe fn bias(&self, class: i64) -> f64 {
        // SAFETY: classes were checked against C.
        self.step.batch.biases.map_or(0.0, |biases| unsafe { read_one::<f64>(&biases, class as usize) })
    }

    /// Packs one panel's worth of candidates: transposed for the logits, and as they are
    /// for d_inputs.
    unsafe fn pack_weights(&self, worker: usize, first: usize) {
        let b = &self.buffers;
        let (width, dim) = (self.kernels.width, self.shape().dim);
        let last = (first + width).min(self.shape().sampled);
        let panel = first / width;
        // SAFETY: the buffers are laid out for these shapes; the row buffer is the worker's.
        unsafe {
            let row = std::slice::from_raw_parts_mut(b.rows.add(worker * 2 * dim), dim);
            let columns = b.weights_t.at(panel, 0);
            for candidate in first..last {
                let id = *b.ids.add(candidate) as usize;
                if candidate + AHEAD < self.shape().sampled {
                    prefetch_row(&self.step.batch.weights, *b.ids.add(candidate + AHEAD) as usize);
                }
                if let Some(gradients) = &b.gradients {
                    self.pack_weights_row(gradients, candidate, row);
                }
                let steps = &mut row[..b.weights_t.rows];
                match b.paired.logits {
                    true => read_pairs(&self.step.batch.weights, id, steps),
                    false => read_row(&self.step.batch.weights, id, steps),
                }
                let column = columns.add(candidate - first);
                steps.iter().enumerate().for_each(|(k, &value)| column.add(k * width).write(value));
            }
            // Padding takes part in the products and is left out by its offset of -inf. It
            // repeats the last candidate: with zeros, an infinite input would make it NaN.
            for column in last - first..width {
                let steps = &row[..b.weights_t.rows];
                steps.iter().enumerate().for_each(|(k, &value)| columns.add(k * width + column).write(value));
            }
        }
    }

    /// Packs a candidate, or with it the next one, for d_inputs.
    unsafe fn pack_weights_row(&self, gradients: &GradientBuffers<R>, candidate: usize, row: &mut [R]) {
        let weights = &self.step.batch.weights;
        // SAFETY: the buffers are laid out for these shapes.
        unsafe {
            let id = |candidate: usize| *self.buffers.ids.add(candidate) as usize;
            if !self.buffers.paired.d_inputs {
                read_row(weights, id(candidate), row);
                gradients.weights.set_row(candidate, row, R::ZERO);
            } else if candidate.is_multiple_of(2) {
                let second = (candidate + 1 < self.shape().sampled).then(|| id(candidate + 1));
                read_row_pairs(weights, id(candidate), second, row);
                gradients.weights.set_row(candidate / 2, row, R::ZERO);
            }
        }
    }
}
