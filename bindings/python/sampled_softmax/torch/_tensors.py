"""Tensors as the C interface sees them: address, stride, engine, stream."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from .. import _abi
from .._call import Frame
from .._errors import error_of
from .._handle import CPU, Engine
from ._checks import FLOATS, LABELS


def rows(tensor: Tensor) -> tuple[Tensor, int]:
    """A matrix the library can read, and the elements from row to row (0: no gap).

    Rows may lie apart; what overlaps or has gaps within a row is copied.
    """
    if tensor.is_contiguous():
        return tensor, 0
    stride, step = tensor.stride()
    if (step == 1 or tensor.shape[1] == 1) and stride >= tensor.shape[1]:
        return tensor, stride
    return tensor.contiguous(), 0


def address(tensor: Tensor | None) -> int:
    """Where the first element lies; 0, which is NULL, for None."""
    return 0 if tensor is None else tensor.data_ptr()


def engine_of(tensor: Tensor) -> Engine:
    """The engine of a tensor's device."""
    device = tensor.device
    return CPU if device.type == "cpu" else Engine(_abi.SSL_BACKEND_CUDA, device.index)


def stream_of(tensor: Tensor) -> int | None:
    """PyTorch's current stream on a tensor's device; None on the CPU."""
    return torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else None


def num_threads_of(engine: Engine, asked: int) -> int:
    """PyTorch's own number where nobody asked for one, in the call or in the environment."""
    if engine != CPU:
        return 0
    if asked or os.environ.get("SAMPLED_SOFTMAX_NUM_THREADS"):
        return asked
    return torch.get_num_threads()


class Workspace:
    """Scratch from PyTorch's allocator, for which reuse follows the order of the stream;
    on the CPU the frame has its own."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self.allocate = self._allocate if like.is_cuda else None

    def _allocate(self, size: int) -> int:
        self._bytes = self._like.new_empty(max(size, 1), dtype=torch.uint8)
        return self._bytes.data_ptr()


class DeviceStatus:
    """What the kernels found wrong with the data, for those who ask for it.

    On a GPU a label out of range makes its row's loss NaN and nothing waits for it. In
    PyTorch's anomaly mode, which is there to find where a NaN comes from, this reads the
    kernels' status word and raises what the CPU would have raised.
    """

    def __init__(self, like: Tensor) -> None:
        self._word = None
        if like.is_cuda and torch.is_anomaly_enabled() and not torch.cuda.is_current_stream_capturing():
            self._word = like.new_zeros((1,), dtype=torch.int32)
        self.address = address(self._word)

    def check(self) -> None:
        """Raises what the status word says."""
        status = 0 if self._word is None else int(self._word.item())
        if status:
            raise error_of(status, "found on the device: a label, or its expected count")


class Batch:
    """What ``ssl_batch`` points to, kept alive until the call has returned."""

    def __init__(
        self,
        inputs: Tensor,
        weights: Tensor,
        biases: Tensor | None,
        labels: Tensor,
        sample_weights: Tensor | None,
    ) -> None:
        self.inputs, self._inputs_stride = rows(inputs)
        self.weights, self._weights_stride = rows(weights)
        self.biases = None if biases is None else biases.contiguous()
        self.labels = labels.contiguous()
        self.sample_weights = None if sample_weights is None else sample_weights.contiguous()

    def fill(self, call: Frame, ignore_index: int | None) -> None:
        """Fills the C struct."""
        num_rows, dim = self.inputs.shape
        call.fill_batch(
            FLOATS[self.inputs.dtype],
            FLOATS[self.weights.dtype],
            0 if self.biases is None else FLOATS[self.biases.dtype],
            LABELS[self.labels.dtype],
            ignore_index is not None,
            num_rows,
            dim,
            address(self.inputs),
            self._inputs_stride,
            address(self.weights),
            self._weights_stride,
            address(self.biases),
            address(self.labels),
            ignore_index or 0,
            address(self.sample_weights),
        )
