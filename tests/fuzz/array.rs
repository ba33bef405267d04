//! The arrays of a call by name, and the memory they cover.

use sampled_softmax::abi::*;

/// The arrays of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Array {
    Inputs,
    Weights,
    Biases,
    Labels,
    SampleWeights,
    Ids,
    SampledCounts,
    TrueCounts,
    Avoid,
    NumTries,
    LearnedCounts,
    StepPointer,
    Loss,
    LogSumExp,
    DeviceStatus,
    GradOutput,
    DInputs,
    DWeights,
    DBiases,
    RowIds,
    NumRows,
    LearningRate,
    WeightsState,
    BiasesState,
}

use Array::*;

impl Array {
    pub const ALL: [Array; 24] = [
        Inputs,
        Weights,
        Biases,
        Labels,
        SampleWeights,
        Ids,
        SampledCounts,
        TrueCounts,
        Avoid,
        NumTries,
        LearnedCounts,
        StepPointer,
        Loss,
        LogSumExp,
        DeviceStatus,
        GradOutput,
        DInputs,
        DWeights,
        DBiases,
        RowIds,
        NumRows,
        LearningRate,
        WeightsState,
        BiasesState,
    ];

    /// The field that leads to it, as messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Inputs => "inputs",
            Weights => "weights",
            Biases => "biases",
            Labels => "labels",
            SampleWeights => "sample_weights",
            Ids => "ids",
            SampledCounts => "sampled_expected_count",
            TrueCounts => "true_expected_count",
            Avoid => "avoid",
            NumTries => "num_tries",
            LearnedCounts => "learned_counts",
            StepPointer => "step_pointer",
            Loss => "loss",
            LogSumExp => "log_sum_exp",
            DeviceStatus => "device_status",
            GradOutput => "grad_output",
            DInputs => "d_inputs",
            DWeights => "d_weights",
            DBiases => "d_biases",
            RowIds => "row_ids",
            NumRows => "num_rows",
            LearningRate => "learning_rate_pointer",
            WeightsState => "weights_state",
            BiasesState => "biases_state",
        }
    }
}

/// Bytes of an array: pieces of `row` bytes, `stride` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub rows: i128,
    pub row: i128,
    pub stride: i128,
    pub alignment: usize,
}

impl Extent {
    pub fn flat(count: i128, size: usize) -> Extent {
        Extent { rows: 1, row: count.max(0).saturating_mul(size as i128), stride: 0, alignment: size }
    }

    pub fn matrix(rows: i128, dim: i64, stride: i64, dtype: u32) -> Extent {
        let size = size_of_dtype(dtype);
        let stride = i128::from(stride.max(dim).max(0)) * size as i128;
        let row = i128::from(dim.max(0)) * size as i128;
        Extent { rows: rows.max(0), row, stride, alignment: size }
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0 || self.row == 0
    }

    /// From the first byte to the last.
    pub fn bytes(&self) -> i128 {
        if self.is_empty() { 0 } else { (self.rows - 1).saturating_mul(self.stride).saturating_add(self.row) }
    }
}

pub fn size_of_dtype(dtype: u32) -> usize {
    match dtype {
        SSL_DTYPE_FLOAT32 => 4,
        SSL_DTYPE_FLOAT16 | SSL_DTYPE_BFLOAT16 => 2,
        _ => 8,
    }
}
