"""Fused losses over all rows of a matrix: Cut Cross-Entropy and Liger.

Neither has sampled candidates. On rows gathered beforehand they do what is nearest to it: the same
products, each row's label being one of the candidates, without expected counts, without leaving out
accidental hits, without rows of labels beside the candidates'. Over all classes they compute the exact
softmax that a sample stands for.

They are looked for among what Python has installed, then in build/peers (`make bench-gpu-peers`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import torch
from device import EMULATED
from torch import Tensor

from .peers import Given

Step = Callable[[], object]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
# 16-bit operands alone.
MODULES = {"CCE": "cut_cross_entropy", "Liger": "liger_kernel.ops.fused_linear_cross_entropy"}


def _module(name: str) -> tuple[ModuleType | None, str]:
    """The module, or why there is none."""
    if EMULATED:
        return None, "its kernels need a GPU"
    try:
        return importlib.import_module(MODULES[name]), ""
    except Exception as error:  # Another package's import may fail in any way; the benchmark goes on.
        return None, f"{type(error).__name__}: {error}"


def _cce(module: ModuleType) -> Loss:
    # Without the filter, which drops gradients below 2^-12: at 4,096 candidates and more that is all of an untrained
    # model's.
    return lambda inputs, rows, labels: module.linear_cross_entropy(inputs, rows, labels, filter_eps=None)


def _liger(module: ModuleType) -> Loss:
    function = module.LigerFusedLinearCrossEntropyFunction
    return lambda inputs, rows, labels: _first(function.apply(inputs, rows, labels))


def _first(result: object) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


LOSSES = {"CCE": _cce, "Liger": _liger}


def _step(loss: Loss, inputs: Tensor, rows: Callable[[], Tensor], labels: Tensor) -> Step:
    """Forward and backward."""

    def step() -> object:
        x, w = inputs.detach().requires_grad_(), rows().detach().requires_grad_()
        return torch.autograd.grad(loss(x, w, labels), (x, w))

    return step


def participants(given: Given, *, exact: bool) -> tuple[dict[str, Step], dict[str, str]]:
    """Steps by name, gathering included, and the reason of each that is absent.

    `exact` adds the losses over all classes.
    """
    steps: dict[str, Step] = {}
    absent: dict[str, str] = {}
    places = torch.arange(len(given.inputs), device=given.inputs.device) % len(given.ids)
    for name, make in LOSSES.items():
        names = [name, f"{name}, all classes"] if exact else [name]
        module, reason = _module(name)
        if name == "CCE" and given.inputs.dtype == torch.float32:
            module, reason = None, "takes 16-bit operands alone"
        if module is None:
            absent |= dict.fromkeys(names, reason)
            continue
        loss = make(module)
        steps[name] = _step(loss, given.inputs, lambda: given.weights[given.ids], places)
        if exact:
            steps[names[1]] = _step(loss, given.inputs, lambda: given.weights, given.labels.long())
    return steps, absent


def failure(step: Step) -> str:
    """Why a step does not run on this machine; empty if it does."""
    try:
        step()
        torch.cuda.synchronize()
    except Exception as error:  # Compilers, memory, assertions: named in the results, and no end to the rest.
        torch.cuda.empty_cache()
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return ""
