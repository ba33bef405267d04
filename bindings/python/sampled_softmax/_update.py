"""Optimizers whose step the library takes where it makes the gradient.

The formulas stand beside ``SSL_UPDATE_*`` in ``sampled_softmax.h``. What changes is the
caller's own memory, so that every array must be used as it lies: nothing is copied.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _abi
from ._arrays import Array, address
from ._call import Frame
from ._device import DeviceArray
from ._foreign import as_array
from ._place import Host, Place
from ._tensors import Tensors, loss_dtype


@dataclass(frozen=True)
class SGD:
    """``w -= learning_rate * g``, of the classes that have a gradient.

    Args:
        weight_decay: ``g`` is first increased by this many times ``w`` (weights only, not
            biases), as all of these optimizers do it: L2 regularization of the rows that
            are updated, not of the others.
    """

    learning_rate: float
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Adagrad:
    """``s += g ** 2; w -= learning_rate * g / (sqrt(s) + epsilon)``: ``torch.optim.Adagrad``.

    Args:
        weights_state: [C, d], zeros at first; float32, or float64 where the inputs are.
        biases_state: [C], where there are biases.
    """

    learning_rate: float
    weights_state: ArrayLike
    biases_state: ArrayLike | None = None
    epsilon: float = 1e-10
    weight_decay: float = 0.0


@dataclass(frozen=True)
class RowAdagrad:
    """`Adagrad` with one state a row, to which the mean of the row's ``g ** 2`` is added:
    FBGEMM's and TorchRec's row-wise Adagrad.

    Args:
        weights_state: [C], otherwise as in `Adagrad`, as is `biases_state`.
    """

    learning_rate: float
    weights_state: ArrayLike
    biases_state: ArrayLike | None = None
    epsilon: float = 1e-10
    weight_decay: float = 0.0


Update = SGD | Adagrad | RowAdagrad

_RULES = {SGD: _abi.SSL_UPDATE_SGD, Adagrad: _abi.SSL_UPDATE_ADAGRAD, RowAdagrad: _abi.SSL_UPDATE_ROW_ADAGRAD}


class Step(NamedTuple):
    """An update with its arrays checked."""

    update: Update
    weights_state: Array | None
    biases_state: Array | None

    def set_update(self, call: Frame, tensors: Tensors) -> int:
        """Fills the C struct and returns its address."""
        update = self.update
        call.fill_update(
            _RULES[type(update)],
            update.learning_rate,
            0,
            0.0 if isinstance(update, SGD) else update.epsilon,
            update.weight_decay,
            address(tensors.weights),
            address(tensors.biases),
            address(self.weights_state),
            0,
            address(self.biases_state),
        )
        return ctypes.addressof(call.update)


def check_update(update: Update, weights: ArrayLike, biases: ArrayLike | None, tensors: Tensors, place: Place) -> Step:
    """Raises TypeError and ValueError for what cannot be changed in place; `weights` and
    `biases` are as the caller passed them, `tensors` as the library will see them."""
    if type(update) not in _RULES:
        raise TypeError(f"update is a {type(update).__name__}; SGD, Adagrad or RowAdagrad is needed")
    _in_place("weights", weights, tensors.weights, place)
    if biases is not None and tensors.biases is not None:
        _in_place("biases", biases, tensors.biases, place)
    if isinstance(update, SGD):
        return Step(update, None, None)
    num_classes, dim = tensors.weights.shape
    by_rows = isinstance(update, RowAdagrad)
    shape = (num_classes,) if by_rows else (num_classes, dim)
    weights_state = _state("weights_state", update.weights_state, shape, loss_dtype(tensors.inputs), place)
    if (update.biases_state is None) != (tensors.biases is None):
        there, missing = ("biases", "biases_state") if update.biases_state is None else ("biases_state", "biases")
        raise ValueError(f"{there} is given, but {missing} is None")
    biases_state = None
    if update.biases_state is not None:
        biases_state = _state("biases_state", update.biases_state, (num_classes,), loss_dtype(tensors.inputs), place)
    return Step(update, weights_state, biases_state)


def _in_place(name: str, value: ArrayLike, used: Array, place: Place) -> None:
    """Refuses an array that is not the caller's own, writable memory where the call computes."""
    if not isinstance(value, (np.ndarray, DeviceArray)) and not hasattr(value, "__cuda_array_interface__"):
        raise TypeError(f"{name} is a {type(value).__name__}; an update needs a NumPy array or one on a CUDA device")
    given: Any = as_array(value)
    on_host = isinstance(given, np.ndarray)
    if on_host != isinstance(place, Host):
        where, there = ("is not", "computes") if on_host else ("is", "does not compute")
        raise ValueError(f"{name} {where} on a device, where the call {there}; an update copies nothing")
    writable = given.flags.writeable if on_host else not _read_only(value)
    if not writable:
        raise ValueError(f"{name} is read-only; an update writes it")
    if given.size and address(given) != address(used):
        raise ValueError(
            f"{name} has a layout or dtype that the library would need a copy of; an update copies nothing"
        )


def _read_only(value: Any) -> bool:
    return not isinstance(value, DeviceArray) and bool(value.__cuda_array_interface__["data"][1])


def _state(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], place: Place) -> Array:
    array: Any = as_array(value)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; {shape} is needed")
    if array.dtype != dtype:
        raise TypeError(f"{name} has dtype {array.dtype}; {dtype} is needed, as the loss has")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{name} is not contiguous")
    _in_place(name, value, array, place)
    return array  # type: ignore[no-any-return]
