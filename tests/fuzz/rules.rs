//! The header's rules, apart from the library's own checks: what is wrong with a call, and
//! what it may write.

use std::ops::Range;

use sampled_softmax::abi::*;

use super::array::Array::{self, *};
use super::array::Extent;
use super::config::{Dims, Model};
use super::faults::Faults;
use super::step::{Kind, Step};

/// Sizes from here on need more workspace than a case gives.
pub const HUGE: i64 = 1 << 24;

/// A call: what it is, with which arguments, on which handle.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub kind: Kind,
    pub step: &'a Step,
    pub model: &'a Model,
    /// Bytes of workspace it needs, or the status with which `ssl_workspace_size` refused.
    pub workspace: Result<usize, ssl_status>,
}

/// An array that a call looks at.
struct Region {
    array: Array,
    start: usize,
    extent: Extent,
    written: bool,
}

impl Region {
    fn rows(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Extent { rows, row, stride, .. } = self.extent;
        let (start, count) = (self.start, if self.extent.is_empty() { 0 } else { rows });
        (0..count).map(move |index| {
            let first = start + (index * stride) as usize;
            first..first + row as usize
        })
    }

    fn range(&self) -> Range<usize> {
        self.start..self.start + self.extent.bytes() as usize
    }
}

fn meet(first: &Range<usize>, second: &Range<usize>) -> bool {
    first.start < second.end && second.start < first.end
}

impl Call<'_> {
    pub fn dims(&self) -> Dims {
        self.model.dims
    }

    pub fn draws(&self) -> bool {
        match self.kind {
            Kind::Backward => false,
            Kind::Sample => !self.step.candidates.ids.is_null(),
            _ => self.step.candidates.source == SSL_CANDIDATES_DRAW,
        }
    }

    pub fn is_sparse(&self) -> bool {
        self.step.gradients.layout == SSL_GRADIENTS_SPARSE
    }

    /// Whether gradients of the parameters are asked for.
    pub fn wants_parameters(&self) -> bool {
        let gradients = &self.step.gradients;
        self.kind.has_gradients() && !(gradients.d_weights.is_null() && gradients.d_biases.is_null())
    }

    pub fn has_update_layout(&self) -> bool {
        self.kind.has_gradients() && self.step.gradients.layout == SSL_GRADIENTS_UPDATE
    }

    /// Whether there is an optimizer's step to take.
    pub fn updates(&self) -> bool {
        self.has_update_layout() && !self.step.gradients.update.is_null() && !self.step.forms[4].is_null
    }

    /// Whether classes that have a gradient are listed.
    pub fn lists_rows(&self) -> bool {
        self.wants_parameters() && self.is_sparse()
            || self.has_update_layout() && !self.step.gradients.row_ids.is_null()
    }

    pub fn ignored(&self) -> Option<i64> {
        (self.step.batch.has_ignore_index == 1).then_some(self.step.batch.ignore_index)
    }

    /// Whether an array is looked at, and then whether it may be written.
    pub fn role(&self, array: Array) -> Option<bool> {
        let (is_step, draws) = (self.kind != Kind::Sample, self.draws());
        let (forward, gradients) = (self.kind.is_forward(), self.kind.has_gradients());
        let has_labels = is_step || !self.step.forms[0].is_null;
        match array {
            Inputs | SampleWeights => is_step.then_some(false),
            Weights => is_step.then_some(self.updates() && !self.step.update.weights.is_null()),
            Biases => is_step.then_some(self.updates() && !self.step.update.biases.is_null()),
            LearningRate => self.updates().then_some(false),
            WeightsState | BiasesState => self.updates().then_some(true),
            Labels => has_labels.then_some(false),
            Ids | SampledCounts => Some(draws),
            TrueCounts => has_labels.then_some(draws),
            Avoid => Some(false),
            NumTries => draws.then_some(true),
            StepPointer => (draws || !is_step).then_some(false),
            LearnedCounts => (draws || !is_step).then_some(true),
            Loss => forward.then_some(true),
            LogSumExp => is_step.then_some(forward),
            DeviceStatus => is_step.then_some(true),
            GradOutput => gradients.then_some(false),
            DInputs | DWeights | DBiases => gradients.then_some(true),
            RowIds => self.lists_rows().then_some(true),
            NumRows => (self.lists_rows() || self.has_update_layout()).then_some(true),
        }
    }

    fn regions(&self) -> impl Iterator<Item = Region> + '_ {
        Array::ALL.into_iter().filter_map(|array| {
            let written = self.role(array)?;
            let start = self.step.pointer(array) as usize;
            (start != 0).then(|| Region { array, start, extent: self.extent(array), written })
        })
    }

    /// As the step says, with one loss where there is a reduction.
    fn extent(&self, array: Array) -> Extent {
        let mut extent = self.step.extent(array, self.dims());
        let reduced = self.model.reduction != SSL_REDUCTION_NONE;
        if matches!(array, Loss | GradOutput) && (reduced || self.step.batch.num_rows <= 0) {
            extent.row = if reduced { extent.alignment as i128 } else { 0 };
        }
        extent
    }

    /// Whether an array that is looked at is not all there.
    pub fn looks_at_a_lie(&self) -> bool {
        self.regions().any(|region| self.step.is_lie(region.array))
    }

    /// All that is wrong with the call; and what of it the device finds, not the call.
    pub fn faults(&self) -> (Faults, Faults) {
        let mut faults = Faults::default();
        self.form_faults(&mut faults);
        self.enumeration_faults(&mut faults);
        self.shape_faults(&mut faults);
        self.pointer_faults(&mut faults);
        self.overlap_faults(&mut faults);
        if self.kind != Kind::Sample {
            self.workspace_faults(&mut faults);
        }
        let on_cpu = self.model.backend == SSL_BACKEND_CPU;
        faults.must_if(on_cpu && !self.step.stream.is_null(), SSL_STATUS_INVALID_VALUE, "stream");
        if self.looks_at_a_lie() {
            return (faults, Faults::default());
        }
        let found = self.content_faults();
        if on_cpu {
            faults.must_all(&found);
            return (faults, Faults::default());
        }
        faults.may_all(&found);
        (faults, found)
    }

    fn form_faults(&self, faults: &mut Faults) {
        let names = [
            ("batch", "batch.struct_size"),
            ("candidates", "candidates.struct_size"),
            ("loss", "loss.struct_size"),
            ("gradients", "gradients.struct_size"),
            ("update", "update.struct_size"),
        ];
        let gradients = self.kind.has_gradients();
        let update = self.has_update_layout() && !self.step.gradients.update.is_null();
        let used = [true, true, self.kind != Kind::Sample, gradients, update];
        for (index, (name, size)) in names.into_iter().enumerate().filter(|(index, _)| used[*index]) {
            let form = &self.step.forms[index];
            let optional = index == 0 && self.kind == Kind::Sample;
            faults.must_if(form.is_null && !optional, SSL_STATUS_NULL_POINTER, name);
            faults.must_if(!form.is_null && form.is_wrong(), SSL_STATUS_STRUCT_SIZE, size);
        }
    }

    /// Codes, flags, reserved fields, and which dtypes go together.
    fn enumeration_faults(&self, faults: &mut Faults) {
        let Step { batch, candidates, loss, gradients, .. } = self.step;
        let (invalid, dtype) = (SSL_STATUS_INVALID_VALUE, SSL_STATUS_DTYPE);
        if self.role(Labels).is_some() {
            faults.must_if(batch.labels_dtype > SSL_LABELS_INT32, invalid, "labels_dtype");
            faults.must_if(batch.has_ignore_index > 1, invalid, "has_ignore_index");
        }
        faults.must_if(candidates.reserved != 0, invalid, "reserved");
        let most = if self.kind == Kind::Sample { SSL_CANDIDATES_DRAW } else { SSL_CANDIDATES_GIVEN };
        faults.must_if(candidates.source > most, invalid, "source");
        let is_real = |code| code == SSL_DTYPE_FLOAT32 || code == SSL_DTYPE_FLOAT64;
        faults.must_if(!is_real(candidates.counts_dtype), dtype, "counts_dtype");
        if self.kind == Kind::Sample {
            return;
        }
        faults.must_if(loss.reserved != 0, invalid, "reserved");
        let double = self.step.is_double();
        let mut codes = vec![
            (true, batch.weights_dtype, "weights_dtype"),
            (!batch.biases.is_null(), batch.biases_dtype, "biases_dtype"),
        ];
        if self.kind.has_gradients() {
            faults.must_if(gradients.reserved != 0, invalid, "reserved");
            faults.must_if(gradients.layout > SSL_GRADIENTS_UPDATE, invalid, "layout");
            self.update_faults(faults);
            codes.extend([
                (!gradients.d_inputs.is_null(), gradients.d_inputs_dtype, "d_inputs_dtype"),
                (!gradients.d_weights.is_null(), gradients.d_weights_dtype, "d_weights_dtype"),
                (!gradients.d_biases.is_null(), gradients.d_biases_dtype, "d_biases_dtype"),
            ]);
        }
        for (is_used, code, name) in codes {
            let is_mixed = (code == SSL_DTYPE_FLOAT64) != double;
            faults.must_if(is_used && (code > SSL_DTYPE_FLOAT64 || is_mixed), dtype, name);
        }
    }

    fn pointer_faults(&self, faults: &mut Faults) {
        let null = SSL_STATUS_NULL_POINTER;
        for array in Array::ALL {
            let at = self.step.pointer(array) as usize;
            let Some(_) = self.role(array) else {
                // Not used, but perhaps looked at.
                faults.may(SSL_STATUS_ALIGNMENT, array.name());
                continue;
            };
            let extent = self.extent(array);
            if at == 0 {
                faults.must_if(self.is_required(array) && !extent.is_empty(), null, array.name());
            } else if !at.is_multiple_of(extent.alignment) {
                match extent.is_empty() {
                    true => faults.may(SSL_STATUS_ALIGNMENT, array.name()),
                    false => faults.must(SSL_STATUS_ALIGNMENT, array.name()),
                }
            }
        }
    }

    fn is_required(&self, array: Array) -> bool {
        match array {
            Inputs | Weights | Labels | Avoid | Loss => true,
            RowIds | NumRows => !self.has_update_layout(),
            Ids | SampledCounts | TrueCounts => self.kind != Kind::Sample,
            LogSumExp => self.kind == Kind::Backward,
            _ => false,
        }
    }

    fn overlap_faults(&self, faults: &mut Faults) {
        let is_idle = self.kind == Kind::Sample && !self.draws();
        if faults.are_certain() || is_idle || self.looks_at_a_lie() {
            // What lies where does not matter, or is not known; the library may look.
            faults.may(SSL_STATUS_OVERLAP, "overlap");
        }
        if faults.are_certain() || is_idle {
            return;
        }
        let is_comparable =
            |region: &Region| !region.extent.is_empty() && region.extent.bytes() < HUGE.into();
        let mut regions: Vec<Region> = self.regions().filter(is_comparable).collect();
        regions.sort_by_key(|region| region.start);
        for (index, first) in regions.iter().enumerate() {
            let behind = regions[index + 1..].iter().take_while(|second| second.start < first.range().end);
            for second in behind.filter(|second| first.written || second.written) {
                let meets = first.rows().any(|row| second.rows().any(|other| meet(&row, &other)));
                match meets {
                    true => faults.must(SSL_STATUS_OVERLAP, first.array.name()),
                    false => faults.may(SSL_STATUS_OVERLAP, first.array.name()),
                }
            }
        }
    }

    fn workspace_faults(&self, faults: &mut Faults) {
        match self.workspace {
            Err(status) => faults.must(status, ""),
            Ok(need) => {
                let short = self.step.workspace_size < need;
                faults.must_if(short, SSL_STATUS_WORKSPACE, "workspace");
                faults.must_if(self.step.workspace.is_null(), SSL_STATUS_NULL_POINTER, "workspace");
            }
        }
    }

    /// Where the accepted call may have written.
    pub fn writes(&self) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let written = self.num_rows_written();
        for mut region in self.regions().filter(|region| region.written) {
            if let (DWeights | DBiases, Some(rows)) = (region.array, written) {
                match region.array {
                    DWeights => region.extent.rows = rows,
                    _ => region.extent.row = rows * region.extent.alignment as i128,
                }
            }
            ranges.extend(region.rows());
        }
        if self.kind != Kind::Sample {
            let start = self.step.workspace as usize;
            ranges.push(start..start + self.step.workspace_size);
        }
        ranges
    }

    /// Rows of sparse gradients, where they are what the call writes.
    pub fn num_rows_written(&self) -> Option<i128> {
        let is_written = self.lists_rows() && self.step.has(NumRows);
        let capacity = i128::from(self.step.gradients.row_capacity);
        is_written.then(|| i128::from(self.step.integers(NumRows, self.dims())[0]).clamp(0, capacity))
    }
}
