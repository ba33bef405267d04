"""The library's own steps, through the C ABI."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from device import Stream, compute_capability
from engine import Call, Engine
from problem import Problem

from .shapes import Shape

DTYPES = {"bf16": "bfloat16", "f32": "float32"}
# How ours computes, side by side in one run: precisions, and the kernels for compute capability 9.0 ("hopper").
HOPPER = ["hopper"] if compute_capability() == 90 else []
VARIANTS = {"bf16": ["default", *HOPPER], "f32": ["default", "tf32", "ieee"]}


class CurrentStream(Stream):
    """PyTorch's stream, so that its events time our work too."""

    def __init__(self) -> None:
        if torch.cuda.is_available():
            self.handle = torch.cuda.current_stream().cuda_stream
            self.synchronize = torch.cuda.synchronize
            return
        super().__init__()

    def __del__(self) -> None:
        if not torch.cuda.is_available():
            super().__del__()


def problem_of(shape: Shape, dtype: str) -> Problem:
    """Random inputs in `dtype`, one label a row, mean loss, float32 biases."""
    kind = DTYPES[dtype]
    problem = Problem(
        shape.rows,
        shape.dim,
        shape.classes,
        shape.sampled,
        inputs_dtype=kind,
        weights_dtype=kind,
        reduction="mean",
        seed=1,
    )
    problem.tensors["ids"] = problem.tensors["ids"].sort().values
    problem.tensors["grad_output"] = torch.ones(1)
    return problem


class Ours:
    """One variant's handle and buffers."""

    def __init__(self, problem: Problem, variant: str, *, updated: bool = False) -> None:
        """`updated`: with the step that moves weights of its own by row-wise Adagrad."""
        before = os.environ.get("SAMPLED_SOFTMAX_HOPPER")
        os.environ["SAMPLED_SOFTMAX_HOPPER"] = "1" if variant == "hopper" else "0"
        try:
            self.engine = Engine(problem, "default" if variant == "hopper" else variant)
        finally:
            del os.environ["SAMPLED_SOFTMAX_HOPPER"]
            os.environ.update({} if before is None else {"SAMPLED_SOFTMAX_HOPPER": before})
        self.call = Call(self.engine, problem, CurrentStream())
        self.steps: dict[str, Callable[[], object]] = {
            "forward": self.call.queue_forward,
            "backward": self.call.queue_backward,
            "forward_backward": self.call.queue_forward_backward,
        }
        if updated:
            self.updating = Call(self.engine, problem, CurrentStream(), rate=1e-3)
            self.steps["update"] = self.updating.queue_forward_backward

    def extra_memory(self) -> int:
        """Bytes of workspace and of the outputs a step writes."""
        outputs = ("loss", "log_sum_exp", "d_inputs", "d_weights", "d_biases", "row_ids")
        arrays = (self.call.device[name] for name in outputs)
        return self.call.workspace_sizes[1] + sum(array.nbytes for array in arrays)

    def close(self) -> None:
        self.engine.close()
