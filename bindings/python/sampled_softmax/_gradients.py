"""Gradients of a loss: their public form, and the arrays the library writes them into."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _abi
from ._arrays import Array, address, cast_floats, host
from ._call import Frame
from ._place import Place
from ._tensors import Tensors
from ._update import Step


class RowSparse(NamedTuple):
    """A gradient of which only some rows were reached; all others are zero."""

    indices: NDArray[np.int64]
    """[U], ascending, each once: the classes."""
    values: Array
    """[U, d] of weights, [U] of biases: the summed gradient of each."""


class Gradients(NamedTuple):
    """Gradients, each in the dtype of the array it belongs to."""

    inputs: Array
    """[N, d]."""
    weights: RowSparse | Array | None
    """Of [C, d]: row-sparse, or dense on request; None after an update."""
    biases: RowSparse | Array | None
    """Of [C], in the form of `weights` and with its indices; None without biases, too."""


class Outputs(NamedTuple):
    """Room for the gradients of one call."""

    grad_output: Array | None
    d_inputs: Array
    d_weights: Array | None
    """None: updated."""
    d_biases: Array | None
    row_ids: Array | None
    """None: dense or updated."""
    num_rows: Array | None
    """[1] int64: how many rows the library wrote; None: dense or updated."""
    step: Step | None = None

    def set_gradients(self, call: Frame, tensors: Tensors) -> None:
        """Fills the C struct."""
        gradients = call.gradients
        gradients.grad_output = None if self.grad_output is None else address(self.grad_output)
        gradients.d_inputs_dtype = tensors.inputs.dtype
        gradients.d_inputs = address(self.d_inputs)
        gradients.d_weights_dtype = tensors.weights.dtype
        gradients.d_weights = None if self.d_weights is None else address(self.d_weights)
        gradients.d_biases_dtype = tensors.biases_dtype
        gradients.d_biases = None if self.d_biases is None else address(self.d_biases)
        gradients.update = None
        if self.row_ids is None:
            gradients.layout = _abi.SSL_GRADIENTS_DENSE
            gradients.row_ids = gradients.num_rows = None
            gradients.row_capacity = 0
            if self.step is not None:
                gradients.layout = _abi.SSL_GRADIENTS_UPDATE
                self.step.set_update(call, tensors)
        else:
            gradients.layout = _abi.SSL_GRADIENTS_SPARSE
            gradients.row_ids = address(self.row_ids)
            gradients.num_rows = address(self.num_rows)
            gradients.row_capacity = self.row_ids.size

    def result(self, place: Place) -> Gradients:
        """The public form, once the library is done."""
        inputs = place.give(self.d_inputs)
        if self.d_weights is None:
            return Gradients(inputs, None, None)
        if self.row_ids is None or self.num_rows is None:
            biases = None if self.d_biases is None else place.give(self.d_biases)
            return Gradients(inputs, place.give(self.d_weights), biases)
        written = int(host(self.num_rows)[0])
        indices = place.give(self.row_ids[:written])
        weights = RowSparse(indices, place.give(self.d_weights[:written]))
        biases = None if self.d_biases is None else RowSparse(indices, place.give(self.d_biases[:written]))
        return Gradients(inputs, weights, biases)


def make_outputs(
    tensors: Tensors,
    num_sampled: int,
    grad_output: ArrayLike | None,
    loss_shape: tuple[int, ...],
    dense: bool,
    step: Step | None,
    place: Place,
) -> Outputs:
    """Arrays for the gradients of a loss of `loss_shape`, of which `grad_output` is the
    upstream gradient (None: ones)."""
    upstream = None
    if grad_output is not None:
        upstream = place.take("grad_output", cast_floats("grad_output", grad_output, tensors.dtype, loss_shape))
    weights, biases = tensors.weights.array, tensors.biases
    d_inputs = place.empty(tensors.inputs.array.shape, tensors.inputs.array.dtype)
    if step is not None:
        return Outputs(upstream, d_inputs, None, None, None, None, step)
    if dense:
        d_biases = None if biases is None else place.zeros(biases.shape, biases.dtype)
        return Outputs(upstream, d_inputs, place.zeros(weights.shape, weights.dtype), d_biases, None, None)
    num_classes, dim = weights.shape
    capacity = min(num_classes, num_sampled + tensors.labels.size)
    d_weights = place.empty((capacity, dim), weights.dtype)
    d_biases = None if biases is None else place.empty((capacity,), biases.dtype)
    row_ids, num_rows = place.empty((capacity,), np.int64), place.empty((1,), np.int64)
    return Outputs(upstream, d_inputs, d_weights, d_biases, row_ids, num_rows)
