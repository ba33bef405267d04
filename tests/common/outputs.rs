//! What calls write.

use sampled_softmax::abi::SSL_GRADIENTS_SPARSE;

use super::{Buffer, Case, F64};

/// Every output, compared bit for bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    pub loss: Buffer,
    pub log_sum_exp: Buffer,
    pub d_inputs: Buffer,
    pub d_weights: Buffer,
    pub d_biases: Buffer,
    pub row_ids: Vec<i64>,
    pub num_rows: i64,
    pub ids: Vec<i64>,
    pub sampled_expected_count: Buffer,
    pub true_expected_count: Buffer,
    pub num_tries: i64,
    pub device_status: u32,
}

impl Outputs {
    /// As they are before any call.
    pub fn new(case: &Case) -> Self {
        let (types, gap) = (case.types, case.gaps.d_weights);
        let capacity = case.row_capacity();
        let (d_weights, d_biases) = match case.layout {
            SSL_GRADIENTS_SPARSE => (
                Buffer::untouched_rows(types.d_weights, capacity, case.dim, gap),
                Buffer::untouched(types.d_biases, capacity),
            ),
            _ => (
                Buffer::rows(types.d_weights, &earlier(case.classes * case.dim), case.dim, gap),
                Buffer::new(types.d_biases, &earlier(case.classes)),
            ),
        };
        Outputs {
            loss: Buffer::untouched(types.loss(), case.loss_len()),
            log_sum_exp: Buffer::untouched(F64, case.rows),
            d_inputs: Buffer::untouched_rows(types.d_inputs, case.rows, case.dim, case.gaps.d_inputs),
            d_weights,
            d_biases,
            row_ids: vec![i64::MIN; capacity],
            num_rows: i64::MIN,
            ids: case.ids.clone(),
            sampled_expected_count: Buffer::new(types.counts, &case.sampled_expected_count),
            true_expected_count: Buffer::new(types.counts, &case.true_expected_count),
            num_tries: i64::MIN,
            device_status: u32::MAX,
        }
    }
}

/// What a dense gradient holds before it is added into; exact in every dtype.
pub fn earlier(count: usize) -> Vec<f64> {
    (0..count).map(|index| (index % 5) as f64 * 0.25 - 0.5).collect()
}
