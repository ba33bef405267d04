//! The three products of a chunk: logits, d_weights and d_inputs.

use super::convert::{read_row, write_row};
use super::gemm::{DEPTH, Left, Product};
use super::grid::Grid;
use super::kernels::Logits;
use super::pairs::{self, Narrow, steps};
use super::panels::Panels;
use super::simd::Real;
use super::step::{Chunk, Run};
use super::workspace::{GROUP, GradientBuffers, Hit};
use crate::memory::Tensor;

impl<R: Real> Run<'_, R> {
    /// Starts the sums over all rows; those of d_weights start with the first chunk, if
    /// there is one.
    pub(super) unsafe fn clear(&self, gradients: &GradientBuffers<R>, active: usize) {
        let shape = self.shape();
        // SAFETY: the buffers have these sizes; zero bytes are the number 0.
        unsafe {
            if active == 0 {
                let weights = &gradients.d_weights;
                let size = Panels::<R>::size(weights.rows, weights.cols, weights.width);
                weights.data.write_bytes(0, size);
            }
            gradients.d_biases.write_bytes(0, shape.sampled.next_multiple_of(self.kernels.width));
            gradients.d_true.write_bytes(0, shape.rows * shape.num_true);
        }
    }

    fn operations(&self, chunk: Chunk) -> usize {
        2 * chunk.rows * self.shape().sampled * self.shape().dim
    }

    /// Logits by groups of panels. Forward takes their maxima and sums; backward, which
    /// knows the log-sum-exp, goes on to gradients while the panel is in the cache.
    pub(super) unsafe fn compute_logits(&self, chunk: Chunk) {
        let b = &self.buffers;
        let width = self.kernels.width;
        let panels = b.weights_t.count();
        self.share(self.operations(chunk), self.groups(), |worker, group| {
            // SAFETY: state and, in a plain forward, the panel are the worker's; the
            // panels of the group are the task's.
            unsafe {
                let state = match self.step.forward {
                    true => b.states.add(worker * b.chunk * width),
                    false => std::ptr::null_mut(),
                };
                if self.step.forward {
                    self.start_states(state, chunk.rows);
                }
                for panel in group * GROUP..((group + 1) * GROUP).min(panels) {
                    let at = b.logits.at(if b.gradients.is_some() { panel } else { worker }, 0);
                    self.logits_panel(chunk, panel, at, state);
                    if !self.step.forward {
                        self.gradients_panel(chunk, panel, worker);
                    }
                }
                if self.step.forward {
                    for row in 0..chunk.rows {
                        let partial = (self.kernels.finish)(state.add(row * width));
                        b.partial.add(group * b.chunk + row).write(partial);
                    }
                }
            }
        });
    }

    /// Nothing seen: the lowest reference that is still a number, and a sum of 0.
    unsafe fn start_states(&self, state: *mut R, rows: usize) {
        let width = self.kernels.width;
        // SAFETY: a state is `width` numbers a row.
        let states = unsafe { std::slice::from_raw_parts_mut(state, rows * width) };
        for state in states.chunks_exact_mut(width) {
            let (reference, sum) = state.split_at_mut(width / 2);
            reference.fill(R::LOWEST);
            sum.fill(R::ZERO);
        }
    }

    unsafe fn logits_panel(&self, chunk: Chunk, panel: usize, at: *mut R, state: *mut R) {
        let b = &self.buffers;
        // SAFETY: the operands are laid out for these shapes.
        unsafe {
            self.product(b.paired.logits)(&Product {
                rows: chunk.rows,
                first: 0,
                depth: b.weights_t.rows,
                left: Left::rows(&b.inputs, 0),
                right: b.weights_t.at(panel, 0),
                next: b.weights_t.after(panel, 0),
                out: at,
                accumulate: false,
            });
            self.mask_hits(chunk, panel, at);
            let offset = b.offsets.add(panel * self.kernels.width);
            (self.kernels.accumulate)(&Logits { data: at, rows: chunk.rows, offset }, state);
        }
    }

    /// Puts -inf where a candidate is one of the row's labels.
    unsafe fn mask_hits(&self, chunk: Chunk, panel: usize, at: *mut R) {
        let width = self.kernels.width;
        let (start, end) = (panel * width, (panel + 1) * width);
        // SAFETY: `hits` holds as many as the chunk says, in rows of the chunk.
        unsafe {
            let hits: &[Hit] = std::slice::from_raw_parts(self.buffers.hits, chunk.hits);
            let from = hits.partition_point(|hit| hit.last <= start);
            for hit in hits[from..].iter().take_while(|hit| hit.first < end) {
                for column in hit.first.max(start)..hit.last.min(end) {
                    at.add(hit.row * width + column - start).write(R::NEG_INFINITY);
                }
            }
        }
    }

    /// Gradients of the logits, once the log-sum-exp is known.
    pub(super) unsafe fn compute_gradients(&self, chunk: Chunk) {
        let panels = self.buffers.weights_t.count();
        self.share(self.operations(chunk), self.groups(), |worker, group| {
            for panel in group * GROUP..((group + 1) * GROUP).min(panels) {
                // SAFETY: the panels of the group are the task's.
                unsafe { self.gradients_panel(chunk, panel, worker) };
            }
        });
    }

    /// Turns a panel of logits into their gradients and adds its part of d_weights and
    /// d_biases, whose rows are this panel's classes.
    unsafe fn gradients_panel(&self, chunk: Chunk, panel: usize, worker: usize) {
        let b = &self.buffers;
        let (Some(gradients), Some(outputs)) = (&b.gradients, &self.step.gradients) else { return };
        let width = self.kernels.width;
        let first = panel * width;
        // SAFETY: the operands are laid out for these shapes.
        unsafe {
            let at = b.logits.at(panel, 0);
            (self.kernels.gradients)(at, std::slice::from_raw_parts(b.scales, chunk.rows));
            if outputs.of_biases() {
                (self.kernels.column_sums)(at, chunk.rows, gradients.d_biases.add(first));
            }
            // The pairs along the rows replace the numbers, so they come last.
            if outputs.of_weights() && !b.paired.d_weights {
                self.add_d_weights(chunk, panel, Left::transposed(&b.logits, panel));
            }
            let pairs =
                Panels { data: b.states.add(worker * b.chunk * width), rows: b.chunk, cols: width, width };
            self.narrow(chunk, panel, &pairs);
            if outputs.of_weights() && b.paired.d_weights {
                self.add_d_weights(chunk, panel, Left::transposed(&pairs, 0));
            }
        }
    }

    /// Rounds a panel of gradients to pairs where the products take such: those for
    /// d_weights into the worker's own `down`.
    unsafe fn narrow(&self, chunk: Chunk, panel: usize, down: &Panels<R>) {
        let b = &self.buffers;
        let (Some(kernels), true) = (&self.kernels.pairs, b.paired.d_weights || b.paired.d_inputs) else {
            return;
        };
        let along = pairs::along(&b.logits);
        // SAFETY: the operands are laid out for these shapes.
        unsafe {
            (kernels.narrow)(&Narrow {
                data: b.logits.at(panel, 0),
                rows: chunk.rows,
                down: if b.paired.d_weights { down.data } else { std::ptr::null_mut() },
                along: match b.paired.d_inputs {
                    true => along.at(panel / 2, 0).add(panel % 2 * along.width / 2),
                    false => std::ptr::null_mut(),
                },
            });
        }
    }

    /// Adds gradients^T x inputs to the rows of d_weights of one panel's classes.
    unsafe fn add_d_weights(&self, chunk: Chunk, panel: usize, left: Left<R>) {
        let b = &self.buffers;
        let gradients = self.gradient_buffers();
        let first = panel * self.kernels.width;
        for columns in 0..gradients.inputs.count() {
            // SAFETY: the operands are laid out for these shapes.
            unsafe {
                self.product(b.paired.d_weights)(&Product {
                    rows: self.kernels.width.min(self.shape().sampled - first),
                    first: 0,
                    depth: steps(b.paired.d_weights, chunk.rows),
                    left,
                    right: gradients.inputs.at(columns, 0),
                    next: std::ptr::null(),
                    out: gradients.d_weights.at(columns, first),
                    accumulate: chunk.first > 0,
                });
            }
        }
    }

    /// The loop for products of numbers or of pairs.
    fn product(&self, paired: bool) -> unsafe fn(&Product<R>) {
        match &self.kernels.pairs {
            Some(pairs) if paired => pairs.product,
            _ => self.kernels.product,
        }
    }

    /// d_inputs of a chunk: gradients x weights, then each label's part, then out.
    pub(super) unsafe fn compute_d_inputs(&self, chunk: Chunk, d_inputs: &Tensor) {
        let b = &self.buffers;
        let gradients = self.gradient_buffers();
        let depth = steps(b.paired.d_inputs, self.shape().sampled);
        let left = if b.paired.d_inputs { pairs::along(&b.logits) } else { b.logits };
        let tiles = Grid::new(chunk.rows, &gradients.weights, self.team.threads());
        self.share(self.operations(chunk), tiles.count(), |_, tile| {
            let (rows, panels) = tiles.at(tile);
            // Blocks of k outside, so that a block of gradients stays in the cache while
            // the panels of weights pass by.
            for k in (0..depth).step_by(DEPTH) {
                for columns in panels.clone() {
                    // SAFETY: the operands are laid out for these shapes; the tile is the task's.
                    unsafe {
                        self.product(b.paired.d_inputs)(&Product {
                            rows: rows.len(),
                            first: k,
                            depth: DEPTH.min(depth - k),
                            left: Left::rows(&left, rows.start),
                            right: gradients.weights.at(columns, 0),
                            next: gradients.weights.after(columns, k),
                            out: gradients.d_inputs.at(columns, rows.start),
                            accumulate: k > 0,
                        });
                    }
                }
            }
        });
        self.share_rows(self.reading(2 * chunk.rows), chunk, |worker, first, last| {
            // SAFETY: rows are the task's, the row buffers the worker's.
            unsafe {
                for row in first..last {
                    self.prefetch_labels(chunk, row, last);
                    self.write_d_inputs(chunk, row, worker, d_inputs);
                }
            }
        });
    }

    unsafe fn write_d_inputs(&self, chunk: Chunk, row: usize, worker: usize, d_inputs: &Tensor) {
        let b = &self.buffers;
        let gradients = self.gradient_buffers();
        let (dim, num_true) = (self.shape().dim, self.shape().num_true);
        // SAFETY: the buffers are laid out for these shapes, labels were checked.
        unsafe {
            let n = self.row(chunk, row);
            let sum = std::slice::from_raw_parts_mut(b.rows.add(worker * 2 * dim), dim);
            let weight = std::slice::from_raw_parts_mut(b.rows.add((worker * 2 + 1) * dim), dim);
            match (*b.scales.add(row)).coefficient == R::ZERO {
                true => sum.fill(R::ZERO),
                false => gradients.d_inputs.get_row(row, sum),
            }
            for place in n * num_true..(n + 1) * num_true {
                let gradient = *gradients.d_true.add(place);
                if gradient != R::ZERO {
                    read_row(&self.step.batch.weights, self.host.label(place) as usize, weight);
                    add_scaled(sum, gradient, weight);
                }
            }
            write_row(d_inputs, n, sum, false);
        }
    }
}

/// sum += factor * row.
pub(super) fn add_scaled<R: Real>(sum: &mut [R], factor: R, row: &[R]) {
    for (sum, &value) in sum.iter_mut().zip(row) {
        *sum = factor.fma(value, *sum);
    }
}
