//! The step of an optimizer, taken on the rows that the merge has summed (`merge.rs`). The
//! formulas stand beside `SSL_UPDATE_*` in `abi.rs`; they are computed in float64, and
//! rounded where a state or a weight is stored.

use super::convert::{read_one, read_row, write_row};
use super::simd::Real;
use crate::args::{Rule, Update};
use crate::error::{Error, Result};
use crate::memory::Tensor;

/// An update with its rate.
#[derive(Clone, Copy)]
pub(super) struct Optimizer<'a> {
    update: &'a Update,
    rate: f64,
}

/// Refuses a rate that cannot be meant, where the caller has it in memory.
///
/// # Safety
/// The arrays of `update` exist; so for all functions here.
pub(super) unsafe fn check_rate(update: &Update) -> Result<()> {
    // SAFETY: the caller's promise.
    let rate = unsafe { Optimizer::new(update) }.rate;
    match rate >= 0.0 && rate.is_finite() {
        true => Ok(()),
        false => Err(Error::InvalidValue(format!(
            "*update.learning_rate_pointer = {rate} is not finite and at least 0"
        ))),
    }
}

impl<'a> Optimizer<'a> {
    pub(super) unsafe fn new(update: &'a Update) -> Optimizer<'a> {
        let rate = match &update.learning_rate_pointer {
            // SAFETY: [1], the caller's promise.
            Some(pointer) => unsafe { read_one::<f64>(pointer, 0) },
            None => update.learning_rate,
        };
        Optimizer { update, rate }
    }

    /// Moves a class's weights against their gradient; `row` is room for as many numbers.
    pub(super) unsafe fn move_weights<R: Real>(&self, class: usize, gradient: &[R], row: &mut [R]) {
        let Update { weights, weights_state, weight_decay, .. } = self.update;
        if let Some(weights) = weights {
            // SAFETY: the caller's promise; a class is one task's.
            unsafe { self.move_row(weights, weights_state.as_ref(), *weight_decay, (class, gradient, row)) };
        }
    }

    /// Moves a class's bias.
    pub(super) unsafe fn move_bias<R: Real>(&self, class: usize, gradient: R) {
        let Update { biases, biases_state, .. } = self.update;
        if let Some(biases) = biases {
            let row = (class, &[gradient][..], &mut [R::ZERO][..]);
            // SAFETY: as in `move_weights`.
            unsafe { self.move_row(biases, biases_state.as_ref(), 0.0, row) };
        }
    }

    unsafe fn move_row<R: Real>(
        &self,
        weights: &Tensor,
        state: Option<&Tensor>,
        decay: f64,
        (class, gradient, row): (usize, &[R], &mut [R]),
    ) {
        // SAFETY: the class is inside of both tensors; a state is of the type R.
        unsafe {
            read_row(weights, class, row);
            let states = state.map(|state| std::slice::from_raw_parts_mut(state.row::<R>(class), state.cols));
            let slope = |(g, w): (&R, &R)| g.to_f64() + if decay == 0.0 { 0.0 } else { decay * w.to_f64() };
            match states {
                None => {
                    for (g, w) in gradient.iter().zip(row.iter_mut()) {
                        *w = R::from_f64(w.to_f64() - self.rate * slope((g, w)));
                    }
                }
                Some([state]) if self.update.rule == Rule::RowAdagrad => {
                    let squares: f64 = gradient.iter().zip(row.iter()).map(slope).map(|g| g * g).sum();
                    *state = R::from_f64(state.to_f64() + squares / gradient.len() as f64);
                    for (g, w) in gradient.iter().zip(row.iter_mut()) {
                        *w = R::from_f64(w.to_f64() - self.scaled(slope((g, w)), *state));
                    }
                }
                Some(states) => {
                    for ((g, w), state) in gradient.iter().zip(row.iter_mut()).zip(states) {
                        let g = slope((g, w));
                        *state = R::from_f64(state.to_f64() + g * g);
                        *w = R::from_f64(w.to_f64() - self.scaled(g, *state));
                    }
                }
            }
            write_row(weights, class, row, false);
        }
    }

    /// rate g / (sqrt(state) + epsilon), 0 where that is 0 / 0.
    fn scaled<R: Real>(&self, gradient: f64, state: R) -> f64 {
        let size = state.to_f64().sqrt() + self.update.epsilon;
        if size == 0.0 { 0.0 } else { self.rate * gradient / size }
    }
}
