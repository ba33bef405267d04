//! What an accepted call has written: by itself, and beside the float64 reference.

use std::sync::Arc;

use sampled_softmax::abi::*;

use super::array::Array::{self, *};
use super::array::size_of_dtype;
use super::faults::Faults;
use super::rules::Call;
use super::step::Kind;
use crate::common::{self, Accuracy, Buffer, Case, Gaps, Handle, Outputs, Types, Wanted};

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}

impl Call<'_> {
    /// What must hold of the outputs. `device` is what the device may have found.
    pub fn check_results(&self, device: &Faults) -> Result<(), String> {
        let found = self.check_device_status(device)?;
        if self.draws() && found == SSL_STATUS_OK {
            self.check_draw()?;
        }
        if self.kind == Kind::Sample {
            return self.check_learned();
        }
        self.check_rows(found)?;
        self.check_sparse_rows()
    }

    /// What the device found, as far as the call says so.
    fn check_device_status(&self, device: &Faults) -> Result<ssl_status, String> {
        if self.kind == Kind::Sample || !self.step.has(DeviceStatus) {
            return Ok(if device.is_empty() { SSL_STATUS_OK } else { SSL_STATUS_INVALID_VALUE });
        }
        // SAFETY: the array is there, aligned or the call had been refused.
        let status = unsafe { self.step.loss.device_status.read() } as ssl_status;
        let is_expected = if status == SSL_STATUS_OK { !device.are_certain() } else { device.may_be(status) };
        ensure(is_expected, || format!("left the device status {status} where {device:?} was to be found"))?;
        Ok(status)
    }

    fn check_draw(&self) -> Result<(), String> {
        let (step, dims) = (self.step, self.model.dims);
        let ids = step.integers(Ids, dims);
        let is_class = |id: &i64| (0..dims.classes).contains(id) && self.model.is_positive(*id);
        ensure(ids.iter().all(is_class), || format!("drew {ids:?}"))?;
        let ascend = ids.windows(2).all(|pair| pair[0] < pair[1] || !self.model.unique && pair[0] == pair[1]);
        ensure(ascend, || format!("drew {ids:?}, not in order"))?;
        let excluded = self.excluded();
        ensure(!ids.iter().any(|id| excluded.contains(id)), || {
            format!("drew {ids:?} in spite of {excluded:?}")
        })?;
        let is_count = |count: &f64| *count > 0.0 && count.is_finite();
        let counts = step.numbers(SampledCounts, dims);
        ensure(counts.iter().all(is_count), || format!("sampled_expected_count = {counts:?}"))?;
        let counts = step.numbers(TrueCounts, dims);
        for (label, count) in self.labels().into_iter().zip(&counts) {
            let right = if Some(label) == self.ignored() { *count == 0.0 } else { is_count(count) };
            ensure(right, || format!("true_expected_count = {counts:?}"))?;
        }
        if step.has(NumTries) {
            let tries = step.integers(NumTries, dims)[0];
            let is_late = self.model.backend == SSL_BACKEND_CUDA && tries == -1;
            ensure(is_late || tries >= dims.sampled, || format!("num_tries = {tries}"))?;
        }
        self.check_learned()
    }

    fn check_learned(&self) -> Result<(), String> {
        let counts = self.step.integers(LearnedCounts, self.model.dims);
        ensure(counts.iter().all(|count| *count >= 1), || format!("learned_counts = {counts:?}"))
    }

    /// Whether a row takes no part.
    fn is_idle(&self, row: usize) -> bool {
        let (labels, num_true) = (self.labels(), self.model.dims.num_true as usize);
        let ignored = self.ignored().is_some_and(|ignored| labels[row * num_true] == ignored);
        ignored || self.step.numbers(SampleWeights, self.model.dims).get(row) == Some(&0.0)
    }

    /// Rows that take no part have loss and gradient 0, whatever they hold.
    fn check_rows(&self, found: ssl_status) -> Result<(), String> {
        let (step, dims) = (self.step, self.model.dims);
        if found != SSL_STATUS_OK || self.step.batch.has_ignore_index == 0 && !step.has(SampleWeights) {
            return Ok(());
        }
        let losses = step.numbers(Loss, dims);
        let gradients = step.numbers(DInputs, dims);
        let dim = step.batch.dim as usize;
        for row in (0..step.batch.num_rows as usize).filter(|row| self.is_idle(*row)) {
            if self.kind.is_forward() && self.model.reduction == SSL_REDUCTION_NONE {
                ensure(losses[row] == 0.0, || format!("loss[{row}] = {} of an idle row", losses[row]))?;
            }
            if self.kind.has_gradients() && !gradients.is_empty() {
                let of_row = &gradients[row * dim..][..dim];
                ensure(of_row.iter().all(|x| *x == 0.0), || {
                    format!("d_inputs[{row}] = {of_row:?} of an idle row")
                })?;
            }
        }
        Ok(())
    }

    /// Ids ascend, each the class of a label or a candidate, and -1 behind the last.
    fn check_sparse_rows(&self) -> Result<(), String> {
        let (step, dims) = (self.step, self.model.dims);
        let Some(count) = self.num_rows_written().filter(|_| step.has(RowIds)) else { return Ok(()) };
        let ids = step.integers(RowIds, dims);
        let said = step.integers(NumRows, dims)[0];
        ensure(i128::from(said) == count, || format!("num_rows = {said}"))?;
        let (rows, tail) = ids.split_at(count as usize);
        let mut known = step.integers(Ids, dims);
        known.extend(self.labels());
        let right = rows.iter().all(|id| (0..dims.classes).contains(id) && known.contains(id))
            && rows.windows(2).all(|pair| pair[0] < pair[1])
            && tail.iter().all(|id| *id == -1);
        ensure(right, || format!("num_rows = {count}, row_ids = {ids:?}"))
    }

    /// Whether the reference says what a forward and a backward have written.
    pub fn has_reference(&self) -> bool {
        let (step, dims) = (self.step, self.model.dims);
        let wanted = [Loss, LogSumExp, DInputs, DWeights, DBiases, Inputs, Weights, Ids, SampledCounts];
        step.is_tame
            && step.batch.num_rows > 0
            && dims.classes < 2000
            && wanted.iter().all(|array| step.has(*array))
    }

    /// Compares with the reference; panics where they differ.
    pub fn compare_with_reference(&self) {
        let case = self.case();
        let handle = Handle::create(&case.config()).expect("the case is valid");
        let mut call = common::Call::on(&case, Arc::new(handle));
        call.outputs = self.outputs(&case);
        let accuracy = match self.model.backend {
            SSL_BACKEND_CUDA => Accuracy::of_cuda(&case),
            _ => Accuracy::FULL,
        };
        common::assert_matches_reference_within(&call, accuracy);
    }

    fn gap(&self, stride: i64) -> usize {
        if stride == 0 { 0 } else { (stride - self.step.batch.dim) as usize }
    }

    fn case(&self) -> Case {
        let (step, dims) = (self.step, self.model.dims);
        let optional = |array: Array| step.has(array).then(|| step.numbers(array, dims));
        let mut grad_output = optional(GradOutput);
        if self.model.reduction != SSL_REDUCTION_NONE
            && let Some(gradient) = &mut grad_output
        {
            gradient.truncate(1);
        }
        Case {
            rows: step.batch.num_rows as usize,
            dim: step.batch.dim as usize,
            classes: dims.classes as usize,
            num_true: dims.num_true as usize,
            inputs: step.numbers(Inputs, dims),
            weights: step.numbers(Weights, dims),
            biases: optional(Biases),
            labels: self.labels(),
            ids: step.integers(Ids, dims),
            sampled_expected_count: step.numbers(SampledCounts, dims),
            true_expected_count: step.numbers(TrueCounts, dims),
            sample_weights: optional(SampleWeights),
            ignore_index: self.ignored(),
            hits: self.model.hits,
            probability_floor: self.model.probability_floor,
            reduction: self.model.reduction,
            grad_output,
            layout: step.gradients.layout,
            types: Types {
                inputs: step.batch.inputs_dtype,
                weights: step.batch.weights_dtype,
                biases: step.batch.biases_dtype,
                labels: step.batch.labels_dtype,
                counts: step.candidates.counts_dtype,
                d_inputs: step.gradients.d_inputs_dtype,
                d_weights: step.gradients.d_weights_dtype,
                d_biases: step.gradients.d_biases_dtype,
            },
            gaps: Gaps {
                inputs: self.gap(step.batch.inputs_stride),
                weights: self.gap(step.batch.weights_stride),
                d_inputs: self.gap(step.gradients.d_inputs_stride),
                d_weights: self.gap(step.gradients.d_weights_stride),
            },
            wanted: Wanted { d_inputs: true, d_weights: true, d_biases: true },
            num_threads: 1,
            backend: SSL_BACKEND_CPU,
            precision: self.model.precision,
        }
    }

    fn outputs(&self, case: &Case) -> Outputs {
        let (step, dims) = (self.step, self.model.dims);
        let raw = |array: Array, count: usize| {
            let dtype = step.dtype(array);
            // SAFETY: the array is there, at least so many elements of it.
            unsafe { Buffer::read(dtype, step.pointer(array), count) }
        };
        let whole = |array: Array| {
            let bytes = step.extent(array, dims).bytes() as usize;
            raw(array, bytes / size_of_dtype(step.dtype(array)))
        };
        let mut outputs = Outputs::new(case);
        outputs.loss = raw(Loss, case.loss_len());
        outputs.log_sum_exp = whole(LogSumExp);
        outputs.d_inputs = whole(DInputs);
        outputs.d_weights = whole(DWeights);
        outputs.d_biases = whole(DBiases);
        if step.gradients.layout == SSL_GRADIENTS_SPARSE {
            outputs.row_ids = step.integers(RowIds, dims);
            outputs.num_rows = step.integers(NumRows, dims)[0];
        }
        outputs.device_status = 0;
        outputs
    }
}
