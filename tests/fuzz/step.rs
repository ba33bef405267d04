//! The arguments of one call: structs decoded from choices, and arrays in guarded memory as
//! large as the structs then say.

use std::mem::{size_of, zeroed};
use std::ptr::null_mut;

use libc::c_void;
use sampled_softmax::abi::*;

use super::array::Array::{self, *};
use super::array::{Extent, size_of_dtype};
use super::choices::Choices;
use super::config::{Dims, Model};
use super::contents;
use super::form::Form;
use super::memory::{Memory, Place};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Forward,
    Backward,
    ForwardBackward,
    Sample,
}

impl Kind {
    pub fn is_forward(self) -> bool {
        matches!(self, Kind::Forward | Kind::ForwardBackward)
    }

    pub fn has_gradients(self) -> bool {
        matches!(self, Kind::Backward | Kind::ForwardBackward)
    }
}

/// All that a call takes beside the handle.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub batch: ssl_batch,
    pub candidates: ssl_candidates,
    pub loss: ssl_loss,
    pub gradients: ssl_gradients,
    /// What `gradients.update` leads to, once a call has placed it.
    pub update: ssl_update,
    pub forms: [Form; 5],
    pub workspace: *mut c_void,
    pub workspace_size: usize,
    pub stream: *mut c_void,
    /// Arrays that are smaller than the structs say, a bit each: only a call that is refused
    /// may look at them.
    pub lies: u32,
    /// Whether all numbers are of moderate size, and the rules' exact results are known.
    pub is_tame: bool,
}

/// The most bytes that an array is given.
const LARGEST: i128 = 1 << 18;

impl Step {
    /// Structs with their arrays, for a handle of these sizes.
    pub fn new(choices: &mut Choices, memory: &mut Memory, model: &Model) -> Step {
        let mut step = Step::sizes(choices, model);
        step.is_tame = !choices.one_in(4);
        step.cut();
        step.place_arrays(choices, memory, model.dims);
        step.cut();
        contents::fill(&step, model, choices);
        step
    }

    /// Everything but the pointers.
    fn sizes(choices: &mut Choices, model: &Model) -> Step {
        // SAFETY: zero is a value of every field.
        let mut step: Step = unsafe { zeroed() };
        let Step { batch, candidates, gradients, .. } = &mut step;
        let double = model.backend == SSL_BACKEND_CPU && choices.one_in(4);
        let dtype = |choices: &mut Choices| match double {
            true => choices.code(&[SSL_DTYPE_FLOAT64]),
            false => {
                choices.code(&[SSL_DTYPE_FLOAT32, SSL_DTYPE_FLOAT32, SSL_DTYPE_FLOAT16, SSL_DTYPE_BFLOAT16])
            }
        };
        batch.num_rows = match choices.below(16) {
            0 => 0,
            1..=13 => 1 + choices.below(6) as i64,
            _ => choices.below(40) as i64,
        };
        batch.dim = match choices.below(16) {
            0..=13 => 1 + choices.below(9) as i64,
            _ => 1 + choices.below(70) as i64,
        };
        batch.inputs_dtype = dtype(choices);
        batch.weights_dtype = dtype(choices);
        batch.biases_dtype = dtype(choices);
        batch.labels_dtype = choices.code(&[SSL_LABELS_INT64, SSL_LABELS_INT32]);
        if choices.one_in(4) {
            batch.has_ignore_index = choices.code(&[1]);
            batch.ignore_index = choices.pick(&[-100, -1, 0, 1, i64::MIN, i64::MAX, i32::MAX as i64 + 1]);
        }
        let stride = |choices: &mut Choices, dim: i64| match choices.below(32) {
            0..=23 => 0,
            24..=30 => dim + choices.below(4) as i64,
            _ => choices.wild(),
        };
        batch.inputs_stride = stride(choices, batch.dim);
        batch.weights_stride = stride(choices, batch.dim);
        candidates.counts_dtype = choices.code(&[SSL_DTYPE_FLOAT32, SSL_DTYPE_FLOAT64]);
        candidates.step = choices.pick(&[0, 1, 2, 3, u64::MAX]);
        if choices.one_in(8) {
            candidates.num_avoid = choices.pick(&[1, 2, 3, 3, 8, model.dims.classes.min(50)]);
        }
        gradients.layout = choices.code(&[
            SSL_GRADIENTS_SPARSE,
            SSL_GRADIENTS_SPARSE,
            SSL_GRADIENTS_DENSE,
            SSL_GRADIENTS_UPDATE,
        ]);
        gradients.d_inputs_dtype = dtype(choices);
        gradients.d_weights_dtype = dtype(choices);
        gradients.d_biases_dtype = dtype(choices);
        gradients.d_inputs_stride = stride(choices, batch.dim);
        gradients.d_weights_stride = stride(choices, batch.dim);
        let spare = i64::from(choices.byte() % 8 / 4);
        step.gradients.row_capacity = step.rows_needed(model.dims) as i64 + spare;
        if (step.gradients.layout == SSL_GRADIENTS_UPDATE) != choices.one_in(64) {
            step.set_update(choices);
        }
        if choices.one_in(12) {
            step.change(choices);
        }
        step.forms = [
            Form::new(choices, size_of::<ssl_batch>()),
            Form::new(choices, size_of::<ssl_candidates>()),
            Form::new(choices, size_of::<ssl_loss>()),
            Form::new(choices, size_of::<ssl_gradients>()),
            Form::new(choices, size_of::<ssl_update>()),
        ];
        step.batch.struct_size = step.forms[0].size;
        step.candidates.struct_size = step.forms[1].size;
        step.loss.struct_size = step.forms[2].size;
        step.gradients.struct_size = step.forms[3].size;
        step.update.struct_size = step.forms[4].size;
        step
    }

    /// An optimizer's step, but for its pointers.
    fn set_update(&mut self, choices: &mut Choices) {
        let (update, dim) = (&mut self.update, self.batch.dim);
        // Where it will lie is not known yet, only that it is there.
        self.gradients.update = std::ptr::dangling();
        update.rule = choices.code(&[SSL_UPDATE_SGD, SSL_UPDATE_ADAGRAD, SSL_UPDATE_ROW_ADAGRAD]);
        update.learning_rate = choices.pick(&[0.0, 0.1, 0.01]);
        update.epsilon = if update.rule == SSL_UPDATE_SGD { 0.0 } else { choices.pick(&[0.0, 1e-3]) };
        update.weight_decay = choices.pick(&[0.0, 0.0, 0.01]);
        if update.rule == SSL_UPDATE_ADAGRAD && choices.one_in(4) {
            update.weights_state_stride = dim + choices.below(4) as i64;
        }
        if choices.one_in(16) {
            let odd = choices.pick(&[f64::NAN, f64::INFINITY, -1.0, -0.0, f64::MAX, 5e-324]);
            match choices.below(4) {
                0 => update.learning_rate = odd,
                1 => update.epsilon = odd,
                2 => update.weight_decay = odd,
                _ => update.weights_state_stride = choices.wild(),
            }
        }
    }

    /// The fields that lead to what changes, and which states there are.
    fn point_update(&mut self, choices: &mut Choices) {
        let Step { batch, update, .. } = self;
        update.weights = if choices.one_in(12) { null_mut() } else { batch.weights.cast_mut() };
        update.biases = if choices.one_in(12) { null_mut() } else { batch.biases.cast_mut() };
        let keeps = update.rule != SSL_UPDATE_SGD;
        if (!keeps || update.weights.is_null()) && !choices.one_in(100) {
            update.weights_state = null_mut();
        }
        if (!keeps || update.biases.is_null()) && !choices.one_in(100) {
            update.biases_state = null_mut();
        }
        if update.learning_rate != 0.0 && !choices.one_in(100) {
            update.learning_rate_pointer = std::ptr::null();
        }
    }

    /// One field is not what a caller means.
    fn change(&mut self, choices: &mut Choices) {
        let Step { batch, candidates, loss, gradients, .. } = self;
        match choices.below(10) {
            0 => batch.num_rows = choices.wild(),
            1 => batch.dim = choices.wild(),
            2 => (batch.num_rows, batch.dim) = (choices.wild(), choices.wild()),
            3 => candidates.num_avoid = choices.wild(),
            4 => gradients.row_capacity = choices.wild(),
            5 => candidates.reserved = choices.byte().into(),
            6 => loss.reserved = choices.byte().into(),
            7 => gradients.reserved = choices.byte().into(),
            8 => gradients.row_capacity -= 1,
            _ => batch.has_ignore_index = choices.byte().into(),
        }
    }

    /// min(C, S + N * T).
    pub fn rows_needed(&self, dims: Dims) -> i128 {
        let labels = i128::from(self.batch.num_rows.max(0)) * i128::from(dims.num_true);
        (i128::from(dims.sampled) + labels).min(i128::from(dims.classes))
    }

    fn cut(&mut self) {
        self.batch = self.forms[0].cut(self.batch);
        self.candidates = self.forms[1].cut(self.candidates);
        self.loss = self.forms[2].cut(self.loss);
        self.gradients = self.forms[3].cut(self.gradients);
        self.update = self.forms[4].cut(self.update);
    }

    /// Candidates drawn, or given; a sampler that cannot draw is seldom asked to.
    pub fn set_source(&mut self, choices: &mut Choices, sampler: u32) {
        let draws = if sampler == SSL_SAMPLER_CALLER { choices.one_in(16) } else { !choices.one_in(3) };
        let usual = if draws { SSL_CANDIDATES_DRAW } else { SSL_CANDIDATES_GIVEN };
        self.candidates.source = if choices.one_in(128) { choices.pick(&[2, 77, u32::MAX]) } else { usual };
        self.candidates = self.forms[1].cut(self.candidates);
    }

    pub fn is_double(&self) -> bool {
        self.batch.inputs_dtype == SSL_DTYPE_FLOAT64
    }

    /// The type of the loss, of the sample weights and of the upstream gradient.
    pub fn real(&self) -> u32 {
        if self.is_double() { SSL_DTYPE_FLOAT64 } else { SSL_DTYPE_FLOAT32 }
    }

    pub fn labels_size(&self) -> usize {
        if self.batch.labels_dtype == SSL_LABELS_INT32 { 4 } else { 8 }
    }

    /// The size of an array. Losses and upstream gradients are as many as without a reduction.
    pub fn extent(&self, array: Array, dims: Dims) -> Extent {
        let Step { batch, candidates, gradients, .. } = self;
        let (rows, classes) = (i128::from(batch.num_rows.max(0)), i128::from(dims.classes));
        let labels = rows * i128::from(dims.num_true);
        let counts = if candidates.counts_dtype == SSL_DTYPE_FLOAT32 { 4 } else { 8 };
        let real = size_of_dtype(self.real());
        let dense = gradients.layout == SSL_GRADIENTS_DENSE;
        let parameters = if dense { classes } else { i128::from(gradients.row_capacity.max(0)) };
        match array {
            Inputs => Extent::matrix(rows, batch.dim, batch.inputs_stride, batch.inputs_dtype),
            Weights => Extent::matrix(classes, batch.dim, batch.weights_stride, batch.weights_dtype),
            Biases => Extent::flat(classes, size_of_dtype(batch.biases_dtype)),
            Labels => Extent::flat(labels, self.labels_size()),
            SampleWeights => Extent::flat(rows, real),
            Ids => Extent::flat(dims.sampled.into(), 8),
            SampledCounts => Extent::flat(dims.sampled.into(), counts),
            TrueCounts => Extent::flat(labels, counts),
            Avoid => Extent::flat(candidates.num_avoid.into(), 8),
            NumTries | NumRows | StepPointer => Extent::flat(1, 8),
            LearnedCounts => Extent::flat(classes, 8),
            Loss | GradOutput => Extent::flat(rows.max(1), real),
            LogSumExp => Extent::flat(rows, 8),
            DeviceStatus => Extent::flat(1, 4),
            DInputs => Extent::matrix(rows, batch.dim, gradients.d_inputs_stride, gradients.d_inputs_dtype),
            DWeights => {
                Extent::matrix(parameters, batch.dim, gradients.d_weights_stride, gradients.d_weights_dtype)
            }
            DBiases => Extent::flat(parameters, size_of_dtype(gradients.d_biases_dtype)),
            LearningRate => Extent::flat(1, real),
            WeightsState if self.update.rule == SSL_UPDATE_ADAGRAD => {
                Extent::matrix(classes, batch.dim, self.update.weights_state_stride, self.real())
            }
            WeightsState | BiasesState => Extent::flat(classes, real),
            RowIds => Extent::flat(gradients.row_capacity.max(0).into(), 8),
        }
    }

    /// The field that leads to an array.
    fn field(&mut self, array: Array) -> &mut *mut c_void {
        fn of<T>(pointer: &mut *mut T) -> &mut *mut c_void {
            // SAFETY: pointers to sized types share one representation.
            unsafe { &mut *std::ptr::from_mut(pointer).cast() }
        }
        fn from<T>(pointer: &mut *const T) -> &mut *mut c_void {
            // SAFETY: as above.
            unsafe { &mut *std::ptr::from_mut(pointer).cast() }
        }
        let Step { batch, candidates, loss, gradients, update, .. } = self;
        match array {
            LearningRate => from(&mut update.learning_rate_pointer),
            WeightsState => of(&mut update.weights_state),
            BiasesState => of(&mut update.biases_state),
            Inputs => from(&mut batch.inputs),
            Weights => from(&mut batch.weights),
            Biases => from(&mut batch.biases),
            Labels => from(&mut batch.labels),
            SampleWeights => from(&mut batch.sample_weights),
            Ids => of(&mut candidates.ids),
            SampledCounts => of(&mut candidates.sampled_expected_count),
            TrueCounts => of(&mut candidates.true_expected_count),
            Avoid => from(&mut candidates.avoid),
            NumTries => of(&mut candidates.num_tries),
            LearnedCounts => of(&mut candidates.learned_counts),
            StepPointer => from(&mut candidates.step_pointer),
            Loss => of(&mut loss.loss),
            LogSumExp => of(&mut loss.log_sum_exp),
            DeviceStatus => of(&mut loss.device_status),
            GradOutput => from(&mut gradients.grad_output),
            DInputs => of(&mut gradients.d_inputs),
            DWeights => of(&mut gradients.d_weights),
            DBiases => of(&mut gradients.d_biases),
            RowIds => of(&mut gradients.row_ids),
            NumRows => of(&mut gradients.num_rows),
        }
    }

    pub fn pointer(&self, array: Array) -> *mut c_void {
        let mut copy = *self;
        *copy.field(array)
    }

    fn place_arrays(&mut self, choices: &mut Choices, memory: &mut Memory, dims: Dims) {
        let ends = choices.word();
        for (index, array) in Array::ALL.into_iter().enumerate() {
            let extent = self.extent(array, dims);
            let optional = match array {
                Biases | SampleWeights | GradOutput => choices.one_in(3),
                DeviceStatus | NumTries => choices.one_in(4),
                LearnedCounts => !choices.one_in(8),
                StepPointer => self.candidates.step != 0 || !choices.one_in(3),
                LearningRate | WeightsState | BiasesState => self.gradients.update.is_null(),
                DWeights | DBiases if !self.gradients.update.is_null() => !choices.one_in(100),
                DInputs | DWeights | DBiases | LogSumExp => choices.one_in(12),
                Avoid => self.candidates.num_avoid == 0,
                _ => false,
            };
            if optional || choices.one_in(200) {
                continue;
            }
            let (bytes, is_lie) = match extent.bytes() {
                bytes if bytes <= LARGEST => (bytes as usize, false),
                _ => (64, true),
            };
            self.lies |= u32::from(is_lie) << index;
            let shift = if choices.one_in(250) { 1 + choices.below(7) } else { 0 };
            let at_end = ends >> index & 1 == 0;
            *self.field(array) = memory.place(bytes, Place { at_end, shift, scratch: false });
        }
        if !self.gradients.update.is_null() {
            self.point_update(choices);
        }
        if choices.one_in(64) {
            self.alias(choices, dims);
        }
    }

    /// One array lies where another does, or begins inside it.
    fn alias(&mut self, choices: &mut Choices, dims: Dims) {
        let (array, other) = (choices.pick(&Array::ALL), choices.pick(&Array::ALL));
        let (at, offset) = (self.pointer(other), choices.pick(&[0, 0, 8, 16, 4, 64]));
        if array != other && !at.is_null() {
            *self.field(array) = at.wrapping_byte_add(offset);
            self.is_tame = false;
            let fits = self.extent(array, dims).bytes() + offset as i128 <= self.extent(other, dims).bytes();
            if !fits || self.is_lie(other) {
                self.lies |= 1 << array as u32;
            }
        }
    }

    pub fn is_lie(&self, array: Array) -> bool {
        self.lies >> array as u32 & 1 == 1
    }
}
