//! What a step of a large output layer costs in memory beyond its parameters.

mod common;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use std::mem::size_of;
use std::ptr::null_mut;

use common::{Handle, check, default_config};
use counting_allocator::{CountingAllocator, held, peak, reset_peak};
use sampled_softmax::abi::*;
use sampled_softmax::capi::{ssl_forward_backward, ssl_workspace_size};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// N, d, S and C of the One Billion Word model's output layer.
const ROWS: usize = 2560;
const DIM: usize = 512;
const SAMPLED: usize = 8192;
const CLASSES: usize = 793_471;
const LIMIT: i64 = 128_000_000;

/// All that a caller holds for a step beside inputs, weights and biases.
struct Step {
    labels: Vec<i64>,
    ids: Vec<i64>,
    sampled_expected_count: Vec<f32>,
    true_expected_count: Vec<f32>,
    loss: Vec<f32>,
    log_sum_exp: Vec<f64>,
    d_inputs: Vec<f32>,
    d_weights: Vec<f32>,
    d_biases: Vec<f32>,
    row_ids: Vec<i64>,
    num_rows: i64,
    workspace: Vec<u8>,
}

impl Step {
    fn new(handle: &Handle, inputs: &[f32], weights: &[f32], biases: &[f32]) -> Self {
        let capacity = CLASSES.min(SAMPLED + ROWS);
        let mut step = Step {
            labels: (0..ROWS as i64).map(|row| row * 301 % CLASSES as i64).collect(),
            ids: vec![0; SAMPLED],
            sampled_expected_count: vec![0.0; SAMPLED],
            true_expected_count: vec![0.0; ROWS],
            loss: vec![f32::NAN; ROWS],
            log_sum_exp: vec![0.0; ROWS],
            d_inputs: vec![0.0; ROWS * DIM],
            d_weights: vec![0.0; capacity * DIM],
            d_biases: vec![0.0; capacity],
            row_ids: vec![0; capacity],
            num_rows: 0,
            workspace: Vec::new(),
        };
        let batch = step.batch(inputs, weights, biases);
        let mut size = 0;
        // SAFETY: all pointers lead to live objects.
        check(unsafe { ssl_workspace_size(handle.pointer(), &batch, null_mut(), &mut size) }).unwrap();
        step.workspace = vec![0; size];
        step
    }

    fn batch(&self, inputs: &[f32], weights: &[f32], biases: &[f32]) -> ssl_batch {
        ssl_batch {
            struct_size: size_of::<ssl_batch>() as u32,
            inputs_dtype: SSL_DTYPE_FLOAT32,
            weights_dtype: SSL_DTYPE_FLOAT32,
            biases_dtype: SSL_DTYPE_FLOAT32,
            labels_dtype: SSL_LABELS_INT64,
            has_ignore_index: 0,
            num_rows: ROWS as i64,
            dim: DIM as i64,
            inputs: inputs.as_ptr().cast(),
            inputs_stride: 0,
            weights: weights.as_ptr().cast(),
            weights_stride: 0,
            biases: biases.as_ptr().cast(),
            labels: self.labels.as_ptr().cast(),
            ignore_index: 0,
            sample_weights: std::ptr::null(),
        }
    }

    fn run(&mut self, handle: &Handle, batch: &ssl_batch) {
        let candidates = ssl_candidates {
            struct_size: size_of::<ssl_candidates>() as u32,
            source: SSL_CANDIDATES_DRAW,
            counts_dtype: SSL_DTYPE_FLOAT32,
            reserved: 0,
            step: 0,
            ids: self.ids.as_mut_ptr(),
            sampled_expected_count: self.sampled_expected_count.as_mut_ptr().cast(),
            true_expected_count: self.true_expected_count.as_mut_ptr().cast(),
            avoid: std::ptr::null(),
            num_avoid: 0,
            num_tries: null_mut(),
            learned_counts: null_mut(),
            step_pointer: std::ptr::null(),
        };
        let loss = ssl_loss {
            struct_size: size_of::<ssl_loss>() as u32,
            reserved: 0,
            loss: self.loss.as_mut_ptr().cast(),
            log_sum_exp: self.log_sum_exp.as_mut_ptr(),
            device_status: null_mut(),
        };
        let gradients = ssl_gradients {
            struct_size: size_of::<ssl_gradients>() as u32,
            layout: SSL_GRADIENTS_SPARSE,
            d_inputs_dtype: SSL_DTYPE_FLOAT32,
            d_weights_dtype: SSL_DTYPE_FLOAT32,
            d_biases_dtype: SSL_DTYPE_FLOAT32,
            reserved: 0,
            grad_output: std::ptr::null(),
            d_inputs: self.d_inputs.as_mut_ptr().cast(),
            d_inputs_stride: 0,
            d_weights: self.d_weights.as_mut_ptr().cast(),
            d_weights_stride: 0,
            d_biases: self.d_biases.as_mut_ptr().cast(),
            row_ids: self.row_ids.as_mut_ptr(),
            num_rows: &mut self.num_rows,
            row_capacity: self.row_ids.len() as i64,
            update: std::ptr::null(),
        };
        let workspace = self.workspace.as_mut_ptr().cast();
        // SAFETY: every array has the size that the structs say.
        check(unsafe {
            ssl_forward_backward(
                handle.pointer(),
                batch,
                &candidates,
                &loss,
                &gradients,
                workspace,
                self.workspace.len(),
                null_mut(),
            )
        })
        .unwrap();
    }
}

/// The weights are zeros that no memory stands behind until they are read, so the loss
/// of every row is the logarithm of a sum of 1/Q.
#[test]
fn a_large_output_layer_needs_less_than_128_mb_beside_its_parameters() {
    let inputs = vec![0.5_f32; ROWS * DIM];
    let weights = vec![0.0_f32; CLASSES * DIM];
    let biases = vec![0.0_f32; CLASSES];
    for (sampler, num_threads) in [(SSL_SAMPLER_LOG_UNIFORM, 2), (SSL_SAMPLER_LEARNED_UNIGRAM, 8)] {
        let parameters = held();
        reset_peak();
        let config = ssl_config {
            num_threads,
            num_classes: CLASSES as i64,
            num_sampled: SAMPLED as i64,
            sampler,
            ..default_config()
        };
        let handle = Handle::create(&config).unwrap();
        let mut step = Step::new(&handle, &inputs, &weights, &biases);
        let batch = step.batch(&inputs, &weights, &biases);
        step.run(&handle, &batch);
        let extra = peak() - parameters;
        println!("sampler {sampler}, {num_threads} threads: {extra} bytes");
        assert!(step.loss.iter().all(|loss| loss.is_finite()));
        assert!(step.num_rows > SAMPLED as i64);
        assert!(extra < LIMIT, "sampler {sampler}, {num_threads} threads: {extra} bytes");
    }
}
