//! `ssl_batch`, checked.

use super::config::Problem;
use super::{dtype, elements, flag, matrix, same_precision, slice, unknown, vector};
use crate::abi::{self, ssl_batch};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::memory::{Dtype, Region, Regions, Tensor};

/// The sizes of one call. Every product of them that is formed later fits in `isize`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// N.
    pub(crate) rows: usize,
    /// d.
    pub(crate) dim: usize,
    /// S.
    pub(crate) sampled: usize,
    /// T.
    pub(crate) num_true: usize,
    /// C.
    pub(crate) classes: usize,
    /// float64 where the inputs are, else float32: the type of loss and accumulation.
    pub(crate) real: Dtype,
}

/// Room that engines may add to a size when they round it up to their tiles.
const PADDING: i64 = 64;

impl Shape {
    pub(crate) fn check(raw: &ssl_batch, problem: &Problem) -> Result<Shape> {
        let (rows, dim) = (raw.num_rows, raw.dim);
        if rows < 0 {
            return Err(Error::Shape(format!("num_rows = {rows} is negative")));
        }
        if dim < 1 {
            return Err(Error::Shape(format!("dim = {dim} is less than 1")));
        }
        let padded = |size: i64| size.saturating_add(PADDING);
        elements("num_rows * num_true", &[padded(rows), problem.num_true, 8])?;
        elements("num_rows * dim", &[padded(rows), padded(dim), 2])?;
        elements("num_rows * num_sampled", &[padded(rows), padded(problem.num_sampled)])?;
        elements("num_sampled * dim", &[padded(problem.num_sampled), padded(dim), 8])?;
        elements("num_classes * dim", &[problem.num_classes, dim])?;
        let real = match dtype("inputs_dtype", raw.inputs_dtype)? {
            Dtype::F64 => Dtype::F64,
            _ => Dtype::F32,
        };
        Ok(Shape {
            rows: rows as usize,
            dim: dim as usize,
            sampled: problem.num_sampled as usize,
            num_true: problem.num_true as usize,
            classes: problem.num_classes as usize,
            real,
        })
    }
}

/// What a loss is computed of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) shape: Shape,
    pub(crate) inputs: Tensor,
    pub(crate) weights: Tensor,
    pub(crate) biases: Option<Tensor>,
    pub(crate) labels: Labels<'a>,
    pub(crate) ignored: Option<i64>,
    pub(crate) sample_weights: Option<Tensor>,
}

impl<'a> Batch<'a> {
    /// Checks the pointers and shapes, not yet the labels.
    ///
    /// # Safety
    /// The pointers of `raw` lead to what `ssl_batch` says.
    pub(crate) unsafe fn check(
        raw: &ssl_batch,
        problem: &Problem,
        regions: &mut Regions,
    ) -> Result<Batch<'a>> {
        let shape = Shape::check(raw, problem)?;
        let Shape { rows, dim, classes, real, .. } = shape;
        let inputs_dtype = dtype("inputs_dtype", raw.inputs_dtype)?;
        let inputs = matrix("inputs", raw.inputs, inputs_dtype, rows, dim, raw.inputs_stride)?;
        let weights_dtype = dtype("weights_dtype", raw.weights_dtype)?;
        same_precision("weights_dtype", weights_dtype, real)?;
        let weights = matrix("weights", raw.weights, weights_dtype, classes, dim, raw.weights_stride)?;
        let biases = match raw.biases.is_null() {
            true => None,
            false => {
                let biases_dtype = dtype("biases_dtype", raw.biases_dtype)?;
                same_precision("biases_dtype", biases_dtype, real)?;
                Some(vector("biases", raw.biases, biases_dtype, classes)?)
            }
        };
        let sample_weights = match raw.sample_weights.is_null() {
            true => None,
            false => Some(vector("sample_weights", raw.sample_weights, real, rows)?),
        };
        // SAFETY: the caller's promise.
        let (labels, ignored) = unsafe { labels(raw, problem, regions)? };

        regions.add(inputs.region("inputs", false))?;
        regions.add(weights.region("weights", false))?;
        for (name, tensor) in [("biases", biases), ("sample_weights", sample_weights)] {
            if let Some(tensor) = tensor {
                regions.add(tensor.region(name, false))?;
            }
        }
        Ok(Batch { shape, inputs, weights, biases, labels, ignored, sample_weights })
    }

    /// Checks every label.
    pub(crate) fn check_labels(&self) -> Result<()> {
        check_labels(&self.labels, self.shape.num_true, self.shape.classes, self.ignored)
    }

    /// Whether the row is left out altogether. Its labels are then all the same.
    pub(crate) fn is_ignored(&self, row: usize) -> bool {
        self.ignored.is_some_and(|ignored| self.labels.get(row * self.shape.num_true) == ignored)
    }
}

/// The labels and the ignore index: all that `ssl_sample` reads of a batch.
///
/// # Safety
/// `raw.labels` leads to N * T labels.
pub(crate) unsafe fn labels<'a>(
    raw: &ssl_batch,
    problem: &Problem,
    regions: &mut Regions,
) -> Result<(Labels<'a>, Option<i64>)> {
    if raw.num_rows < 0 {
        return Err(Error::Shape(format!("num_rows = {} is negative", raw.num_rows)));
    }
    let count = elements("labels", &[raw.num_rows, problem.num_true])?;
    // SAFETY: the caller's promise.
    let labels = unsafe {
        match raw.labels_dtype {
            abi::SSL_LABELS_INT64 => Labels::I64(slice("labels", raw.labels.cast(), count)?),
            abi::SSL_LABELS_INT32 => Labels::I32(slice("labels", raw.labels.cast(), count)?),
            value => return unknown("labels_dtype", value, "SSL_LABELS_*"),
        }
    };
    regions.add(match labels {
        Labels::I32(labels) => Region::flat("labels", labels.as_ptr(), count, false),
        Labels::I64(labels) => Region::flat("labels", labels.as_ptr(), count, false),
    })?;
    let ignored = flag("has_ignore_index", raw.has_ignore_index)?.then_some(raw.ignore_index);
    Ok((labels, ignored))
}

/// Every label is a class, or its whole row is ignored.
pub(crate) fn check_labels(
    labels: &Labels<'_>,
    num_true: usize,
    classes: usize,
    ignored: Option<i64>,
) -> Result<()> {
    for row in 0..labels.len() / num_true {
        let first = labels.get(row * num_true);
        let ignored_row = ignored == Some(first);
        for column in 0..num_true {
            let label = labels.get(row * num_true + column);
            if (ignored == Some(label)) != ignored_row {
                return Err(Error::InvalidValue(format!(
                    "labels[{row}, {column}] = {label}, labels[{row}, 0] = {first}: of a row's labels, all or none are ignore_index"
                )));
            }
            if !ignored_row && !(0..classes as i64).contains(&label) {
                return Err(Error::LabelRange {
                    argument: "labels",
                    index: label_index(row, column, num_true),
                    value: label,
                    num_classes: classes as i64,
                });
            }
        }
    }
    Ok(())
}

/// A label's place in words: `[3]`, or `[3, 1]` where a row has several.
pub(crate) fn label_index(row: usize, column: usize, num_true: usize) -> String {
    if num_true == 1 { format!("[{row}]") } else { format!("[{row}, {column}]") }
}
