"""What the tests of the PyTorch binding share: tensors of a problem, and NumPy's results."""

from __future__ import annotations

from typing import Any

import numpy as np
import sampled_softmax as ss
from conftest import absent
from problems import Problem

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    absent("torch is not installed")

import sampled_softmax.torch as sst
from torch import Tensor

_BITS = {2: np.int16, 4: np.int32, 8: np.int64}


def tensor(array: np.ndarray | None) -> Tensor | None:
    """An array as a tensor; bfloat16, which PyTorch does not take from NumPy, by its bits."""
    if array is None:
        return None
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def bits(value: Any) -> np.ndarray:
    """The bits of an array or tensor, so that equality is of every bit."""
    if isinstance(value, Tensor):
        value = value.detach()
        value = value.to_dense() if value.layout == torch.sparse_coo else value
        value = value.view(torch.int16).numpy() if value.dtype == torch.bfloat16 else value.numpy()
    value = np.asarray(value)
    return value.view(_BITS[value.dtype.itemsize]) if value.dtype.kind != "i" else value


class Leaves:
    """weights, biases and inputs of a problem as tensors that require gradients."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.weights, self.biases, self.inputs = (
            None if array is None else tensor(array.copy()).requires_grad_()
            for array in (problem.weights, problem.biases, problem.inputs)
        )
        self.labels = tensor(problem.labels)
        self.sampled_values = tuple(tensor(array) for array in problem.sampled_values)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The positional arguments of the functions, up to num_true."""
        return self.weights, self.biases, self.labels, self.inputs, *self.problem.arrays[4:]

    def loss(self, **options: Any) -> Tensor:
        """Of the problem's candidates, unless options say who draws."""
        if "sampler" not in options:
            options["sampled_values"] = self.sampled_values
        return sst.sampled_softmax_loss(*self.arrays, **options)

    def gradients(self) -> list[Tensor | None]:
        """As `ss.Gradients` orders them."""
        leaves = (self.inputs, self.weights, self.biases)
        return [None if leaf is None else leaf.grad for leaf in leaves]


def numpy_results(problem: Problem, **options: Any) -> tuple[np.ndarray, ss.Gradients]:
    """The NumPy binding's loss and dense gradients."""
    if "sampler" not in options:
        options["sampled_values"] = problem.sampled_values
    return ss.value_and_grad(*problem.arrays, dense=True, **options)
