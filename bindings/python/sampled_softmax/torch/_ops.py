"""The library's calls as operators of PyTorch, ``torch.ops.sampled_softmax.*``.

Each has a kernel for CPU and CUDA tensors and one for tensors without data, which is all
that compiling needs. Candidates are drawn by an operator of its own, so that forward and
backward are functions of their arguments: what autograd saves, recomputes or captures is
tensors, and there is no state in the handle.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _abi
from .._call import Frame, frame
from .._handle import Config, Handle, cache
from ._checks import FLOATS, check_batch, check_candidates, loss_dtype, shape, vector
from ._tensors import Batch, DeviceStatus, Workspace, address, engine_of, num_threads_of, stream_of

LIBRARY = torch.library.Library("sampled_softmax", "DEF")

# What forward and backward have in common: tensors, then options.
_BATCH = "Tensor inputs, Tensor weights, Tensor? biases, Tensor labels, Tensor? sample_weights"
_CANDIDATES = "Tensor sampled_candidates, Tensor true_expected_count, Tensor sampled_expected_count"
_OPTIONS = "int hits, int reduction, float probability_floor, int? ignore_index, int num_threads"

# sparse is for autograd alone, which finds it among the arguments of forward.
LIBRARY.define(f"forward({_BATCH}, {_CANDIDATES}, {_OPTIONS}, bool sparse) -> (Tensor loss, Tensor log_sum_exp)")
# Gradients that output_mask leaves out are empty. Sparse ones have room for all rows there
# can be; row_ids is -1 and the values are 0 behind the num_rows that there are.
LIBRARY.define(
    f"backward(Tensor grad_output, {_BATCH}, {_CANDIDATES}, Tensor log_sum_exp, {_OPTIONS}, bool sparse, "
    "bool[3] output_mask) -> (Tensor d_inputs, Tensor d_weights, Tensor d_biases, Tensor row_ids, Tensor num_rows)"
)


def forward(
    inputs: Tensor,
    weights: Tensor,
    biases: Tensor | None,
    labels: Tensor,
    sample_weights: Tensor | None,
    sampled_candidates: Tensor,
    true_expected_count: Tensor,
    sampled_expected_count: Tensor,
    hits: int,
    reduction: int,
    probability_floor: float,
    ignore_index: int | None,
    num_threads: int,
    sparse: bool,
) -> tuple[Tensor, Tensor]:
    """``ssl_forward`` with candidates that are given."""
    check_batch(inputs, weights, biases, labels, sample_weights)
    check_candidates(inputs, labels, sampled_candidates, true_expected_count, sampled_expected_count)
    batch = Batch(inputs, weights, biases, labels, sample_weights)
    candidates = _contiguous(sampled_candidates, true_expected_count, sampled_expected_count)
    handle = _handle(batch, candidates[0], hits, reduction, probability_floor, num_threads)
    loss, log_sum_exp = _forward_outputs(inputs, reduction)
    status, workspace = DeviceStatus(inputs), Workspace(inputs)
    with frame() as call:
        batch.fill(call, ignore_index)
        _fill_candidates(call, *candidates)
        call.fill_loss(0, address(loss), address(log_sum_exp), status.address)
        call.forward(handle, stream_of(inputs), workspace.allocate)
    status.check()
    return loss, log_sum_exp


def backward(
    grad_output: Tensor,
    inputs: Tensor,
    weights: Tensor,
    biases: Tensor | None,
    labels: Tensor,
    sample_weights: Tensor | None,
    sampled_candidates: Tensor,
    true_expected_count: Tensor,
    sampled_expected_count: Tensor,
    log_sum_exp: Tensor,
    hits: int,
    reduction: int,
    probability_floor: float,
    ignore_index: int | None,
    num_threads: int,
    sparse: bool,
    output_mask: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``ssl_backward``."""
    check_batch(inputs, weights, biases, labels, sample_weights)
    check_candidates(inputs, labels, sampled_candidates, true_expected_count, sampled_expected_count)
    _check_upstream(grad_output, log_sum_exp, inputs, reduction)
    batch = Batch(inputs, weights, biases, labels, sample_weights)
    candidates = _contiguous(sampled_candidates, true_expected_count, sampled_expected_count)
    handle = _handle(batch, candidates[0], hits, reduction, probability_floor, num_threads)
    outputs = _backward_outputs(inputs, weights, biases, labels, sampled_candidates, sparse, output_mask)
    upstream, log_sum_exp = _contiguous(grad_output, log_sum_exp)
    workspace = Workspace(inputs)
    with frame() as call:
        batch.fill(call, ignore_index)
        _fill_candidates(call, *candidates)
        call.fill_loss(0, 0, address(log_sum_exp), 0)
        _fill_gradients(call, upstream, sparse, outputs)
        call.backward(handle, stream_of(inputs), workspace.allocate)
    if sparse and not inputs.is_cuda:
        written = int(outputs[4])
        outputs[1][written:].zero_()
        outputs[2][written:].zero_()
    return outputs


def _forward_fake(
    inputs: Tensor,
    weights: Tensor,
    biases: Tensor | None,
    labels: Tensor,
    sample_weights: Tensor | None,
    sampled_candidates: Tensor,
    true_expected_count: Tensor,
    sampled_expected_count: Tensor,
    hits: int,
    reduction: int,
    *_: object,
) -> tuple[Tensor, Tensor]:
    check_batch(inputs, weights, biases, labels, sample_weights)
    check_candidates(inputs, labels, sampled_candidates, true_expected_count, sampled_expected_count)
    return _forward_outputs(inputs, reduction)


def _backward_fake(
    grad_output: Tensor,
    inputs: Tensor,
    weights: Tensor,
    biases: Tensor | None,
    labels: Tensor,
    sample_weights: Tensor | None,
    sampled_candidates: Tensor,
    true_expected_count: Tensor,
    sampled_expected_count: Tensor,
    log_sum_exp: Tensor,
    hits: int,
    reduction: int,
    probability_floor: float,
    ignore_index: int | None,
    num_threads: int,
    sparse: bool,
    output_mask: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    check_batch(inputs, weights, biases, labels, sample_weights)
    _check_upstream(grad_output, log_sum_exp, inputs, reduction)
    return _backward_outputs(inputs, weights, biases, labels, sampled_candidates, sparse, output_mask)


def _forward_outputs(inputs: Tensor, reduction: int) -> tuple[Tensor, Tensor]:
    rows = inputs.shape[0]
    loss_shape = (rows,) if reduction == _abi.SSL_REDUCTION_NONE else ()
    return inputs.new_empty(loss_shape, dtype=loss_dtype(inputs)), inputs.new_empty((rows,), dtype=torch.float64)


def _backward_outputs(
    inputs: Tensor,
    weights: Tensor,
    biases: Tensor | None,
    labels: Tensor,
    ids: Tensor,
    sparse: bool,
    output_mask: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    wants_inputs, wants_weights, wants_biases = output_mask
    rows, (num_classes, dim) = weights.shape[0], weights.shape
    if sparse:
        rows = torch.sym_min(num_classes, ids.shape[0] + labels.shape[0] * labels.shape[1])
    num_ids = rows if sparse and (wants_weights or wants_biases) else 0
    # Dense gradients are added into. Of sparse ones the rows behind the last stay as they
    # are: on the CPU, which knows how many, only those are cleared.
    new = torch.Tensor.new_empty if sparse and not inputs.is_cuda else torch.Tensor.new_zeros
    return (
        inputs.new_empty(inputs.shape) if wants_inputs else inputs.new_empty((0,)),
        new(weights, (rows, dim)) if wants_weights else weights.new_empty((0,)),
        new(biases, (rows,)) if wants_biases and biases is not None else weights.new_empty((0,)),
        weights.new_empty((num_ids,), dtype=torch.int64),
        weights.new_zeros((1,), dtype=torch.int64),
    )


def _check_upstream(grad_output: Tensor, log_sum_exp: Tensor, inputs: Tensor, reduction: int) -> None:
    if reduction == _abi.SSL_REDUCTION_NONE:
        vector("grad_output", grad_output, inputs.shape[0])
    elif grad_output.dim() != 0:
        raise ValueError(f"grad_output has shape {shape(grad_output)}; () is needed")
    vector("log_sum_exp", log_sum_exp, inputs.shape[0])
    if grad_output.dtype != loss_dtype(inputs) or log_sum_exp.dtype != torch.float64:
        raise TypeError(
            f"grad_output is {grad_output.dtype}, log_sum_exp is {log_sum_exp.dtype}; "
            f"{loss_dtype(inputs)} and float64 are needed"
        )


def _contiguous(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in tensors)


def _handle(batch: Batch, ids: Tensor, hits: int, reduction: int, probability_floor: float, num_threads: int) -> Handle:
    engine = engine_of(batch.inputs)
    return cache.get(
        Config(
            num_classes=batch.weights.shape[0],
            num_sampled=ids.shape[0],
            num_true=batch.labels.shape[1],
            sampler=_abi.SSL_SAMPLER_CALLER,
            # Given ids may repeat, and be more than there are classes.
            sampling=_abi.SSL_SAMPLING_REPLACEMENT,
            hits=hits,
            reduction=reduction,
            probability_floor=probability_floor,
            backend=engine.backend,
            device=engine.device,
            num_threads=num_threads_of(engine, num_threads),
        )
    )


def _fill_candidates(call: Frame, ids: Tensor, true: Tensor, sampled: Tensor) -> None:
    call.set_candidates(
        _abi.SSL_CANDIDATES_GIVEN, FLOATS[sampled.dtype], ids.data_ptr(), sampled.data_ptr(), true.data_ptr()
    )


def _fill_gradients(call: Frame, upstream: Tensor, sparse: bool, outputs: tuple[Tensor, ...]) -> None:
    d_inputs, d_weights, d_biases, row_ids, num_rows = outputs
    call.fill_gradients(
        _abi.SSL_GRADIENTS_SPARSE if sparse else _abi.SSL_GRADIENTS_DENSE,
        FLOATS[d_inputs.dtype],
        FLOATS[d_weights.dtype],
        FLOATS[d_biases.dtype],
        0,
        address(upstream),
        _unless_empty(d_inputs),
        0,
        _unless_empty(d_weights),
        0,
        _unless_empty(d_biases),
        address(row_ids) if sparse else 0,
        address(num_rows) if sparse else 0,
        row_ids.shape[0] if sparse else 0,
        0,
    )


def _unless_empty(tensor: Tensor) -> int:
    return tensor.data_ptr() if tensor.numel() else 0


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("forward", forward, _device)
    LIBRARY.impl("backward", backward, _device)
torch.library.register_fake("sampled_softmax::forward", _forward_fake, lib=LIBRARY)
torch.library.register_fake("sampled_softmax::backward", _backward_fake, lib=LIBRARY)
