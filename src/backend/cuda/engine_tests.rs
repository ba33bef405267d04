//! What callers cannot choose: how many rows a chunk has, and who multiplies.

use std::sync::Arc;

use libc::c_void;

use super::emulated::emulated;
use super::engine::OnDevice;
use super::workspace::Workspace;
use crate::abi::*;
use crate::args::{Batch, Call, Candidates, GradientOutputs, LossOutputs, Problem, Setup};
use crate::backend::Step;
use crate::memory::Regions;
use crate::sampler::Sampler;

const ROWS: usize = 300;
const DIM: usize = 264;
const CLASSES: usize = 90;
const SAMPLED: usize = 70;
const FAR: [usize; 3] = [10, 140, 290];

/// One loss of bfloat16 rows too long for registers, and what it gives.
struct Work {
    inputs: Vec<half::bf16>,
    weights: Vec<half::bf16>,
    labels: Vec<i64>,
    ids: Vec<i64>,
    counts: Vec<f32>,
    true_counts: Vec<f32>,
    sample_weights: Vec<f32>,
    loss: f32,
    d_inputs: Vec<f32>,
    d_weights: Vec<f32>,
    d_biases: Vec<f32>,
    workspace: Vec<u8>,
    /// Where the rows to do again are in the workspace.
    redo: usize,
}

fn zeroed<T>() -> T {
    // SAFETY: used for the structs of the ABI, of which zeros are a value.
    unsafe { std::mem::zeroed() }
}

fn config() -> ssl_config {
    ssl_config {
        struct_size: size_of::<ssl_config>() as u32,
        num_classes: CLASSES as i64,
        num_sampled: SAMPLED as i64,
        sampler: SSL_SAMPLER_CALLER,
        reduction: SSL_REDUCTION_MEAN,
        ..zeroed()
    }
}

impl Work {
    fn new() -> Work {
        let value = |index: usize| half::bf16::from_f64(((index * 7919 % 1013) as f64 / 1013.0 - 0.5) * 0.4);
        let mut work = Work {
            inputs: (0..ROWS * DIM).map(value).collect(),
            weights: (0..CLASSES * DIM).map(|index| value(index + 5)).collect(),
            labels: (0..ROWS).map(|row| (row * 31 % CLASSES) as i64).collect(),
            ids: (0..SAMPLED).map(|column| (column * 17 % CLASSES) as i64).collect(),
            counts: vec![0.5; SAMPLED],
            true_counts: vec![0.5; ROWS],
            sample_weights: vec![1.0; ROWS],
            loss: f32::NAN,
            d_inputs: vec![f32::NAN; ROWS * DIM],
            d_weights: vec![0.0; CLASSES * DIM],
            d_biases: vec![0.0; CLASSES],
            workspace: Vec::new(),
            redo: 0,
        };
        // Rows that take no part, in the first chunk and in the last: nobody may read them.
        for row in [3, ROWS - 1] {
            work.sample_weights[row] = 0.0;
            work.inputs[row * DIM..][..DIM].fill(half::bf16::NAN);
        }
        // Rows whose candidates lie some 60 above their label, by their first element: exponentials cannot be
        // stored for these.
        for row in FAR {
            work.inputs[row * DIM] = half::bf16::from_f64(150.0);
            work.weights[work.labels[row] as usize * DIM] = half::bf16::from_f64(-0.2);
        }
        work
    }

    fn run(mut self, device: &OnDevice, problem: &Problem, sampler: &Sampler) -> Work {
        let batch = ssl_batch {
            inputs_dtype: SSL_DTYPE_BFLOAT16,
            weights_dtype: SSL_DTYPE_BFLOAT16,
            num_rows: ROWS as i64,
            dim: DIM as i64,
            inputs: self.inputs.as_ptr().cast(),
            weights: self.weights.as_ptr().cast(),
            labels: self.labels.as_ptr().cast(),
            sample_weights: self.sample_weights.as_ptr().cast(),
            ..zeroed()
        };
        let candidates = ssl_candidates {
            source: SSL_CANDIDATES_GIVEN,
            ids: self.ids.as_mut_ptr(),
            sampled_expected_count: self.counts.as_mut_ptr().cast(),
            true_expected_count: self.true_counts.as_mut_ptr().cast(),
            ..zeroed()
        };
        let loss = ssl_loss { loss: (&raw mut self.loss).cast::<c_void>(), ..zeroed() };
        let gradients = ssl_gradients {
            layout: SSL_GRADIENTS_DENSE,
            d_inputs: self.d_inputs.as_mut_ptr().cast(),
            d_weights: self.d_weights.as_mut_ptr().cast(),
            d_biases: self.d_biases.as_mut_ptr().cast(),
            ..zeroed()
        };
        let mut regions = Regions::new();
        let batch = Batch::check(&batch, problem, &mut regions).unwrap();
        // SAFETY: there is no `avoid`.
        let candidates =
            unsafe { Candidates::check(&candidates, problem, ROWS, Call::Forward, &mut regions) }.unwrap();
        let loss = LossOutputs::check(&loss, problem, &batch.shape, Call::Forward, &mut regions).unwrap();
        // SAFETY: there is no update.
        let gradients = unsafe { GradientOutputs::check(&gradients, problem, &batch, &mut regions) }.unwrap();
        let size = device.workspace_size(problem, &batch.shape).unwrap();
        self.workspace = vec![0xff; size.backward];
        let step = Step {
            problem,
            sampler,
            forward: true,
            batch: &batch,
            candidates: &candidates,
            loss,
            gradients: Some(gradients),
            workspace: self.workspace.as_mut_ptr(),
            stream: std::ptr::null_mut(),
        };
        // SAFETY: all arrays are alive, and this device reaches host memory.
        unsafe { device.run(&step) }.unwrap();
        let plan = device.plan(problem, &batch.shape).unwrap();
        let base = self.workspace.as_ptr() as u64;
        let redo = Workspace::lay_out(&plan, true, base).gradients.unwrap().chunk.redo;
        self.redo = (redo - base) as usize;
        self
    }

    /// Rows of the last chunk that were computed again.
    fn done_again(&self, first: usize) -> Vec<usize> {
        (first..ROWS).filter(|row| self.workspace[self.redo + row - first] != 0).collect()
    }
}

fn assert_close(name: &str, got: &[f32], want: &[f32], bound: f32) {
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= bound, "{name}[{index}] is {got:e}, should be {want:e}");
    }
}

#[test]
fn chunks_and_who_multiplies_do_not_show() {
    let settings = [("FAKE_CUDA_PAGEABLE", "1")];
    emulated(chunks_and_who_multiplies_do_not_show, "all", &settings, || {
        // SAFETY: the configuration leads nowhere.
        let setup = unsafe { Setup::check(&config()) }.unwrap();
        let sampler = Arc::new(Sampler::new(setup.sampler).unwrap());
        let problem = setup.problem;
        let run = |chunk_bytes: Option<usize>, library: bool| {
            let mut device = OnDevice::new(0, &problem, &sampler).unwrap();
            if let Some(bytes) = chunk_bytes {
                device.machine.chunk_bytes = bytes;
            }
            if !library {
                assert!(device.library.set(None).is_ok());
            }
            let work = Work::new().run(&device, &problem, &sampler);
            assert_eq!(device.library.get().is_some_and(Option::is_some), library);
            work
        };
        let whole = run(None, false);
        assert!(whole.loss.is_finite());
        assert_eq!(whole.done_again(0), FAR);
        // Mean over 298 rows: a gradient is at most 0.2 / 298, and bfloat16 has 8 bits.
        let bound = 2f32.powi(-8) * 0.2 / 298.0;
        for (chunk_bytes, library) in [(Some(1), false), (None, true), (Some(1), true)] {
            let other = run(chunk_bytes, library);
            assert_eq!(other.loss, whole.loss);
            if chunk_bytes.is_some() {
                assert_eq!(other.done_again(256), FAR[2..]);
            }
            if !library {
                assert_eq!(other.d_inputs, whole.d_inputs);
            }
            assert_close("d_inputs", &other.d_inputs, &whole.d_inputs, bound);
            let of_column = |work: &Work, first: bool| -> Vec<f32> {
                let cells = work.d_weights.iter().enumerate();
                cells.filter(|(at, _)| (at % DIM == 0) == first).map(|(_, &x)| x).collect()
            };
            for (first, bound) in [(false, 4.0 * bound), (true, 1000.0 * bound)] {
                assert_close("d_weights", &of_column(&other, first), &of_column(&whole, first), bound);
            }
            assert_close("d_biases", &other.d_biases, &whole.d_biases, 4.0 * bound);
        }
    });
}
