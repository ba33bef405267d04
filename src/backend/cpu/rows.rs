//! What belongs to single rows: packing inputs, true logits, hits, and from the
//! log-sum-exp the loss and the scale of the row's gradient.

use super::convert::{prefetch_row, read_one, read_pairs, read_row, read_row_pairs};
use super::kernels::RowScale;
use super::panels::Panels;
use super::simd::Real;
use super::step::{Chunk, Run};
use super::workspace::Hit;
use crate::args::{Hits, Reduction};
use crate::math;

/// What an exponential or a logarithm in float64 takes, in operations of a product.
const EXPONENTIAL: usize = 1 << 11;

/// Rows between the one whose labels' weights are read and the one whose are asked for.
const AHEAD: usize = 4;

impl<R: Real> Run<'_, R> {
    /// The row's sample weight; 1 where there are none.
    pub(super) unsafe fn sample_weight(&self, row: usize) -> f64 {
        // SAFETY: `row < N`.
        self.step.batch.sample_weights.map_or(1.0, |weights| unsafe { read_one::<f64>(&weights, row) })
    }

    /// The upstream gradient of the row's own loss, weight and reduction included.
    pub(super) unsafe fn upstream(&self, row: usize) -> f64 {
        let Some(gradients) = &self.step.gradients else { return 0.0 };
        let index = if self.step.problem.reduction == Reduction::None { row } else { 0 };
        // SAFETY: grad_output has N elements, or 1 with a reduction.
        let upstream = gradients.grad_output.map_or(1.0, |output| unsafe { read_one::<f64>(&output, index) });
        // A factor of 0 wins over NaN or infinity in the other: the row adds nothing.
        // SAFETY: `row < N`.
        let factors = [upstream, unsafe { self.sample_weight(row) }, self.normaliser];
        if factors.contains(&0.0) { 0.0 } else { factors.iter().product() }
    }

    /// Packs a chunk's inputs, computes its true logits and finds its hits.
    pub(super) unsafe fn prepare_rows(&self, chunk: Chunk) -> Chunk {
        let dim = self.shape().dim;
        let work = self.reading(chunk.rows * (1 + self.shape().num_true));
        self.share_rows(work, chunk, |worker, first, last| {
            // SAFETY: the row buffers are the worker's, the rows the task's.
            unsafe {
                let input = std::slice::from_raw_parts_mut(self.buffers.rows.add(worker * 2 * dim), dim);
                let weight =
                    std::slice::from_raw_parts_mut(self.buffers.rows.add((worker * 2 + 1) * dim), dim);
                for row in first..last {
                    self.prefetch_labels(chunk, row, last);
                    self.pack_inputs_row(chunk, row, last, input);
                    read_row(&self.step.batch.inputs, self.row(chunk, row), input);
                    if !self.buffers.paired.logits {
                        self.buffers.inputs.set_row(row, input, R::ZERO);
                    }
                    self.compute_true_logits(self.row(chunk, row), row, input, weight);
                    self.find_hits(chunk, row);
                }
            }
        });
        // SAFETY: the caller's promise.
        Chunk { hits: unsafe { self.collect_hits(chunk) }, ..chunk }
    }

    /// Asks for the weights of the labels of a row soon after this one, if before `last`.
    pub(super) unsafe fn prefetch_labels(&self, chunk: Chunk, row: usize, last: usize) {
        if row + AHEAD >= last {
            return;
        }
        let num_true = self.shape().num_true;
        // SAFETY: a row of the chunk; labels were checked against C.
        unsafe {
            let n = self.row(chunk, row + AHEAD);
            for place in n * num_true..(n + 1) * num_true {
                prefetch_row(&self.step.batch.weights, self.host.label(place) as usize);
            }
        }
    }

    /// Packs a row, or with it the next one before `last`, where products take pairs.
    unsafe fn pack_inputs_row(&self, chunk: Chunk, row: usize, last: usize, buffer: &mut [R]) {
        let b = &self.buffers;
        if !b.paired.logits {
            return;
        }
        let inputs = &self.step.batch.inputs;
        // SAFETY: the buffers are laid out for these shapes.
        unsafe {
            let n = self.row(chunk, row);
            let pairs = &mut buffer[..b.inputs.cols];
            read_pairs(inputs, n, pairs);
            b.inputs.set_row(row, pairs, R::ZERO);
            let Some(gradients) = &b.gradients else { return };
            if !b.paired.d_weights {
                read_row(inputs, n, buffer);
                gradients.inputs.set_row(row, buffer, R::ZERO);
            } else if row.is_multiple_of(2) {
                let second = (row + 1 < last).then(|| self.row(chunk, row + 1));
                read_row_pairs(inputs, n, second, buffer);
                gradients.inputs.set_row(row / 2, buffer, R::ZERO);
            }
        }
    }

    unsafe fn compute_true_logits(&self, n: usize, row: usize, input: &[R], weight: &mut [R]) {
        let num_true = self.shape().num_true;
        let counts = self.host.true_counts;
        for t in 0..num_true {
            let place = n * num_true + t;
            let label = self.host.label(place);
            // SAFETY: labels were checked against C.
            let logit = unsafe {
                read_row(&self.step.batch.weights, label as usize, weight);
                dot(input, weight) + self.bias(label) - math::ln(counts.get(place))
            };
            // Rounded as the sampled logits are, so that overflow shows alike in both.
            let logit = R::from_f64(logit).to_f64();
            // SAFETY: [chunk, T].
            unsafe { self.buffers.true_logits.add(row * num_true + t).write(logit) };
        }
    }

    /// The candidates that each label of a row meets, if any.
    unsafe fn find_hits(&self, chunk: Chunk, row: usize) {
        if self.step.problem.hits == Hits::Keep {
            return;
        }
        let num_true = self.shape().num_true;
        // SAFETY: ids has S elements, hits chunk * T.
        unsafe {
            let ids = std::slice::from_raw_parts(self.buffers.ids, self.shape().sampled);
            for t in 0..num_true {
                let label = self.host.label(self.row(chunk, row) * num_true + t);
                let first = ids.partition_point(|&id| id < label);
                let copies = ids[first..].iter().take_while(|&&id| id == label).count();
                self.buffers.hits.add(row * num_true + t).write(Hit { first, last: first + copies, row });
            }
        }
    }

    /// Brings the chunk's hits together, ascending by candidate. Ranges of different labels
    /// are disjoint, so they ascend by either end.
    unsafe fn collect_hits(&self, chunk: Chunk) -> usize {
        if self.step.problem.hits == Hits::Keep {
            return 0;
        }
        // SAFETY: `find_hits` has written one for each label.
        let found =
            unsafe { std::slice::from_raw_parts_mut(self.buffers.hits, chunk.rows * self.shape().num_true) };
        let mut count = 0;
        for place in 0..found.len() {
            found[count] = found[place];
            count += usize::from(found[place].first < found[place].last);
        }
        found[..count].sort_unstable_by_key(|hit| (hit.first, hit.row));
        count
    }

    /// Log-sum-exp, loss and scale of every row of a chunk.
    pub(super) unsafe fn finish_rows(&self, chunk: Chunk) {
        let work = chunk.rows * (self.groups() + 8 * self.shape().num_true) * EXPONENTIAL;
        self.share_rows(work, chunk, |_, first, last| {
            for row in first..last {
                // SAFETY: each row is one task's.
                unsafe {
                    let lse =
                        if self.step.forward { self.forward_row(chunk, row) } else { self.kept(chunk, row) };
                    if self.step.gradients.is_some() {
                        self.scale_row(chunk, row, lse);
                    }
                }
            }
        });
    }

    /// The log-sum-exp that forward kept.
    unsafe fn kept(&self, chunk: Chunk, row: usize) -> f64 {
        // SAFETY: [N].
        unsafe { self.step.loss.log_sum_exp.add(self.row(chunk, row)).read() }
    }

    unsafe fn true_logits(&self, row: usize) -> &[f64] {
        let num_true = self.shape().num_true;
        // SAFETY: [chunk, T].
        unsafe { std::slice::from_raw_parts(self.buffers.true_logits.add(row * num_true), num_true) }
    }

    /// Joins the groups' references and sums with the true logits, in float64: then a loss
    /// near 0 keeps its relative precision, for the true logit is the maximum and its
    /// difference from itself exact.
    unsafe fn forward_row(&self, chunk: Chunk, row: usize) -> f64 {
        // SAFETY: [groups, chunk], and the outputs as checked.
        unsafe {
            let n = self.row(chunk, row);
            let true_logits = self.true_logits(row);
            let group = |group: usize| {
                let (max, sum) = self.buffers.partial.add(group * self.buffers.chunk + row).read();
                (max.to_f64(), sum.to_f64())
            };
            let groups = || (0..self.groups()).map(group);
            let larger = |most: f64, value: f64| if value > most { value } else { most };
            let most = true_logits.iter().copied().fold(f64::NEG_INFINITY, larger);
            let most = groups().filter(|&(_, sum)| sum != 0.0).map(|(max, _)| max).fold(most, larger);
            let mean = true_logits.iter().sum::<f64>() / true_logits.len() as f64;
            let (lse, loss) = if most == f64::NEG_INFINITY && !mean.is_nan() {
                // Every class of the row is switched off, the true ones too.
                (f64::NEG_INFINITY, f64::INFINITY)
            } else {
                let sampled: f64 = groups()
                    .map(|(max, sum)| if sum == 0.0 { 0.0 } else { sum * math::exp(max - most) })
                    .sum();
                let log_total = match true_logits {
                    // ln_1p keeps what is below the precision of 1 + x.
                    [only] if *only == most && most.is_finite() => math::ln_1p(sampled),
                    _ => math::ln(sampled + true_logits.iter().map(|&z| math::exp(z - most)).sum::<f64>()),
                };
                (most + log_total, (most - mean) + log_total)
            };
            let loss = match self.step.problem.probability_floor {
                0.0 => loss,
                floor => {
                    let ratio = |&z: &f64| math::ln(probability(z, lse) + floor);
                    -true_logits.iter().map(ratio).sum::<f64>() / true_logits.len() as f64
                }
            };
            self.buffers.row_loss.add(n).write(loss);
            if !self.step.loss.log_sum_exp.is_null() {
                self.step.loss.log_sum_exp.add(n).write(lse);
            }
            lse
        }
    }

    /// The gradient of logit j is upstream * (A p_j - [j is label t] r_t / T), where
    /// r_t = p_t / (p_t + floor) and A is the mean of r_t; both are 1 without a floor.
    unsafe fn scale_row(&self, chunk: Chunk, row: usize, lse: f64) {
        let floor = self.step.problem.probability_floor;
        let ratio = |p: f64| if floor == 0.0 { 1.0 } else { p / (p + floor) };
        // SAFETY: the buffers are laid out for these shapes, and the row is the task's.
        unsafe {
            let n = self.row(chunk, row);
            let upstream = self.upstream(n);
            let true_logits = self.true_logits(row);
            let targets = true_logits.len() as f64;
            let mean_ratio = match floor {
                0.0 => 1.0,
                _ => true_logits.iter().map(|&z| ratio(probability(z, lse))).sum::<f64>() / targets,
            };
            let gradients = self.gradient_buffers();
            for (t, &z) in true_logits.iter().enumerate() {
                let p = probability(z, lse);
                let gradient =
                    if upstream == 0.0 { 0.0 } else { upstream * (mean_ratio * p - ratio(p) / targets) };
                gradients.d_true.add(n * true_logits.len() + t).write(R::from_f64(gradient));
            }
            let coefficient = if upstream == 0.0 { R::ZERO } else { R::from_f64(upstream * mean_ratio) };
            // With every class off there is no normaliser; exp(-inf - 0) is the 0 wanted.
            let lse = if lse == f64::NEG_INFINITY { 0.0 } else { lse };
            let high = R::from_f64(lse);
            let low = R::from_f64(if lse.is_finite() { lse - high.to_f64() } else { 0.0 });
            self.buffers.scales.add(row).write(RowScale { coefficient, high, low });
            if coefficient == R::ZERO {
                // The row's gradient is 0 whatever it holds, so what it holds must not
                // reach d_weights as 0 * NaN.
                self.clear_inputs_row(&gradients.inputs, row);
            }
        }
    }

    /// Zeros for a row of d_weights' right operand: in pairs, for one half of each.
    unsafe fn clear_inputs_row(&self, inputs: &Panels<R>, row: usize) {
        let width = self.kernels.width;
        for panel in 0..inputs.count() {
            // SAFETY: the row is inside the matrix.
            unsafe {
                if self.buffers.paired.d_weights {
                    let halves = inputs.at(panel, row / 2).cast::<u16>();
                    (0..width).for_each(|pair| halves.add(2 * pair + row % 2).write(0));
                } else {
                    std::slice::from_raw_parts_mut(inputs.at(panel, row), width).fill(R::ZERO);
                }
            }
        }
    }
}

/// exp(z - lse), 0 in a row of nothing but classes that are off.
fn probability(z: f64, lse: f64) -> f64 {
    if lse == f64::NEG_INFINITY { 0.0 } else { math::exp(z - lse) }
}

/// In float64, by eight partial sums, whose order is the same on every machine.
fn dot<R: Real>(a: &[R], b: &[R]) -> f64 {
    let mut sums = [0.0f64; 8];
    let mut add = |a: &[R], b: &[R]| {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a.to_f64() * b.to_f64();
        }
    };
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail = (a_chunks.remainder(), b_chunks.remainder());
    a_chunks.zip(b_chunks).for_each(|(a, b)| add(a, b));
    add(tail.0, tail.1);
    sums.iter().sum()
}
