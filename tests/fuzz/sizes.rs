//! What is wrong with sizes, strides, and products of them.

use sampled_softmax::abi::*;

use super::array::Array::*;
use super::faults::Faults;
use super::rules::{Call, HUGE};
use super::step::{Kind, Step};

/// Elements of 8 bytes that an address can count.
const MOST: i128 = (isize::MAX / 8) as i128;

impl Call<'_> {
    /// What `ssl_workspace_size` must refuse of the batch: sizes and two dtypes.
    pub fn size_faults(&self) -> Faults {
        let (mut faults, dims, batch) = (Faults::default(), self.dims(), &self.step.batch);
        let [rows, num_true, sampled, classes, dim] =
            [batch.num_rows, dims.num_true, dims.sampled, dims.classes, batch.dim].map(i128::from);
        let shape = SSL_STATUS_SHAPE;
        faults.must_if(rows < 0, shape, "num_rows");
        faults.must_if(dim < 1, shape, "dim");
        for factors in
            [[rows, num_true, 8], [rows, dim, 2], [rows, sampled, 1], [sampled, dim, 8], [classes, dim, 1]]
        {
            let product = factors.into_iter().fold(1, i128::saturating_mul);
            self.count_faults(&mut faults, product, "");
        }
        let on_cuda = self.model.backend == SSL_BACKEND_CUDA;
        if on_cuda
            && [rows, dim, sampled, rows * num_true, classes].into_iter().any(|size| size > HUGE.into())
        {
            faults.may(shape, "");
        }
        let dtype = SSL_STATUS_DTYPE;
        faults.must_if(batch.inputs_dtype > SSL_DTYPE_FLOAT64, dtype, "inputs_dtype");
        faults.must_if(batch.weights_dtype > SSL_DTYPE_FLOAT64, dtype, "weights_dtype");
        faults.must_if(on_cuda && self.step.is_double(), dtype, "inputs_dtype");
        faults
    }

    pub fn shape_faults(&self, faults: &mut Faults) {
        let (shape, dims) = (SSL_STATUS_SHAPE, self.dims());
        let Step { batch, candidates, gradients, .. } = self.step;
        faults.must_if(candidates.num_avoid < 0, shape, "num_avoid");
        let has_two_steps = candidates.step != 0 && !candidates.step_pointer.is_null();
        faults.must_if(
            (self.draws() || self.kind == Kind::Sample) && has_two_steps,
            SSL_STATUS_INVALID_VALUE,
            "step_pointer",
        );
        self.count_faults(faults, i128::from(candidates.num_avoid), "avoid");
        self.count_faults(faults, i128::from(dims.sampled), "ids");
        self.count_faults(faults, i128::from(dims.classes), "learned_counts");
        if self.role(Labels).is_none() {
            return;
        }
        let [rows, num_true, classes, dim] =
            [batch.num_rows, dims.num_true, dims.classes, batch.dim].map(i128::from);
        faults.must_if(rows < 0, shape, "num_rows");
        self.count_faults(faults, rows * num_true, "");
        if self.kind == Kind::Sample {
            return;
        }
        faults.must_all(&self.size_faults());
        if [batch.num_rows, batch.dim, dims.sampled].into_iter().any(|size| size > HUGE) {
            faults.must(SSL_STATUS_WORKSPACE, "workspace");
            faults.may(shape, "");
        }
        let mut strides =
            vec![(batch.inputs_stride, rows, "inputs"), (batch.weights_stride, classes, "weights")];
        if self.kind.has_gradients() {
            let parameters = if self.is_sparse() { i128::from(gradients.row_capacity) } else { classes };
            if !gradients.d_inputs.is_null() {
                strides.push((gradients.d_inputs_stride, rows, "d_inputs"));
            }
            if !gradients.d_weights.is_null() {
                strides.push((gradients.d_weights_stride, parameters, "d_weights"));
            }
            if self.updates() && !self.step.update.weights_state.is_null() {
                strides.push((self.step.update.weights_state_stride, classes, "weights_state"));
            }
            if self.lists_rows() {
                let short = i128::from(gradients.row_capacity) < self.step.rows_needed(dims);
                faults.must_if(short, shape, "row_capacity");
                self.count_faults(faults, i128::from(gradients.row_capacity), "row_ids");
            }
        }
        for (stride, count, name) in strides {
            faults.must_if(stride != 0 && i128::from(stride) < dim, shape, name);
            let stride = i128::from(if stride == 0 { batch.dim } else { stride });
            self.count_faults(faults, count.max(1) * stride, name);
        }
    }

    /// So many elements must be countable; with room to spare it is the library's to say.
    fn count_faults(&self, faults: &mut Faults, count: i128, name: &'static str) {
        if count > MOST {
            faults.must(SSL_STATUS_SHAPE, name);
        } else if count > MOST / 128 {
            faults.may(SSL_STATUS_SHAPE, "");
        }
    }
}
