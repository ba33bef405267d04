//! `ssl_loss` and `ssl_gradients`, checked.

use super::batch::{Batch, Shape};
use super::candidates::Call;
use super::config::{Problem, Reduction};
use super::update::Update;
use super::{dtype, elements, matrix, pointer, read_struct, same_precision, unknown, vector, zero};
use crate::abi::{self, ssl_gradients, ssl_loss};
use crate::error::{Error, Result};
use crate::memory::{Region, Regions, Tensor};

/// Where the loss goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LossOutputs {
    /// `[N]` or `[1]`.
    pub(crate) loss: Tensor,
    /// `[N]`; NULL where forward need not keep it.
    pub(crate) log_sum_exp: *mut f64,
    pub(crate) device_status: *mut u32,
}

impl LossOutputs {
    pub(crate) fn check(
        raw: &ssl_loss,
        problem: &Problem,
        shape: &Shape,
        call: Call,
        regions: &mut Regions,
    ) -> Result<LossOutputs> {
        zero("loss.reserved", raw.reserved)?;
        let forward = call == Call::Forward;
        let count = match problem.reduction {
            Reduction::None => shape.rows,
            _ => 1,
        };
        // Backward does not look at the loss.
        let count = if forward { count } else { 0 };
        let loss = vector("loss", raw.loss, shape.real, count)?;
        let kept = if forward { 0 } else { shape.rows };
        let log_sum_exp = pointer("log_sum_exp", raw.log_sum_exp, kept, 8)?;
        let device_status = pointer("device_status", raw.device_status, 0, 4)?;
        regions.add(loss.region("loss", true))?;
        regions.add(Region::flat("log_sum_exp", log_sum_exp, shape.rows, forward))?;
        regions.add(Region::flat("device_status", device_status, 1, true))?;
        Ok(LossOutputs { loss, log_sum_exp, device_status })
    }
}

/// Where the gradients of weights and biases go.
// One a call, on its stack; a box would be an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// Unique ascending ids, and how many there are.
    Sparse(RowList),
    /// Added into arrays of the parameters' shape.
    Dense,
    /// Applied to the parameters at once. The list may have nowhere to go.
    Update(Update, RowList),
}

/// Where the classes that have a gradient are listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowList {
    /// `[capacity]`, or NULL.
    pub(crate) row_ids: *mut i64,
    /// `[1]`, or NULL.
    pub(crate) num_rows: *mut i64,
    pub(crate) capacity: usize,
}

impl RowList {
    /// Nowhere.
    const NONE: RowList =
        RowList { row_ids: std::ptr::null_mut(), num_rows: std::ptr::null_mut(), capacity: 0 };

    fn is_nowhere(&self) -> bool {
        self.row_ids.is_null() && self.num_rows.is_null()
    }
}

// SAFETY: addresses; only the thread that merges writes through them.
unsafe impl Send for RowList {}
// SAFETY: as above.
unsafe impl Sync for RowList {}

impl Layout {
    /// Where the classes that have a gradient are listed, if anywhere.
    pub(crate) fn list(&self) -> RowList {
        match self {
            Layout::Sparse(list) | Layout::Update(_, list) => *list,
            Layout::Dense => RowList::NONE,
        }
    }
}

/// Which gradients are wanted, and where they go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GradientOutputs {
    /// `[N]` or `[1]`.
    pub(crate) grad_output: Option<Tensor>,
    pub(crate) d_inputs: Option<Tensor>,
    pub(crate) d_weights: Option<Tensor>,
    pub(crate) d_biases: Option<Tensor>,
    pub(crate) layout: Layout,
}

impl GradientOutputs {
    /// # Safety
    /// `raw.update` is NULL or leads to an `ssl_update`.
    pub(crate) unsafe fn check(
        raw: &ssl_gradients,
        problem: &Problem,
        batch: &Batch,
        regions: &mut Regions,
    ) -> Result<GradientOutputs> {
        zero("gradients.reserved", raw.reserved)?;
        let shape = &batch.shape;
        let upstream = match problem.reduction {
            Reduction::None => shape.rows,
            _ => 1,
        };
        let grad_output = match raw.grad_output.is_null() {
            true => None,
            false => Some(vector("grad_output", raw.grad_output, shape.real, upstream)?),
        };
        // SAFETY: the caller's promise.
        let (layout, rows) = unsafe { layout(raw, batch, regions)? };
        let wanted = |data: *mut libc::c_void, name: &'static str, code: u32| match data.is_null() {
            true => Ok(None),
            false => {
                let dtype = dtype(name, code)?;
                same_precision(name, dtype, shape.real)?;
                Ok(Some(dtype))
            }
        };
        let d_inputs = wanted(raw.d_inputs, "d_inputs_dtype", raw.d_inputs_dtype)?
            .map(|dtype| matrix("d_inputs", raw.d_inputs, dtype, shape.rows, shape.dim, raw.d_inputs_stride))
            .transpose()?;
        let d_weights = wanted(raw.d_weights, "d_weights_dtype", raw.d_weights_dtype)?
            .map(|dtype| matrix("d_weights", raw.d_weights, dtype, rows, shape.dim, raw.d_weights_stride))
            .transpose()?;
        let d_biases = wanted(raw.d_biases, "d_biases_dtype", raw.d_biases_dtype)?
            .map(|dtype| vector("d_biases", raw.d_biases, dtype, rows))
            .transpose()?;

        let outputs = [("d_inputs", d_inputs), ("d_weights", d_weights), ("d_biases", d_biases)];
        for (name, tensor) in outputs {
            if let Some(tensor) = tensor {
                regions.add(tensor.region(name, true))?;
            }
        }
        if let Some(grad_output) = grad_output {
            regions.add(grad_output.region("grad_output", false))?;
        }
        let RowList { row_ids, num_rows, capacity } = layout.list();
        regions.add(Region::flat("row_ids", row_ids, capacity, true))?;
        regions.add(Region::flat("num_rows", num_rows, 1, true))?;
        Ok(GradientOutputs { grad_output, d_inputs, d_weights, d_biases, layout })
    }

    /// Whether the gradient of the weights is asked for, or what follows from it.
    pub(crate) fn of_weights(&self) -> bool {
        self.d_weights.is_some() || self.update().is_some_and(|update| update.weights.is_some())
    }

    /// The same of the biases.
    pub(crate) fn of_biases(&self) -> bool {
        self.d_biases.is_some() || self.update().is_some_and(|update| update.biases.is_some())
    }

    pub(crate) fn of_parameters(&self) -> bool {
        self.of_weights() || self.of_biases() || !self.layout.list().is_nowhere()
    }

    pub(crate) fn update(&self) -> Option<&Update> {
        match &self.layout {
            Layout::Update(update, _) => Some(update),
            Layout::Sparse(_) | Layout::Dense => None,
        }
    }
}

/// The layout, and the rows that `d_weights` and `d_biases` then have.
///
/// # Safety
/// As `GradientOutputs::check`.
unsafe fn layout(raw: &ssl_gradients, batch: &Batch, regions: &mut Regions) -> Result<(Layout, usize)> {
    let shape = &batch.shape;
    if raw.layout != abi::SSL_GRADIENTS_UPDATE && !raw.update.is_null() {
        return Err(Error::InvalidValue(format!(
            "update is set, but layout = {} is not SSL_GRADIENTS_UPDATE",
            raw.layout
        )));
    }
    match raw.layout {
        abi::SSL_GRADIENTS_DENSE => Ok((Layout::Dense, shape.classes)),
        abi::SSL_GRADIENTS_UPDATE => {
            for (name, data) in [("d_weights", raw.d_weights), ("d_biases", raw.d_biases)] {
                if !data.is_null() {
                    return Err(Error::InvalidValue(format!(
                        "{name} is set, but SSL_GRADIENTS_UPDATE writes no gradient of it"
                    )));
                }
            }
            // SAFETY: the caller's promise.
            let update = Update::check(&unsafe { read_struct(raw.update, "update")? }, batch, regions)?;
            let list = if raw.row_ids.is_null() {
                RowList { num_rows: pointer("num_rows", raw.num_rows, 0, 8)?, ..RowList::NONE }
            } else {
                row_list(raw, shape, 0)?
            };
            Ok((Layout::Update(update, list), 0))
        }
        abi::SSL_GRADIENTS_SPARSE if raw.d_weights.is_null() && raw.d_biases.is_null() => {
            // Nothing is written, so nothing need be there.
            Ok((Layout::Sparse(RowList::NONE), 0))
        }
        abi::SSL_GRADIENTS_SPARSE => {
            let list = row_list(raw, shape, 1)?;
            Ok((Layout::Sparse(list), list.capacity))
        }
        value => unknown("layout", value, "SSL_GRADIENTS_*"),
    }
}

/// Room for every class that can have a gradient, and `needed` numbers of them.
fn row_list(raw: &ssl_gradients, shape: &Shape, needed: usize) -> Result<RowList> {
    let need = (shape.sampled + shape.rows * shape.num_true).min(shape.classes);
    let capacity = raw.row_capacity;
    if capacity < need as i64 {
        return Err(Error::Shape(format!(
            "row_capacity = {capacity} is less than {need} = min(num_classes, num_sampled + num_rows * num_true)"
        )));
    }
    let capacity = elements("row_ids", &[capacity])?;
    let row_ids = pointer("row_ids", raw.row_ids, capacity, 8)?;
    let num_rows = pointer("num_rows", raw.num_rows, needed, 8)?;
    Ok(RowList { row_ids, num_rows, capacity })
}
