"""The compiled ops, and the gradient of forward."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import tensorflow as tf

from .._compile import Adapter, adapter_path, load_adapter

_lock = threading.Lock()
_loaded: Any = None

# Attributes that forward and backward share, for the gradient to pass on.
_SHARED_ATTRIBUTES = (
    "remove_accidental_hits",
    "reduction",
    "probability_floor",
    "has_ignore_index",
    "ignore_index",
    "num_threads",
)


def build(rebuild: bool = False) -> Path:
    """Compiles the ops for the installed TensorFlow, unless the cache has them.

    Returns the path of the compiled file. Raises `BuildError` without a C++ compiler
    or where compiling fails.
    """
    adapter = Adapter(
        framework="tensorflow",
        version=tf.__version__,
        source="sampled_softmax.cc",
        language="c++",
        # Warnings of TensorFlow's headers are nothing a user can act on.
        compile_flags=("-w", *tf.sysconfig.get_compile_flags()),
        link_flags=tuple(tf.sysconfig.get_link_flags()),
    )
    return adapter_path(adapter, rebuild=rebuild)


def ops() -> Any:
    """The module of the ops, compiled and loaded at the first call."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                path = build()
                module = tf.load_op_library(str(path))
                load_adapter(path)
                _loaded = module
    return _loaded


@tf.RegisterGradient("SampledSoftmaxForward")
def _forward_gradient(op: Any, grad_output: Any, _: Any) -> list[Any]:
    """Of inputs dense, of weights and biases as slices of the rows that were reached."""
    num_biases = op.get_attr("num_biases")
    num_sample_weights = op.get_attr("num_sample_weights")
    inputs, weights, *rest = op.inputs
    biases, rest = rest[:num_biases], rest[num_biases:]
    labels, ids, true_counts, sampled_counts, *sample_weights = rest
    d_inputs, d_weights, d_biases, row_ids = ops().sampled_softmax_backward(
        grad_output=tf.convert_to_tensor(grad_output),
        inputs=inputs,
        weights=weights,
        biases=biases,
        labels=labels,
        ids=ids,
        true_expected_count=true_counts,
        sampled_expected_count=sampled_counts,
        sample_weights=sample_weights,
        log_sum_exp=op.outputs[1],
        **{name: op.get_attr(name) for name in _SHARED_ATTRIBUTES},
    )
    sparse = [tf.IndexedSlices(d_weights, row_ids, tf.shape(weights, out_type=tf.int64))]
    for bias, values in zip(biases, d_biases, strict=True):
        sparse.append(tf.IndexedSlices(values, row_ids, tf.shape(bias, out_type=tf.int64)))
    return [d_inputs, *sparse, None, None, None, None, *[None] * num_sample_weights]


@tf.RegisterGradient("SampledSoftmaxGather")
def _gather_gradient(op: Any, *upstream: Any) -> list[Any]:
    """Of the variables: the gradients of the rows that were taken, under the classes' own ids."""
    num_biases = op.get_attr("num_biases")
    rows = op.outputs[1 + num_biases]
    gradients: list[Any] = []
    for handle, gradient in zip(op.inputs[: 1 + num_biases], upstream, strict=False):
        if gradient is None:
            gradients.append(None)
            continue
        if not isinstance(gradient, tf.IndexedSlices):
            count = tf.math.count_nonzero(rows >= 0)
            gradient = tf.IndexedSlices(gradient[:count], tf.range(count))
        shape = tf.raw_ops.VariableShape(input=handle, out_type=tf.int64)
        gradients.append(tf.IndexedSlices(gradient.values, tf.gather(rows, gradient.indices), shape))
    return [*gradients, None, None]


@tf.RegisterGradient("SampledSoftmaxBackward")
def _backward_gradient(op: Any, *_: Any) -> None:
    raise LookupError(
        f"{op.type}: the second derivative of sampled_softmax_loss with respect to inputs, weights or biases "
        f"is not defined"
    )


tf.no_gradient("SampledSoftmaxSample")
tf.no_gradient("SampledSoftmaxNextStep")
