//! `ssl_update`, checked: the step of an optimizer that a call takes.

use libc::c_void;

use super::batch::Batch;
use super::{matrix, unknown, vector};
use crate::abi::{self, ssl_update};
use crate::error::{Error, Result};
use crate::memory::{Regions, Tensor};

/// How an element moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Sgd,
    /// A state for each element.
    Adagrad,
    /// A state for each row.
    RowAdagrad,
}

/// What changes, and by which rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    pub(crate) rule: Rule,
    /// Read where there is no pointer.
    pub(crate) learning_rate: f64,
    /// `[1]`, in the type of the loss.
    pub(crate) learning_rate_pointer: Option<Tensor>,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
    /// `[C, d]`.
    pub(crate) weights: Option<Tensor>,
    /// `[C]`.
    pub(crate) biases: Option<Tensor>,
    /// `[C, d]` or `[C]`, where the rule keeps one of what changes.
    pub(crate) weights_state: Option<Tensor>,
    /// `[C]`.
    pub(crate) biases_state: Option<Tensor>,
}

impl Update {
    pub(crate) fn check(raw: &ssl_update, batch: &Batch, regions: &mut Regions) -> Result<Update> {
        let rule = match raw.rule {
            abi::SSL_UPDATE_SGD => Rule::Sgd,
            abi::SSL_UPDATE_ADAGRAD => Rule::Adagrad,
            abi::SSL_UPDATE_ROW_ADAGRAD => Rule::RowAdagrad,
            value => return unknown("update.rule", value, "SSL_UPDATE_*"),
        };
        for (name, value) in [
            ("learning_rate", raw.learning_rate),
            ("epsilon", raw.epsilon),
            ("weight_decay", raw.weight_decay),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::InvalidValue(format!(
                    "update.{name} = {value} is not finite and at least 0"
                )));
            }
        }
        if rule == Rule::Sgd && raw.epsilon != 0.0 {
            return Err(Error::InvalidValue(format!(
                "update.epsilon = {}, but SGD divides by nothing",
                raw.epsilon
            )));
        }
        if !raw.learning_rate_pointer.is_null() && raw.learning_rate != 0.0 {
            return Err(Error::InvalidValue(format!(
                "update.learning_rate = {} and update.learning_rate_pointer are both set",
                raw.learning_rate
            )));
        }
        let real = batch.shape.real;
        let learning_rate_pointer = match raw.learning_rate_pointer.is_null() {
            true => None,
            false => Some(vector("update.learning_rate_pointer", raw.learning_rate_pointer, real, 1)?),
        };
        let weights = changed(raw.weights, Some(&batch.weights), ["update.weights", "weights"])?;
        let biases = changed(raw.biases, batch.biases.as_ref(), ["update.biases", "biases"])?;
        let (classes, dim, stride) = (batch.shape.classes, batch.shape.dim, raw.weights_state_stride);
        if stride != 0 && rule != Rule::Adagrad {
            return Err(Error::InvalidValue(format!(
                "update.weights_state_stride = {stride}: only SSL_UPDATE_ADAGRAD has a state of rows"
            )));
        }
        let weights_state =
            state(raw.weights_state, rule, weights, "update.weights_state", |name, data| match rule {
                Rule::Adagrad => matrix(name, data, real, classes, dim, stride),
                _ => vector(name, data, real, classes),
            })?;
        let biases_state = state(raw.biases_state, rule, biases, "update.biases_state", |name, data| {
            vector(name, data, real, classes)
        })?;

        if let Some(pointer) = learning_rate_pointer {
            regions.add(pointer.region("update.learning_rate_pointer", false))?;
        }
        for (name, state) in [("update.weights_state", weights_state), ("update.biases_state", biases_state)]
        {
            if let Some(state) = state {
                regions.add(state.region(name, true))?;
            }
        }
        for (name, tensor) in [("weights", weights), ("biases", biases)] {
            if tensor.is_some() {
                regions.will_be_written(name)?;
            }
        }
        Ok(Update {
            rule,
            learning_rate: raw.learning_rate,
            learning_rate_pointer,
            epsilon: raw.epsilon,
            weight_decay: raw.weight_decay,
            weights,
            biases,
            weights_state,
            biases_state,
        })
    }
}

/// The batch's tensor, if the caller lets it be changed.
fn changed(
    data: *mut c_void,
    tensor: Option<&Tensor>,
    [name, of_batch]: [&str; 2],
) -> Result<Option<Tensor>> {
    if data.is_null() {
        return Ok(None);
    }
    match tensor {
        Some(tensor) if tensor.data.cast() == data => Ok(Some(*tensor)),
        Some(tensor) => Err(Error::InvalidValue(format!(
            "{name} = {data:p}, but batch.{of_batch} = {:p}: only what the loss is computed of can be updated",
            tensor.data
        ))),
        None => Err(Error::InvalidValue(format!("{name} = {data:p}, but batch.{of_batch} is NULL"))),
    }
}

/// The state that a rule keeps of what it changes: there exactly where it is needed.
fn state(
    data: *mut c_void,
    rule: Rule,
    of: Option<Tensor>,
    name: &'static str,
    make: impl FnOnce(&'static str, *const c_void) -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    match (data.is_null(), rule != Rule::Sgd && of.is_some()) {
        (true, false) => Ok(None),
        (true, true) => Err(Error::NullPointer(name)),
        (false, true) => make(name, data).map(Some),
        (false, false) => Err(Error::InvalidValue(format!(
            "{name} is set, but {}",
            if rule == Rule::Sgd { "SSL_UPDATE_SGD keeps none" } else { "what it belongs to is not updated" }
        ))),
    }
}
