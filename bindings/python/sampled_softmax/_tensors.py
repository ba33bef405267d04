"""The arrays a loss is computed of, checked against one another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _abi
from ._arrays import Array, Rows, address, cast_floats, floats, label_dtype, labels, rows

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)


class Tensors(NamedTuple):
    """What ``ssl_batch`` points to; keep it alive until the library has returned."""

    inputs: Rows
    weights: Rows
    biases: Array | None
    biases_dtype: int
    labels: Array
    sample_weights: Array | None
    dtype: np.dtype[Any]
    """Of the loss: float64 where the inputs are, else float32."""

    def set_batch(self, batch: _abi.ssl_batch, ignore_index: int | None) -> None:
        """Fills the C struct."""
        inputs, weights = self.inputs, self.weights
        batch.num_rows, batch.dim = inputs.array.shape
        batch.inputs_dtype = inputs.dtype
        batch.inputs = address(inputs.array)
        batch.inputs_stride = inputs.stride
        batch.weights_dtype = weights.dtype
        batch.weights = address(weights.array)
        batch.weights_stride = weights.stride
        batch.biases_dtype = self.biases_dtype
        batch.biases = None if self.biases is None else address(self.biases)
        batch.labels_dtype = label_dtype(self.labels)
        batch.labels = address(self.labels)
        batch.has_ignore_index = ignore_index is not None
        batch.ignore_index = ignore_index or 0
        batch.sample_weights = None if self.sample_weights is None else address(self.sample_weights)


def check_tensors(
    weights: ArrayLike,
    biases: ArrayLike | None,
    true: ArrayLike,
    inputs: ArrayLike,
    num_classes: int,
    num_true: int,
    sample_weights: ArrayLike | None,
) -> Tensors:
    """weights [C, d], biases [C] or None, true [N, T], inputs [N, d], sample_weights
    [N] or None. Raises ValueError (shapes) and TypeError (dtypes)."""
    checked_inputs = rows("inputs", inputs)
    checked_weights = rows("weights", weights)
    num_rows, dim = checked_inputs.array.shape
    if checked_weights.array.shape != (num_classes, dim):
        raise ValueError(
            f"weights has shape {checked_weights.array.shape}; ({num_classes}, {dim}) is needed, "
            f"from num_classes = {num_classes} and inputs of shape {checked_inputs.array.shape}"
        )
    checked_labels = labels("labels", true, num_true)
    if checked_labels.shape[0] != num_rows:
        raise ValueError(f"labels has {checked_labels.shape[0]} rows, but inputs has {num_rows}")
    checked_biases, biases_dtype = (None, 0) if biases is None else floats("biases", biases, num_classes)

    double = checked_inputs.dtype == _abi.SSL_DTYPE_FLOAT64
    others = (checked_weights.dtype,) if checked_biases is None else (checked_weights.dtype, biases_dtype)
    for other in others:
        if (other == _abi.SSL_DTYPE_FLOAT64) != double:
            _refuse_half_double(checked_inputs.array, checked_weights.array, checked_biases)
    dtype = _FLOAT64 if double else _FLOAT32
    if sample_weights is not None:
        sample_weights = cast_floats("sample_weights", sample_weights, dtype, (num_rows,))
    return Tensors(checked_inputs, checked_weights, checked_biases, biases_dtype, checked_labels, sample_weights, dtype)


def _refuse_half_double(inputs: Array, weights: Array, biases: Array | None) -> None:
    dtypes = f"inputs is {inputs.dtype}, weights is {weights.dtype}"
    if biases is not None:
        dtypes += f", biases is {biases.dtype}"
    raise TypeError(f"{dtypes}: float64 is for all of them or none")
