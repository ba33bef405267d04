//! `ssl_batch`, checked as far as its arrays need not be read.

use super::config::Problem;
use super::{dtype, elements, flag, matrix, pointer, same_precision, unknown, vector};
use crate::abi::{self, ssl_batch};
use crate::error::{Error, Result};
use crate::labels::LabelArray;
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
    /// The types of what is multiplied.
    pub(crate) inputs: Dtype,
    pub(crate) weights: Dtype,
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
        let inputs = dtype("inputs_dtype", raw.inputs_dtype)?;
        let real = if inputs == Dtype::F64 { Dtype::F64 } else { Dtype::F32 };
        Ok(Shape {
            rows: rows as usize,
            dim: dim as usize,
            sampled: problem.num_sampled as usize,
            num_true: problem.num_true as usize,
            classes: problem.num_classes as usize,
            real,
            inputs,
            weights: dtype("weights_dtype", raw.weights_dtype)?,
        })
    }
}

/// What a loss is computed of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) shape: Shape,
    pub(crate) inputs: Tensor,
    pub(crate) weights: Tensor,
    pub(crate) biases: Option<Tensor>,
    pub(crate) labels: LabelArray,
    /// The ignore index.
    pub(crate) ignored: Option<i64>,
    pub(crate) sample_weights: Option<Tensor>,
}

impl Batch {
    pub(crate) fn check(raw: &ssl_batch, problem: &Problem, regions: &mut Regions) -> Result<Batch> {
        let shape = Shape::check(raw, problem)?;
        let Shape { rows, dim, classes, real, .. } = shape;
        let inputs = matrix("inputs", raw.inputs, shape.inputs, rows, dim, raw.inputs_stride)?;
        same_precision("weights_dtype", shape.weights, real)?;
        let weights = matrix("weights", raw.weights, shape.weights, classes, dim, raw.weights_stride)?;
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
        let (labels, ignored) = labels(raw, problem, regions)?;

        regions.add(inputs.region("inputs", false))?;
        regions.add(weights.region("weights", false))?;
        for (name, tensor) in [("biases", biases), ("sample_weights", sample_weights)] {
            if let Some(tensor) = tensor {
                regions.add(tensor.region(name, false))?;
            }
        }
        Ok(Batch { shape, inputs, weights, biases, labels, ignored, sample_weights })
    }
}

/// The labels and the ignore index: all that `ssl_sample` reads of a batch.
pub(crate) fn labels(
    raw: &ssl_batch,
    problem: &Problem,
    regions: &mut Regions,
) -> Result<(LabelArray, Option<i64>)> {
    if raw.num_rows < 0 {
        return Err(Error::Shape(format!("num_rows = {} is negative", raw.num_rows)));
    }
    let count = elements("labels", &[raw.num_rows, problem.num_true])?;
    let wide = match raw.labels_dtype {
        abi::SSL_LABELS_INT64 => true,
        abi::SSL_LABELS_INT32 => false,
        value => return unknown("labels_dtype", value, "SSL_LABELS_*"),
    };
    let mut labels = LabelArray { data: raw.labels.cast(), wide, count };
    labels.data = pointer("labels", labels.data, count, labels.size())?;
    regions.add(Region::flat("labels", labels.data, count * labels.size(), false))?;
    let ignored = flag("has_ignore_index", raw.has_ignore_index)?.then_some(raw.ignore_index);
    Ok((labels, ignored))
}
