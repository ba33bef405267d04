//! What arrays hold before a call, and how they are read after it.

use half::{bf16, f16};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;
use sampled_softmax::abi::*;

use super::array::Array::{self, *};
use super::array::Extent;
use super::choices::Choices;
use super::config::{Dims, Model};
use super::step::Step;
use crate::common::earlier;

/// Outputs before a call, byte for byte.
const UNTOUCHED: u8 = 0xA5;

const ODD: [f64; 14] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    3.4e38,
    -3.4e38,
    65504.0,
    1e-40,
    -1e-45,
    5e-324,
    -0.0,
    1e30,
    -80.0,
];

/// Between -1 and 1.
fn moderate(random: &mut Xoshiro256PlusPlus) -> f64 {
    (random.next_u64() >> 40) as f64 / (1 << 23) as f64 - 1.0
}

/// An element of a dtype at any address.
///
/// # Safety
/// It is there.
unsafe fn put(address: usize, dtype: u32, value: f64) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            SSL_DTYPE_FLOAT32 => (address as *mut f32).write_unaligned(value as f32),
            SSL_DTYPE_FLOAT16 => (address as *mut f16).write_unaligned(f16::from_f64(value)),
            SSL_DTYPE_BFLOAT16 => (address as *mut bf16).write_unaligned(bf16::from_f64(value)),
            _ => (address as *mut f64).write_unaligned(value),
        }
    }
}

/// # Safety
/// As `put`.
unsafe fn get(address: usize, dtype: u32) -> f64 {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            SSL_DTYPE_FLOAT32 => f64::from((address as *const f32).read_unaligned()),
            SSL_DTYPE_FLOAT16 => (address as *const f16).read_unaligned().to_f64(),
            SSL_DTYPE_BFLOAT16 => (address as *const bf16).read_unaligned().to_f64(),
            _ => (address as *const f64).read_unaligned(),
        }
    }
}

/// The addresses of an extent's elements in order, without the gaps.
pub fn addresses(start: usize, extent: Extent) -> impl Iterator<Item = usize> {
    let Extent { rows, row, stride, alignment } = extent;
    let (row, stride) = (row as usize, stride as usize);
    let rows = if extent.is_empty() { 0 } else { rows as usize };
    (0..rows).flat_map(move |index| (0..row).step_by(alignment).map(move |at| start + index * stride + at))
}

impl Step {
    /// Whether an array is there, all of it.
    pub fn has(&self, array: Array) -> bool {
        !self.pointer(array).is_null() && !self.is_lie(array)
    }

    /// Of an array of numbers.
    pub fn dtype(&self, array: Array) -> u32 {
        match array {
            Inputs => self.batch.inputs_dtype,
            Weights => self.batch.weights_dtype,
            Biases => self.batch.biases_dtype,
            SampledCounts | TrueCounts => self.candidates.counts_dtype,
            DInputs => self.gradients.d_inputs_dtype,
            DWeights => self.gradients.d_weights_dtype,
            DBiases => self.gradients.d_biases_dtype,
            LogSumExp => SSL_DTYPE_FLOAT64,
            _ => self.real(),
        }
    }

    fn elements(&self, array: Array, dims: Dims) -> impl Iterator<Item = usize> + use<> {
        let extent = if self.has(array) {
            self.extent(array, dims)
        } else {
            Extent { rows: 0, row: 0, stride: 0, alignment: 1 }
        };
        addresses(self.pointer(array) as usize, extent)
    }

    /// An array of numbers, none where it is not there.
    pub fn numbers(&self, array: Array, dims: Dims) -> Vec<f64> {
        let dtype = self.dtype(array);
        // SAFETY: the array is there.
        self.elements(array, dims).map(|at| unsafe { get(at, dtype) }).collect()
    }

    /// An array of int64, or labels.
    pub fn integers(&self, array: Array, dims: Dims) -> Vec<i64> {
        let narrow = array == Labels && self.labels_size() == 4;
        self.elements(array, dims)
            // SAFETY: the array is there.
            .map(|at| unsafe {
                match narrow {
                    true => i64::from((at as *const i32).read_unaligned()),
                    false => (at as *const i64).read_unaligned(),
                }
            })
            .collect()
    }

    fn set_numbers(&self, array: Array, dims: Dims, mut value: impl FnMut() -> f64) {
        let dtype = self.dtype(array);
        // SAFETY: the array is there.
        self.elements(array, dims).for_each(|at| unsafe { put(at, dtype, value()) });
    }

    pub fn set_integers(&self, array: Array, dims: Dims, mut value: impl FnMut(usize) -> i64) {
        let narrow = array == Labels && self.labels_size() == 4;
        for (index, at) in self.elements(array, dims).enumerate() {
            // SAFETY: the array is there.
            unsafe {
                match narrow {
                    true => (at as *mut i32).write_unaligned(value(index) as i32),
                    false => (at as *mut i64).write_unaligned(value(index)),
                }
            }
        }
    }

    /// Gives one element of an array a value.
    fn poke(&self, array: Array, dims: Dims, place: u8, value: f64) {
        let count = self.elements(array, dims).count();
        if let Some(at) = self.elements(array, dims).nth(usize::from(place) % count.max(1)) {
            // SAFETY: the array is there.
            unsafe { put(at, self.dtype(array), value) };
        }
    }

    /// Puts the outputs back to what they were before any call; dense gradients to what
    /// they are added into.
    pub fn reset_outputs(&self, dims: Dims, keeps_loss: bool) {
        let dense = self.gradients.layout == SSL_GRADIENTS_DENSE;
        for array in [Loss, LogSumExp, DeviceStatus, DInputs, DWeights, DBiases, RowIds, NumRows, NumTries] {
            if matches!(array, Loss | LogSumExp) && keeps_loss || !self.has(array) {
                continue;
            }
            let bytes = self.extent(array, dims).bytes() as usize;
            // SAFETY: the array is there.
            unsafe { self.pointer(array).cast::<u8>().write_bytes(UNTOUCHED, bytes) };
            if dense && matches!(array, DWeights | DBiases) {
                let mut before = earlier(self.elements(array, dims).count()).into_iter();
                self.set_numbers(array, dims, || before.next().unwrap_or(0.0));
            }
        }
    }
}

/// Fills what calls read, and the outputs.
pub fn fill(step: &Step, model: &Model, choices: &mut Choices) {
    let (dims, mut random) = (model.dims, choices.random());
    step.reset_outputs(dims, false);
    for array in [Inputs, Weights, Biases, GradOutput] {
        step.set_numbers(array, dims, || moderate(&mut random));
    }
    for array in [LearningRate, WeightsState, BiasesState] {
        step.set_numbers(array, dims, || moderate(&mut random).abs());
    }
    step.set_numbers(SampleWeights, dims, || [0.0, 1.0, 0.5, 2.0][random.next_u64() as usize % 4]);
    step.set_numbers(LogSumExp, dims, || 3.0 * moderate(&mut random));
    for array in [SampledCounts, TrueCounts] {
        step.set_numbers(array, dims, || 0.8 + 0.75 * moderate(&mut random));
    }
    let mut class = || (random.next_u64() % dims.classes.max(1) as u64) as i64;
    step.set_integers(Ids, dims, |_| class());
    step.set_integers(Avoid, dims, |_| class());
    step.set_integers(LearnedCounts, dims, |_| i64::MIN);
    let ignored = (step.batch.has_ignore_index == 1).then_some(step.batch.ignore_index);
    let mut ignores = false;
    step.set_integers(Labels, dims, |index| {
        if index as i64 % dims.num_true.max(1) == 0 {
            ignores = ignored.is_some() && class() & 3 == 0;
        }
        // Mostly one that can be drawn.
        let label = [class(), class(), class()].into_iter().find(|class| model.is_positive(*class));
        if ignores { ignored.unwrap_or(0) } else { label.unwrap_or_else(&mut class) }
    });
    if choices.one_in(12) {
        poke_integers(step, dims, choices);
    }
    if choices.one_in(16) {
        step.poke(Biases, dims, choices.byte(), f64::NEG_INFINITY);
    }
    if !step.is_tame {
        for _ in 0..=choices.below(4) {
            let array = choices.pick(&[
                Inputs,
                Weights,
                Biases,
                Inputs,
                Weights,
                GradOutput,
                SampleWeights,
                LogSumExp,
                SampledCounts,
                TrueCounts,
                DWeights,
                DBiases,
            ]);
            step.poke(array, dims, choices.byte(), choices.pick(&ODD));
        }
    }
}

/// One label or id is not what a caller means.
fn poke_integers(step: &Step, dims: Dims, choices: &mut Choices) {
    let array = choices.pick(&[Labels, Labels, Ids, Avoid]);
    let before = step.integers(array, dims);
    if before.is_empty() {
        return;
    }
    let place = usize::from(choices.byte()) % before.len();
    let value = match choices.below(3) {
        0 => dims.classes,
        1 => -1,
        _ => choices.wild(),
    };
    step.set_integers(array, dims, |index| if index == place { value } else { before[index] });
}
