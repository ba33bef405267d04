"""Tensors of a loss, checked against one another as far as their shapes are known.

What a graph does not know when it is traced is checked by the ops when it runs, and is
an InvalidArgumentError there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import BaseResourceVariable

_FLOATS = (tf.float32, tf.float16, tf.bfloat16, tf.float64)
_NARROW = (tf.int8, tf.uint8, tf.int16, tf.uint16)


class Tensors(NamedTuple):
    """Ready for the ops."""

    inputs: tf.Tensor
    weights: tf.Tensor | tf.Variable
    """A variable is left as it is only where its rows can be taken in place."""
    biases: list[tf.Tensor | tf.Variable]
    """One, or none; variables if and only if `weights` is one."""
    labels: tf.Tensor
    sample_weights: list[tf.Tensor]
    """One, or none."""

    @property
    def counts_dtype(self) -> tf.DType:
        """Of expected counts that are drawn for these, and of the loss."""
        return tf.float64 if self.inputs.dtype == tf.float64 else tf.float32


def tensors_of(
    weights: Any, biases: Any, labels: Any, inputs: Any, sample_weights: Any, num_classes: int, num_true: int
) -> Tensors:
    """weights [C, d] or a list of its parts, biases [C] or None, labels [N, T], inputs
    [N, d], sample_weights [N] or None. Raises ValueError (shapes), TypeError (dtypes)."""
    if isinstance(weights, (list, tuple)) and weights and _rank(weights[0]) == 2:
        # TensorFlow's partitioned weights, in the order it deals them out ("div").
        weights = tf.concat([tf.convert_to_tensor(part) for part in weights], axis=0)
    rows = _floats("inputs", inputs, (None, None))
    num_rows, dim = rows.shape
    in_place = _on_the_cpu(weights) and (biases is None or _on_the_cpu(biases))
    parameter = _variable if in_place else _floats
    matrix = parameter("weights", weights, (num_classes, dim))
    vectors = [] if biases is None else [parameter("biases", biases, (num_classes,))]
    classes = labels_of("labels", labels, num_true, num_rows)
    named = dict(zip(("inputs", "weights", "biases"), (rows, matrix, *vectors), strict=False))
    if len({tensor.dtype == tf.float64 for tensor in named.values()}) > 1:
        dtypes = ", ".join(f"{name} is {tensor.dtype.name}" for name, tensor in named.items())
        raise TypeError(f"{dtypes}: float64 is for all of them or none")
    tensors = Tensors(rows, matrix, vectors, classes, [])
    if sample_weights is None:
        return tensors
    scale = real("sample_weights", sample_weights, tensors.counts_dtype, (num_rows,))
    return tensors._replace(sample_weights=[scale])


def labels_of(name: str, value: Any, num_true: int, num_rows: int | None = None) -> tf.Tensor:
    """[N, num_true] integers as int32 or int64; [N] is taken as [N, 1] if num_true is 1."""
    tensor = tf.convert_to_tensor(value, name=name)
    if not tensor.dtype.is_integer:
        raise TypeError(f"{name} has dtype {tensor.dtype.name}; integers are needed")
    if tensor.dtype not in (tf.int32, tf.int64):
        tensor = tf.cast(tensor, tf.int32 if tensor.dtype in _NARROW else tf.int64)
    if tensor.shape.rank == 1 and num_true == 1:
        tensor = tf.expand_dims(tensor, 1)
    if not tensor.shape.is_compatible_with((num_rows, num_true)):
        if tensor.shape.rank == 2 and tensor.shape[1] in (num_true, None):
            raise ValueError(f"{name} has {tensor.shape[0]} rows, but inputs has {num_rows}")
        raise ValueError(
            f"{name} has shape {tensor.shape}; num_true = {num_true} columns are needed, or a vector if num_true is 1"
        )
    return tf.ensure_shape(tensor, (num_rows, num_true))


def real(name: str, value: Any, dtype: tf.DType, shape: tuple[int | None, ...]) -> tf.Tensor:
    """Real numbers of any dtype as a tensor of `dtype`."""
    tensor = tf.convert_to_tensor(value, name=name)
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer):
        raise TypeError(f"{name} has dtype {tensor.dtype.name}; real numbers are needed")
    return tf.cast(_shaped(name, tensor, shape), dtype)


def _floats(name: str, value: Any, shape: tuple[int | None, ...]) -> tf.Tensor:
    tensor = tf.convert_to_tensor(value, name=name)
    if tensor.dtype not in _FLOATS:
        raise TypeError(f"{name} has dtype {tensor.dtype.name}; float32, float16, bfloat16 or float64 is needed")
    return _shaped(name, tensor, shape)


def _variable(name: str, variable: tf.Variable, shape: tuple[int | None, ...]) -> tf.Variable:
    if variable.dtype not in _FLOATS:
        raise TypeError(f"{name} has dtype {variable.dtype.name}; float32, float16, bfloat16 or float64 is needed")
    if not variable.shape.is_compatible_with(shape):
        raise ValueError(f"{name} has shape {variable.shape}; {tf.TensorShape(shape)} is needed")
    return variable


def _on_the_cpu(value: Any) -> bool:
    """Whether this is one variable in host memory, and no replica of one: the kernel that
    takes rows of a variable in place is the CPU's."""
    return isinstance(value, BaseResourceVariable) and "CPU:" in (value.device or "").upper()


def _shaped(name: str, tensor: tf.Tensor, shape: tuple[int | None, ...]) -> tf.Tensor:
    if not tensor.shape.is_compatible_with(shape):
        raise ValueError(f"{name} has shape {tensor.shape}; {tf.TensorShape(shape)} is needed")
    return tf.ensure_shape(tensor, shape) if tensor.shape.rank is None else tensor


def _rank(value: Any) -> int | None:
    shape = getattr(value, "shape", None)
    return None if shape is None else tf.TensorShape(shape).rank
