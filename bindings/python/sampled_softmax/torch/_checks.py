"""Tensors checked against one another.

Only shapes, dtypes and devices are read, so the checks hold for the tensors without data
that a compiler traces with, and stop a mistake while it traces.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _abi

FLOATS = {
    torch.float32: _abi.SSL_DTYPE_FLOAT32,
    torch.float16: _abi.SSL_DTYPE_FLOAT16,
    torch.bfloat16: _abi.SSL_DTYPE_BFLOAT16,
    torch.float64: _abi.SSL_DTYPE_FLOAT64,
}
LABELS = {torch.int64: _abi.SSL_LABELS_INT64, torch.int32: _abi.SSL_LABELS_INT32}


def check_batch(
    inputs: Tensor, weights: Tensor, biases: Tensor | None, labels: Tensor, sample_weights: Tensor | None
) -> None:
    """inputs [N, d], weights [C, d], biases [C], labels [N, T], sample_weights [N].

    Raises ValueError (shapes), TypeError (dtypes) and RuntimeError (devices).
    """
    check_device(inputs=inputs, weights=weights, biases=biases, labels=labels, sample_weights=sample_weights)
    if inputs.dim() != 2 or inputs.shape[1] < 1:
        raise ValueError(f"inputs has shape {shape(inputs)}; [N, d] with d of 1 or more is needed")
    if weights.dim() != 2 or weights.shape[1] != inputs.shape[1]:
        raise ValueError(f"weights has shape {shape(weights)}, but inputs has {shape(inputs)}; d must agree")
    if labels.dim() != 2 or labels.shape[0] != inputs.shape[0] or labels.shape[1] < 1:
        raise ValueError(f"labels has shape {shape(labels)}, but inputs has {shape(inputs)}; [N, T] is needed")
    vector("biases", biases, weights.shape[0])
    vector("sample_weights", sample_weights, inputs.shape[0])
    for name, tensor in (("inputs", inputs), ("weights", weights), ("biases", biases)):
        if tensor is None:
            continue
        if tensor.dtype not in FLOATS:
            raise TypeError(f"{name} is {tensor.dtype}; float32, float16, bfloat16 or float64 is needed")
        if (tensor.dtype == torch.float64) != (inputs.dtype == torch.float64):
            raise TypeError(f"inputs is {inputs.dtype}, {name} is {tensor.dtype}: float64 is for all of them or none")
    if labels.dtype not in LABELS:
        raise TypeError(f"labels is {labels.dtype}; int64 or int32 is needed")
    if sample_weights is not None and sample_weights.dtype != loss_dtype(inputs):
        raise TypeError(f"sample_weights is {sample_weights.dtype}; {loss_dtype(inputs)} is needed")


def check_candidates(inputs: Tensor, labels: Tensor, ids: Tensor, true: Tensor, sampled: Tensor) -> None:
    """ids [S], true_expected_count [N, T], sampled_expected_count [S]; errors as above."""
    check_device(inputs=inputs, sampled_candidates=ids, true_expected_count=true, sampled_expected_count=sampled)
    if ids.dim() != 1 or ids.shape[0] < 1:
        raise ValueError(f"sampled_candidates has shape {shape(ids)}; (num_sampled,) is needed")
    vector("sampled_expected_count", sampled, ids.shape[0])
    if true.dim() != 2 or true.shape[0] != labels.shape[0] or true.shape[1] != labels.shape[1]:
        raise ValueError(f"true_expected_count has shape {shape(true)}; {shape(labels)} is needed, as of labels")
    if ids.dtype != torch.int64:
        raise TypeError(f"sampled_candidates is {ids.dtype}; int64 is needed")
    if sampled.dtype not in (torch.float32, torch.float64) or true.dtype != sampled.dtype:
        raise TypeError(
            f"true_expected_count is {true.dtype}, sampled_expected_count is {sampled.dtype}; "
            f"float32 or float64 is needed, the same for both"
        )


def check_device(**tensors: Tensor | None) -> None:
    """Raises TypeError unless all are tensors, RuntimeError unless on one device."""
    first = None
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}; a torch.Tensor is needed")
        if first is None:
            first, device = name, tensor.device
        elif tensor.device != device:
            raise RuntimeError(f"{first} is on {device}, but {name} is on {tensor.device}; one device is needed")


def vector(name: str, tensor: Tensor | None, length: int) -> None:
    """Raises ValueError unless `tensor` is None or [length]."""
    if tensor is not None and (tensor.dim() != 1 or tensor.shape[0] != length):
        raise ValueError(f"{name} has shape {shape(tensor)}; ({length},) is needed")


def shape(tensor: Tensor) -> tuple[int, ...]:
    """As NumPy prints it."""
    return tuple(tensor.shape)


def loss_dtype(inputs: Tensor) -> torch.dtype:
    """float64 where the inputs are, else float32."""
    return torch.float64 if inputs.dtype == torch.float64 else torch.float32
