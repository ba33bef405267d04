//! The buffers and structs of one call, and the calls themselves.

use std::mem::{size_of, zeroed};
use std::ptr;
use std::sync::Arc;

use libc::c_void;
use sampled_softmax::abi::*;
use sampled_softmax::capi::{
    ssl_backward, ssl_forward, ssl_forward_backward, ssl_sample, ssl_workspace_size,
};

use super::{Buffer, Case, Failure, Handle, Outputs, check};

/// What a caller that has set nothing passes.
pub fn default_config() -> ssl_config {
    // SAFETY: zero is a value of every field.
    ssl_config { struct_size: size_of::<ssl_config>() as u32, ..unsafe { zeroed() } }
}

/// All that the calls take beside the handle; the pointers lead into a [`Call`].
#[derive(Clone, Copy)]
pub struct Arguments {
    pub batch: ssl_batch,
    pub candidates: ssl_candidates,
    pub loss: ssl_loss,
    pub gradients: ssl_gradients,
    pub workspace: *mut c_void,
    pub workspace_size: usize,
    pub stream: *mut c_void,
}

impl Arguments {
    /// The status alone of a call of [`KINDS`], by its number: nothing is allocated but by
    /// the library.
    pub fn status(&self, kind: usize, handle: &Handle) -> ssl_status {
        let Arguments { batch, candidates, loss, gradients, workspace, workspace_size, stream } = *self;
        let handle = handle.pointer();
        // SAFETY: the pointers are as the `Call` made them, or what a test put in to see
        // it refused before it is followed.
        unsafe {
            match kind {
                0 => ssl_forward(handle, &batch, &candidates, &loss, workspace, workspace_size, stream),
                3 => ssl_sample(handle, &batch, &candidates, stream),
                _ => {
                    let call = if kind == 1 { ssl_backward } else { ssl_forward_backward };
                    call(handle, &batch, &candidates, &loss, &gradients, workspace, workspace_size, stream)
                }
            }
        }
    }

    pub fn forward(&self, handle: &Handle) -> Result<(), Failure> {
        check(self.status(0, handle))
    }

    pub fn backward(&self, handle: &Handle) -> Result<(), Failure> {
        check(self.status(1, handle))
    }

    pub fn forward_backward(&self, handle: &Handle) -> Result<(), Failure> {
        check(self.status(2, handle))
    }

    pub fn sample(&self, handle: &Handle) -> Result<(), Failure> {
        check(self.status(3, handle))
    }
}

/// A call of any kind.
pub type Kind = fn(&Arguments, &Handle) -> Result<(), Failure>;

/// All calls that take [`Arguments`], by name.
pub const KINDS: [(&str, Kind); 4] = [
    ("forward", Arguments::forward),
    ("backward", Arguments::backward),
    ("forward_backward", Arguments::forward_backward),
    ("sample", Arguments::sample),
];

/// A case in the caller's memory: inputs, outputs, and a workspace of exactly the size
/// the library asks for, at an odd address, full of NaN and between canaries.
pub struct Call {
    pub case: Case,
    pub handle: Arc<Handle>,
    pub outputs: Outputs,
    pub source: u32,
    pub step: u64,
    pub avoid: Vec<i64>,
    inputs: Buffer,
    pub weights: Buffer,
    pub biases: Option<Buffer>,
    labels32: Vec<i32>,
    sample_weights: Option<Buffer>,
    grad_output: Option<Buffer>,
    workspace: Vec<u8>,
}

const CANARY: u8 = 0x5A;
const MARGIN: usize = 65;

impl Call {
    /// With a handle of its own and the case's candidates.
    pub fn new(case: &Case) -> Self {
        let handle = Handle::create(&case.config()).expect("the case is valid");
        Self::on(case, Arc::new(handle))
    }

    /// On a handle that fits the case, with the case's candidates.
    pub fn on(case: &Case, handle: Arc<Handle>) -> Self {
        Call {
            outputs: Outputs::new(case),
            source: SSL_CANDIDATES_GIVEN,
            step: 0,
            avoid: Vec::new(),
            inputs: Buffer::rows(case.types.inputs, &case.inputs, case.dim, case.gaps.inputs),
            weights: Buffer::rows(case.types.weights, &case.weights, case.dim, case.gaps.weights),
            biases: case.biases.as_ref().map(|values| Buffer::new(case.types.biases, values)),
            labels32: case.labels.iter().map(|&label| label as i32).collect(),
            sample_weights: buffer_like_loss(case, case.sample_weights.as_ref()),
            grad_output: buffer_like_loss(case, case.grad_output.as_ref()),
            workspace: Vec::new(),
            case: case.clone(),
            handle,
        }
    }

    /// On a handle whose sampler draws the candidates; the case's own are dropped.
    pub fn drawing(case: &Case, handle: Arc<Handle>, step: u64) -> Self {
        let mut call = Self::on(case, handle);
        call.source = SSL_CANDIDATES_DRAW;
        call.step = step;
        call.outputs.ids.fill(i64::MIN);
        let counts = case.types.counts;
        call.outputs.sampled_expected_count = Buffer::untouched(counts, case.sampled());
        call.outputs.true_expected_count = Buffer::untouched(counts, case.labels.len());
        call
    }

    /// The case with the candidates that a call has drawn.
    pub fn drawn_case(&self) -> Case {
        Case {
            ids: self.outputs.ids.clone(),
            sampled_expected_count: self.outputs.sampled_expected_count.values(),
            true_expected_count: self.outputs.true_expected_count.values(),
            ..self.case.clone()
        }
    }

    pub fn arguments(&mut self) -> Arguments {
        let (batch, candidates) = (self.batch(), self.candidates());
        let (loss, gradients) = (self.loss(), self.gradients());
        Arguments {
            batch,
            candidates,
            loss,
            gradients,
            workspace: ptr::null_mut(),
            workspace_size: 0,
            stream: ptr::null_mut(),
        }
    }

    /// As `arguments`, with the workspace of a forward (0) or a backward (1).
    pub fn arguments_with_workspace(&mut self, kind: usize) -> Arguments {
        let size = self.workspace_sizes()[kind];
        self.arguments_with_workspace_of(size)
    }

    /// As `arguments`, with a workspace for every call.
    pub fn arguments_for_all(&mut self) -> Arguments {
        let [forward, backward] = self.workspace_sizes();
        self.arguments_with_workspace_of(forward.max(backward))
    }

    fn arguments_with_workspace_of(&mut self, size: usize) -> Arguments {
        let mut arguments = self.arguments();
        self.workspace = vec![CANARY; size + 2 * MARGIN];
        let odd = MARGIN - usize::from(self.workspace.as_ptr() as usize % 2 == 1);
        self.workspace[odd..odd + size].fill(0xFF);
        arguments.workspace = self.workspace[odd..].as_mut_ptr().cast();
        arguments.workspace_size = size;
        arguments
    }

    pub fn workspace_sizes(&mut self) -> [usize; 2] {
        let batch = self.batch();
        let (mut forward, mut backward) = (0, 0);
        // SAFETY: all pointers lead to live objects.
        check(unsafe { ssl_workspace_size(self.handle.pointer(), &batch, &mut forward, &mut backward) })
            .expect("the case is valid");
        [forward, backward]
    }

    pub fn forward(&mut self) -> Result<(), Failure> {
        let result = self.arguments_with_workspace(0).forward(&self.handle);
        self.check_margins();
        result
    }

    pub fn backward(&mut self) -> Result<(), Failure> {
        let result = self.arguments_with_workspace(1).backward(&self.handle);
        self.check_margins();
        result
    }

    pub fn forward_backward(&mut self) -> Result<(), Failure> {
        let result = self.arguments_with_workspace(1).forward_backward(&self.handle);
        self.check_margins();
        result
    }

    pub fn sample(&mut self) -> Result<(), Failure> {
        self.arguments().sample(&self.handle)
    }

    /// Bytes of inputs, weights and biases.
    pub fn input_sizes(&self) -> [usize; 3] {
        let biases = self.biases.as_ref().map_or(0, Buffer::size_in_bytes);
        [self.inputs.size_in_bytes(), self.weights.size_in_bytes(), biases]
    }

    /// Puts the outputs back to what they were before any call.
    pub fn reset(&mut self) {
        self.outputs = Outputs::new(&self.case);
    }

    fn check_margins(&self) {
        let odd = MARGIN - usize::from(self.workspace.as_ptr() as usize % 2 == 1);
        let size = self.workspace.len() - 2 * MARGIN;
        let (before, behind) = (&self.workspace[..odd], &self.workspace[odd + size..]);
        assert!(before.iter().chain(behind).all(|&byte| byte == CANARY), "wrote past workspace");
    }

    fn batch(&mut self) -> ssl_batch {
        let case = &mut self.case;
        let types = case.types;
        let labels = match types.labels {
            SSL_LABELS_INT32 => self.labels32.as_ptr().cast(),
            _ => case.labels.as_ptr().cast(),
        };
        ssl_batch {
            struct_size: size_of::<ssl_batch>() as u32,
            inputs_dtype: types.inputs,
            weights_dtype: types.weights,
            biases_dtype: types.biases,
            labels_dtype: types.labels,
            has_ignore_index: u32::from(case.ignore_index.is_some()),
            num_rows: case.rows as i64,
            dim: case.dim as i64,
            inputs: self.inputs.pointer(),
            inputs_stride: stride(case.dim, case.gaps.inputs),
            weights: self.weights.pointer(),
            weights_stride: stride(case.dim, case.gaps.weights),
            biases: pointer(self.biases.as_mut()),
            labels,
            ignore_index: case.ignore_index.unwrap_or(0),
            sample_weights: pointer(self.sample_weights.as_mut()),
        }
    }

    fn candidates(&mut self) -> ssl_candidates {
        let outputs = &mut self.outputs;
        ssl_candidates {
            struct_size: size_of::<ssl_candidates>() as u32,
            source: self.source,
            counts_dtype: self.case.types.counts,
            reserved: 0,
            step: self.step,
            ids: outputs.ids.as_mut_ptr(),
            sampled_expected_count: outputs.sampled_expected_count.pointer(),
            true_expected_count: outputs.true_expected_count.pointer(),
            avoid: if self.avoid.is_empty() { ptr::null() } else { self.avoid.as_ptr() },
            num_avoid: self.avoid.len() as i64,
            num_tries: &mut outputs.num_tries,
            learned_counts: ptr::null_mut(),
            step_pointer: ptr::null(),
        }
    }

    fn loss(&mut self) -> ssl_loss {
        ssl_loss {
            struct_size: size_of::<ssl_loss>() as u32,
            reserved: 0,
            loss: self.outputs.loss.pointer(),
            log_sum_exp: self.outputs.log_sum_exp.pointer().cast(),
            device_status: &mut self.outputs.device_status,
        }
    }

    fn gradients(&mut self) -> ssl_gradients {
        let case = &self.case;
        let sparse = case.layout == SSL_GRADIENTS_SPARSE;
        let only_sparse = |pointer: *mut i64| if sparse { pointer } else { ptr::null_mut() };
        let wanted = |yes: bool, buffer: &mut Buffer| if yes { buffer.pointer() } else { ptr::null_mut() };
        let outputs = &mut self.outputs;
        ssl_gradients {
            struct_size: size_of::<ssl_gradients>() as u32,
            layout: case.layout,
            d_inputs_dtype: case.types.d_inputs,
            d_weights_dtype: case.types.d_weights,
            d_biases_dtype: case.types.d_biases,
            reserved: 0,
            grad_output: pointer(self.grad_output.as_mut()),
            d_inputs: wanted(case.wanted.d_inputs, &mut outputs.d_inputs),
            d_inputs_stride: stride(case.dim, case.gaps.d_inputs),
            d_weights: wanted(case.wanted.d_weights, &mut outputs.d_weights),
            d_weights_stride: stride(case.dim, case.gaps.d_weights),
            d_biases: wanted(case.wanted.d_biases, &mut outputs.d_biases),
            row_ids: only_sparse(outputs.row_ids.as_mut_ptr()),
            num_rows: only_sparse(&mut outputs.num_rows),
            row_capacity: if sparse { outputs.row_ids.len() as i64 } else { 0 },
            update: ptr::null(),
        }
    }
}

/// Rows without gaps are said with the default, 0.
fn stride(dim: usize, gap: usize) -> i64 {
    if gap == 0 { 0 } else { (dim + gap) as i64 }
}

fn pointer(buffer: Option<&mut Buffer>) -> *mut c_void {
    buffer.map_or(ptr::null_mut(), Buffer::pointer)
}

fn buffer_like_loss(case: &Case, values: Option<&Vec<f64>>) -> Option<Buffer> {
    values.map(|values| Buffer::new(case.types.loss(), values))
}
