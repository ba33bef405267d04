"""The C functions over PyTorch tensors: nothing between a test and the ABI."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int64, c_size_t, c_void_p
from types import TracebackType
from typing import Any

import torch
from device import TORCH, Stream, synchronize
from problem import Problem
from sampled_softmax import _abi
from sampled_softmax._library import LIBRARY

DTYPE_CODES = {
    torch.float32: _abi.SSL_DTYPE_FLOAT32,
    torch.float16: _abi.SSL_DTYPE_FLOAT16,
    torch.bfloat16: _abi.SSL_DTYPE_BFLOAT16,
    torch.float64: _abi.SSL_DTYPE_FLOAT64,
}
REDUCTIONS = {"none": _abi.SSL_REDUCTION_NONE, "mean": _abi.SSL_REDUCTION_MEAN, "sum": _abi.SSL_REDUCTION_SUM}
PRECISIONS = {
    "default": _abi.SSL_PRECISION_DEFAULT,
    "tf32": _abi.SSL_PRECISION_TF32,
    "ieee": _abi.SSL_PRECISION_IEEE,
}


class StatusError(RuntimeError):
    """A call's status and message."""

    def __init__(self, status: int) -> None:
        buffer = ctypes.create_string_buffer(1024)
        LIBRARY.ssl_last_error(buffer, len(buffer))
        super().__init__(f"status {status}: {buffer.value.decode()}")
        self.status = status


def check(status: int) -> None:
    if status != 0:
        raise StatusError(status)


def pointer(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


class Engine:
    """A CUDA handle for one problem's configuration."""

    def __init__(self, problem: Problem, precision: str = "default", **fields: Any) -> None:
        hits = _abi.SSL_HITS_MASK if problem.mask_hits else _abi.SSL_HITS_KEEP
        fields = {"backend": _abi.SSL_BACKEND_CUDA, "sampler": _abi.SSL_SAMPLER_CALLER, "hits": hits} | fields
        self.handle = c_void_p()
        self.config = _abi.ssl_config(
            num_classes=problem.classes,
            num_sampled=problem.sampled,
            num_true=problem.num_true,
            reduction=REDUCTIONS[problem.reduction],
            probability_floor=problem.floor,
            precision=PRECISIONS[precision],
            **fields,
        )
        check(LIBRARY.ssl_create(byref(self.config), byref(self.handle)))

    def close(self) -> None:
        handle, self.handle = self.handle, c_void_p()
        check(LIBRARY.ssl_destroy(handle))

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Call:
    """A problem's arrays on the device, its outputs full of NaN, and the three steps.

    With a learning rate, steps with gradients move weights and biases by row-wise Adagrad, from a state of 0 on, and
    write the gradients of neither.
    """

    def __init__(
        self,
        engine: Engine,
        problem: Problem,
        stream: Stream,
        *,
        draw: bool = False,
        step: int = 0,
        dense: bool = False,
        rate: float | None = None,
        wanted: tuple[str, ...] = ("d_inputs", "d_weights", "d_biases"),
        gradient_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.engine, self.problem, self.stream, self.dense, self.rate = engine, problem, stream, dense, rate
        if rate is not None:
            wanted = ("d_inputs",)
        self.device = {name: tensor.to(TORCH, copy=True) for name, tensor in problem.tensors.items()}
        rows, dim, classes = problem.rows, problem.dim, problem.classes
        capacity = min(classes, problem.sampled + rows * problem.num_true)
        count = classes if dense else capacity

        def full(*shape: int, value: float = float("nan"), dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.full(shape, value, dtype=dtype, device=TORCH)

        given = self.device
        if draw:
            given["ids"] = full(problem.sampled, value=-7, dtype=torch.int64)
            given["sampled_expected_count"] = full(problem.sampled, dtype=problem.counts_dtype)
            given["true_expected_count"] = full(rows, problem.num_true, dtype=problem.counts_dtype)
        given["loss"] = full(rows if problem.reduction == "none" else 1)
        given["log_sum_exp"] = full(rows, dtype=torch.float64)
        given["device_status"] = full(1, value=-1, dtype=torch.int32)
        given["row_ids"] = full(capacity, value=-7, dtype=torch.int64)
        given["num_rows"] = full(1, value=-7, dtype=torch.int64)
        start = 0.0 if dense else float("nan")
        for name, shape in {"d_inputs": (rows, dim), "d_weights": (count, dim), "d_biases": (count,)}.items():
            if name in wanted:
                value = float("nan") if name == "d_inputs" else start
                given[name] = full(*shape, value=value, dtype=gradient_dtype)
        if rate is not None:
            given["weights_state"] = full(classes, value=0.0)
            given["biases_state"] = full(classes, value=0.0)
        self._make_structs(draw, step, capacity)
        if rate is not None:
            self._make_update(rate)
        sizes = (c_size_t(), c_size_t())
        check(LIBRARY.ssl_workspace_size(engine.handle, byref(self.batch), byref(sizes[0]), byref(sizes[1])))
        self.workspace_sizes = [size.value for size in sizes]
        self.workspace = torch.full((max(self.workspace_sizes),), 0xFF, dtype=torch.uint8, device=TORCH)
        synchronize()

    def _make_structs(self, draw: bool, step: int, capacity: int) -> None:
        problem, given = self.problem, self.device

        def at(name: str) -> int | None:
            return pointer(given.get(name))

        def code(name: str) -> int:
            return DTYPE_CODES[given[name].dtype] if name in given else 0

        self.batch = _abi.ssl_batch(
            inputs_dtype=code("inputs"),
            weights_dtype=code("weights"),
            biases_dtype=code("biases"),
            labels_dtype=_abi.SSL_LABELS_INT32 if problem.labels_dtype == torch.int32 else _abi.SSL_LABELS_INT64,
            has_ignore_index=problem.ignore_index is not None,
            ignore_index=problem.ignore_index or 0,
            num_rows=problem.rows,
            dim=problem.dim,
            inputs=at("inputs"),
            inputs_stride=problem.dim + problem.inputs_gap,
            weights=at("weights"),
            weights_stride=problem.dim + problem.weights_gap,
            biases=at("biases"),
            labels=at("labels"),
            sample_weights=at("sample_weights"),
        )
        self.tries = c_int64(-7)
        self.candidates = _abi.ssl_candidates(
            source=_abi.SSL_CANDIDATES_DRAW if draw else _abi.SSL_CANDIDATES_GIVEN,
            counts_dtype=code("sampled_expected_count"),
            step=step,
            ids=at("ids"),
            sampled_expected_count=at("sampled_expected_count"),
            true_expected_count=at("true_expected_count"),
            num_tries=ctypes.addressof(self.tries),
        )
        self.loss = _abi.ssl_loss(
            loss=at("loss"),
            log_sum_exp=at("log_sum_exp"),
            device_status=at("device_status"),
        )
        self.gradients = _abi.ssl_gradients(
            layout=_abi.SSL_GRADIENTS_DENSE if self.dense else _abi.SSL_GRADIENTS_SPARSE,
            d_inputs_dtype=code("d_inputs"),
            d_weights_dtype=code("d_weights"),
            d_biases_dtype=code("d_biases"),
            grad_output=at("grad_output"),
            d_inputs=at("d_inputs"),
            d_weights=at("d_weights"),
            d_biases=at("d_biases"),
            row_ids=at("row_ids"),
            num_rows=at("num_rows"),
            row_capacity=capacity,
        )

    def _make_update(self, rate: float) -> None:
        given = self.device
        biased = "biases" in given
        self.update = _abi.ssl_update(
            rule=_abi.SSL_UPDATE_ROW_ADAGRAD,
            learning_rate=rate,
            epsilon=1e-8,
            weights=pointer(given["weights"]),
            weights_state=pointer(given["weights_state"]),
            biases=pointer(given["biases"]) if biased else None,
            biases_state=pointer(given["biases_state"]) if biased else None,
        )
        self.gradients.layout = _abi.SSL_GRADIENTS_UPDATE
        self.gradients.update = ctypes.addressof(self.update)
        self.gradients.row_ids = self.gradients.num_rows = None
        self.gradients.row_capacity = 0

    def queue_forward(self) -> None:
        check(
            LIBRARY.ssl_forward(
                self.engine.handle,
                byref(self.batch),
                byref(self.candidates),
                byref(self.loss),
                self.workspace.data_ptr(),
                self.workspace_sizes[0],
                self.stream.handle,
            )
        )

    def queue_backward(self) -> None:
        self._queue_gradients(LIBRARY.ssl_backward)

    def queue_forward_backward(self) -> None:
        self._queue_gradients(LIBRARY.ssl_forward_backward)

    def _queue_gradients(self, function: Any) -> None:
        check(
            function(
                self.engine.handle,
                byref(self.batch),
                byref(self.candidates),
                byref(self.loss),
                byref(self.gradients),
                self.workspace.data_ptr(),
                self.workspace_sizes[1],
                self.stream.handle,
            )
        )

    def results(self) -> dict[str, torch.Tensor]:
        """Copies of all outputs on the host, parameter gradients scattered to [C, ...], parameters that moved."""
        self.stream.synchronize()
        names = ("loss", "log_sum_exp", "d_inputs", "d_weights", "d_biases", "device_status", "ids")
        if self.rate is not None:
            names += ("weights", "biases")
        out = {name: self.device[name].cpu().clone() for name in names if name in self.device}
        if self.dense or self.rate is not None:
            return out
        count = int(self.device["num_rows"].item())
        ids = self.device["row_ids"].cpu()
        if count >= 0:
            assert torch.all(ids[1:count] > ids[: count - 1]) if count > 1 else True, "row_ids must ascend"
            assert torch.all(ids[count:] == -1), "row_ids behind the last must be -1"
        for name in ("d_weights", "d_biases"):
            if name in out:
                rows = out[name]
                out[name] = torch.zeros(self.problem.classes, *rows.shape[1:], dtype=rows.dtype)
                out[name][ids[:count]] = rows[:count]
        return out
