"""Gradients of a loss: their public form, and the arrays the library writes them into."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _abi
from ._arrays import FLOATS, Array, address, cast_floats, host
from ._call import Frame
from ._place import Place
from ._tensors import Tensors, loss_dtype
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
    rows: Array | None
    """Room for the classes of all rows that there can be, and behind it for their number, in
    int64; None: dense or updated."""
    step: Step | None = None

    def set_gradients(self, call: Frame, tensors: Tensors) -> None:
        """Fills the C struct."""
        layout, capacity, row_ids, num_rows, update = _abi.SSL_GRADIENTS_SPARSE, 0, 0, 0, 0
        if self.rows is not None:
            capacity, row_ids = self.rows.size - 1, address(self.rows)
            num_rows = row_ids + 8 * capacity
        elif self.step is not None:
            layout, update = _abi.SSL_GRADIENTS_UPDATE, self.step.set_update(call, tensors)
        else:
            layout = _abi.SSL_GRADIENTS_DENSE
        call.fill_gradients(
            layout,
            FLOATS[tensors.inputs.dtype],
            FLOATS[tensors.weights.dtype],
            0 if tensors.biases is None else FLOATS[tensors.biases.dtype],
            0,
            address(self.grad_output),
            address(self.d_inputs),
            0,
            address(self.d_weights),
            0,
            address(self.d_biases),
            row_ids,
            num_rows,
            capacity,
            update,
        )

    def result(self, place: Place) -> Gradients:
        """The public form, once the library is done."""
        inputs = place.give(self.d_inputs)
        if self.d_weights is None:
            return Gradients(inputs, None, None)
        if self.rows is None:
            biases = None if self.d_biases is None else place.give(self.d_biases)
            return Gradients(inputs, place.give(self.d_weights), biases)
        written = int(host(self.rows[-1:])[0])
        indices = place.give(self.rows[:written])
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
        upstream = cast_floats("grad_output", grad_output, loss_dtype(tensors.inputs), loss_shape)
        upstream = place.take("grad_output", upstream)
    inputs, weights, biases = tensors.inputs, tensors.weights, tensors.biases
    d_inputs = place.empty(inputs.shape, inputs.dtype)
    if step is not None:
        return Outputs(upstream, d_inputs, None, None, None, step)
    if dense:
        d_biases = None if biases is None else place.zeros(biases.shape, biases.dtype)
        return Outputs(upstream, d_inputs, place.zeros(weights.shape, weights.dtype), d_biases, None)
    num_classes, dim = weights.shape
    capacity = min(num_classes, num_sampled + tensors.labels.size)
    d_weights = place.empty((capacity, dim), weights.dtype)
    d_biases = None if biases is None else place.empty((capacity,), biases.dtype)
    return Outputs(upstream, d_inputs, d_weights, d_biases, place.empty((capacity + 1,), np.int64))
