"""The arrays a loss is computed of, checked against one another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import FLOATS, LABELS, Array, address, cast_floats, floats, labels, row_stride, rows
from ._call import Frame

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)


def loss_dtype(inputs: Array) -> np.dtype[Any]:
    """float64 where the inputs are, else float32."""
    return _FLOAT64 if inputs.dtype == _FLOAT64 else _FLOAT32


class Tensors(NamedTuple):
    """What ``ssl_batch`` points to; keep it alive until the library has returned."""

    inputs: Array
    weights: Array
    biases: Array | None
    labels: Array
    sample_weights: Array | None

    def set_batch(self, call: Frame, ignore_index: int | None) -> None:
        """Fills the C struct."""
        inputs, weights, biases, labels, sample_weights = self
        num_rows, dim = inputs.shape
        call.fill_batch(
            FLOATS[inputs.dtype],
            FLOATS[weights.dtype],
            0 if biases is None else FLOATS[biases.dtype],
            LABELS[labels.dtype],
            ignore_index is not None,
            num_rows,
            dim,
            address(inputs),
            row_stride(inputs),
            address(weights),
            row_stride(weights),
            address(biases),
            address(labels),
            ignore_index or 0,
            address(sample_weights),
        )


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
    inputs, weights = rows("inputs", inputs), rows("weights", weights)
    num_rows, dim = inputs.shape
    if weights.shape != (num_classes, dim):
        raise ValueError(
            f"weights has shape {weights.shape}; ({num_classes}, {dim}) is needed, "
            f"from num_classes = {num_classes} and inputs of shape {inputs.shape}"
        )
    true = labels("labels", true, num_true)
    if true.shape[0] != num_rows:
        raise ValueError(f"labels has {true.shape[0]} rows, but inputs has {num_rows}")
    dtypes = {inputs.dtype, weights.dtype}
    if biases is not None:
        biases = floats("biases", biases, num_classes)
        dtypes.add(biases.dtype)
    if _FLOAT64 in dtypes and len(dtypes) > 1:
        _refuse_half_double(inputs, weights, biases)
    if sample_weights is not None:
        sample_weights = cast_floats("sample_weights", sample_weights, loss_dtype(inputs), (num_rows,))
    return Tensors(inputs, weights, biases, true, sample_weights)


def _refuse_half_double(inputs: Array, weights: Array, biases: Array | None) -> None:
    dtypes = f"inputs is {inputs.dtype}, weights is {weights.dtype}"
    if biases is not None:
        dtypes += f", biases is {biases.dtype}"
    raise TypeError(f"{dtypes}: float64 is for all of them or none")
