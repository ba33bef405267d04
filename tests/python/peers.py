"""The peers: imported quietly, counted as not run where they are absent, and called."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

import numpy as np
from conftest import absent
from numpy.typing import NDArray
from peer_cases import Case


def import_tensorflow() -> ModuleType:
    """TensorFlow, on the CPU and without its greeting."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return _import_peer("tensorflow")


def import_mindspore() -> ModuleType:
    """MindSpore, its warnings of deprecation and of clipped arguments left out."""
    os.environ.setdefault("GLOG_v", "3")
    return _import_peer("mindspore")


def _import_peer(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        absent(f"{name} is not installed")


def mindspore_loss(
    ms: ModuleType, case: Case, *, remove_accidental_hits: bool = True, seed: int = 0
) -> NDArray[np.float32]:
    """The loss [N] of `nn.SampledSoftmaxLoss` with the case's candidates."""
    net = _mindspore_net(ms, case, remove_accidental_hits, seed)
    arrays = (case.weights, case.biases, case.labels, case.inputs)
    return net(*map(ms.Tensor, arrays)).asnumpy()


def mindspore_value_and_grad(
    ms: ModuleType, case: Case, net: Any = None
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """The same loss, or that of `net`, and (d_weights, d_biases, d_inputs) for the case's
    upstream gradient."""
    if net is None:
        net = _mindspore_net(ms, case, remove_accidental_hits=True, seed=0)
    labels = ms.Tensor(case.labels)

    def loss(weights: Any, biases: Any, inputs: Any) -> Any:
        return net(weights, biases, labels, inputs)

    gradient = ms.ops.GradOperation(get_all=True, sens_param=True)(loss)
    tensors = [ms.Tensor(array) for array in (case.weights, case.biases, case.inputs)]
    gradients = gradient(*tensors, ms.Tensor(case.grad_output))
    return loss(*tensors).asnumpy(), [tensor.asnumpy() for tensor in gradients]


def _mindspore_net(ms: ModuleType, case: Case, remove_accidental_hits: bool, seed: int) -> Any:
    return ms.nn.SampledSoftmaxLoss(
        case.num_sampled,
        case.num_classes,
        case.num_true,
        tuple(map(ms.Tensor, case.sampled_values)),
        remove_accidental_hits,
        seed,
    )
