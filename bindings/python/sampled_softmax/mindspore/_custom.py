"""The compiled operators as MindSpore primitives, their shapes and dtypes checked.

The checks stand in the functions that MindSpore infers shapes with: they run when a graph
is compiled and before an operator is, in either mode.
"""

from __future__ import annotations

import struct
import threading
from pathlib import Path
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from .. import _abi
from .._compile import Adapter, adapter_path, load_adapter

_lock = threading.Lock()
_bound: Path | None = None

_FLOATS = (ms.float32, ms.float16, ms.bfloat16, ms.float64)


class Settings(NamedTuple):
    """What an operator is asked for, in the order of the adapter's enum."""

    num_classes: int
    num_sampled: int
    sampler: int
    unique: bool
    exclude_labels: bool
    seed: int
    rank: int
    remove_accidental_hits: bool
    reduction: int
    probability_floor: float
    has_ignore_index: bool
    ignore_index: int
    has_biases: bool
    num_threads: int

    def tensor(self) -> Tensor:
        """Int64: unsigned numbers and the floor by their bits."""
        (floor,) = struct.unpack("=q", struct.pack("=d", self.probability_floor))
        numbers = [int(number) for number in self._replace(probability_floor=floor)]
        return Tensor(np.array([n - 2**64 if n >= 2**63 else n for n in numbers], np.int64))


def build(rebuild: bool = False) -> Path:
    """Compiles the operators, unless the cache has them.

    Returns the path of the compiled file. Raises `BuildError` without a C++ compiler
    or where compiling fails.
    """
    adapter = Adapter(
        framework="mindspore",
        # The operators use nothing of MindSpore but its calling convention.
        version=ms.__version__,
        source="sampled_softmax.cc",
        language="c++",
        compile_flags=("-std=c++17",),
        link_flags=(),
    )
    return adapter_path(adapter, rebuild=rebuild)


def library() -> Path:
    """The compiled operators, bound to the shared library at the first call. Raises
    RuntimeError on a device that they do not run on."""
    global _bound
    target = ms.get_context("device_target")
    if target != "CPU":
        raise RuntimeError(f"sampled_softmax.mindspore runs with device_target='CPU'; it is {target!r}")
    with _lock:
        if _bound is None:
            path = build()
            load_adapter(path)
            _bound = path
        return _bound


def sample_op(settings: Settings, num_true: int) -> Any:
    """labels [N, T], step [], settings -> ids [S], expected counts [N, T] and [S]."""

    def shapes(labels: Any, _step: Any, _settings: Any) -> Any:
        _check_labels(labels, None, num_true)
        return (settings.num_sampled,), labels, (settings.num_sampled,)

    def dtypes(labels: Any, _step: Any, _settings: Any) -> Any:
        _check_label_dtype(_element(labels))
        return ms.int64, ms.float32, ms.float32

    return _distinct(ops.Custom(f"{library()}:SampledSoftmaxSample", shapes, dtypes, "aot"), settings, num_true)


def forward_op(settings: Settings, num_true: int) -> Any:
    """inputs, weights, biases, labels, ids, true and sampled counts, settings -> loss [N]
    or [1], log_sum_exp [N]; with its gradient."""
    backward = _backward_op(settings, num_true)

    def bprop(
        inputs: Any, weights: Any, biases: Any, labels: Any, ids: Any, true: Any, sampled: Any, settings: Any,
        out: Any, dout: Any,
    ) -> Any:  # fmt: skip
        d_inputs, d_weights, d_biases = backward(
            dout[0], inputs, weights, biases, labels, ids, true, sampled, settings, out[1]
        )
        return (
            d_inputs, d_weights, d_biases, ops.zeros_like(labels), ops.zeros_like(ids), ops.zeros_like(true),
            ops.zeros_like(sampled), ops.zeros_like(settings),
        )  # fmt: skip

    shapes, dtypes = _loss_shapes(settings, num_true), _loss_dtypes
    forward = ops.Custom(f"{library()}:SampledSoftmaxForward", shapes, dtypes, "aot", bprop=bprop)
    return _distinct(forward, settings, num_true)


def draw_forward_op(settings: Settings, num_true: int) -> Any:
    """inputs, weights, biases, labels, step [], settings -> loss, log_sum_exp, ids [S],
    expected counts [N, T] and [S]; with its gradient."""
    backward = _backward_op(settings, num_true)
    loss_shapes = _loss_shapes(settings, num_true)

    def shapes(inputs: Any, weights: Any, biases: Any, labels: Any, *_: Any) -> Any:
        loss, rows = loss_shapes(inputs, weights, biases, labels)
        return loss, rows, (settings.num_sampled,), labels, (settings.num_sampled,)

    def dtypes(inputs: Any, weights: Any, biases: Any, labels: Any, *_: Any) -> Any:
        loss, rows = _loss_dtypes(inputs, weights, biases, labels)
        return loss, rows, ms.int64, loss, loss

    def bprop(
        inputs: Any, weights: Any, biases: Any, labels: Any, step: Any, settings: Any, out: Any, dout: Any
    ) -> Any:
        d_inputs, d_weights, d_biases = backward(
            dout[0], inputs, weights, biases, labels, out[2], out[3], out[4], settings, out[1]
        )
        return d_inputs, d_weights, d_biases, ops.zeros_like(labels), ops.zeros_like(step), ops.zeros_like(settings)

    forward = ops.Custom(f"{library()}:SampledSoftmaxDrawForward", shapes, dtypes, "aot", bprop=bprop)
    return _distinct(forward, settings, num_true)


def _backward_op(settings: Settings, num_true: int) -> Any:
    """Gradients of inputs, weights and biases, each like what it belongs to."""

    def shapes(_upstream: Any, inputs: Any, weights: Any, biases: Any, *_: Any) -> Any:
        return inputs, weights, biases

    def dtypes(_upstream: Any, inputs: Any, weights: Any, biases: Any, *_: Any) -> Any:
        return _element(inputs), _element(weights), _element(biases)

    def bprop(*_: Any) -> Any:
        raise RuntimeError("the second derivative of SampledSoftmaxLoss is not defined")

    backward = ops.Custom(f"{library()}:SampledSoftmaxBackward", shapes, dtypes, "aot", bprop=bprop)
    return _distinct(backward, settings, num_true)


def _loss_shapes(settings: Settings, num_true: int) -> Any:
    reduced = settings.reduction != _abi.SSL_REDUCTION_NONE

    def shapes(inputs: Any, weights: Any, biases: Any, labels: Any, *_: Any) -> Any:
        _check_shapes(settings, num_true, inputs, weights, biases, labels)
        return (1,) if reduced else (inputs[0],), (inputs[0],)

    return shapes


def _loss_dtypes(inputs: Any, weights: Any, biases: Any, labels: Any, *_: Any) -> Any:
    _check_dtypes(_element(inputs), _element(weights), _element(biases))
    _check_label_dtype(_element(labels))
    return ms.float64 if _element(inputs) == ms.float64 else ms.float32, ms.float64


def _distinct(op: Any, *what: Any) -> Any:
    """The primitive, told apart from others of its function: MindSpore keeps inferred
    shapes by a primitive's attributes, and the functions that infer them are none."""
    op.add_prim_attr("sampled_softmax", repr(what))
    return op


def _element(dtype: Any) -> Any:
    """Of a tensor's type its elements': PYNATIVE_MODE gives the one, GRAPH_MODE the other."""
    return dtype.element_type() if hasattr(dtype, "element_type") else dtype


def _known(number: int) -> bool:
    """Whether a dimension is known; MindSpore has -1 and -2 for those that are not."""
    return number >= 0


def _agree(shape: Any, wanted: tuple[int, ...]) -> bool:
    """Whether a shape is the wanted one as far as both are known."""
    if any(not _known(number) for number in shape) and len(shape) != len(wanted):
        return True
    return len(shape) == len(wanted) and all(
        have == want or not _known(have) or not _known(want) for have, want in zip(shape, wanted, strict=True)
    )


def _check_shapes(settings: Settings, num_true: int, inputs: Any, weights: Any, biases: Any, labels: Any) -> None:
    if not _agree(inputs, (-1, -1)) or (len(inputs) == 2 and inputs[1] == 0):
        raise ValueError(f"logits has shape {tuple(inputs)}; (N, d) is needed")
    dim = inputs[1] if len(inputs) == 2 else -1
    if not _agree(weights, (settings.num_classes, dim)):
        raise ValueError(
            f"weights has shape {tuple(weights)}; ({settings.num_classes}, {dim}) is needed, "
            f"from num_classes = {settings.num_classes} and logits of shape {tuple(inputs)}"
        )
    if settings.has_biases and not _agree(biases, (settings.num_classes,)):
        raise ValueError(f"biases has shape {tuple(biases)}; ({settings.num_classes},) is needed")
    _check_labels(labels, inputs[0], num_true)


def _check_labels(labels: Any, num_rows: int | None, num_true: int) -> None:
    if not _agree(labels, (-1 if num_rows is None else num_rows, num_true)):
        rows = "N" if num_rows is None else num_rows
        raise ValueError(f"labels has shape {tuple(labels)}; ({rows}, num_true) = ({rows}, {num_true}) is needed")


def _check_dtypes(inputs: Any, weights: Any, biases: Any) -> None:
    named = {"logits": inputs, "weights": weights, "biases": biases}
    for name, dtype in named.items():
        if dtype not in _FLOATS:
            raise TypeError(f"{name} has dtype {dtype}; float32, float16, bfloat16 or float64 is needed")
    if len({dtype == ms.float64 for dtype in named.values()}) > 1:
        raise TypeError(f"logits is {inputs}, weights is {weights}, biases is {biases}: float64 is for all or none")


def _check_label_dtype(labels: Any) -> None:
    if labels not in (ms.int32, ms.int64):
        raise TypeError(f"labels has dtype {labels}; int32 or int64 is needed")
