"""The derivative of ``torch.ops.sampled_softmax.forward``, and the refusal of a second one.

Each is an autograd Function around an operator, and also the operator's kernel for tensors
that may require a gradient, so that compiled code sees the operators alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._ops import LIBRARY

_NAMES = (
    "inputs", "weights", "biases", "labels", "sample_weights", "sampled_candidates", "true_expected_count",
    "sampled_expected_count",
)  # fmt: skip
_DIFFERENTIABLE = 3
_OPTIONS = 6


class _Loss(torch.autograd.Function):
    """Arguments and results of the operator; gradients of its first three tensors."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            result: tuple[Tensor, Tensor] = torch.ops.sampled_softmax.forward.default(*arguments)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        log_sum_exp = output[1]
        ctx.mark_non_differentiable(log_sum_exp)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[: len(_NAMES)], log_sum_exp)
        ctx.options = inputs[len(_NAMES) :]

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        nothing = (None,) * (len(_NAMES) + _OPTIONS)
        if grad_output is None:
            return nothing
        saved = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:_DIFFERENTIABLE])
        arguments = (grad_output.contiguous(), *saved, *ctx.options, wanted)
        differentiate = _Gradients.apply if torch.is_grad_enabled() else torch.ops.sampled_softmax.backward.default
        results = differentiate(*arguments)
        gradients = [
            gradient if wants else None for gradient, wants in zip(results[:_DIFFERENTIABLE], wanted, strict=True)
        ]
        if ctx.options[-1]:
            gradients[1:] = _sparse(gradients[1:], saved[1:_DIFFERENTIABLE], *results[_DIFFERENTIABLE:])
        return *gradients, *nothing[_DIFFERENTIABLE:]


class _Gradients(torch.autograd.Function):
    """Arguments and results of the operator ``backward``, which lead back to what they
    depend on, so that a second derivative is refused instead of silently being zero."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            result: tuple[Tensor, ...] = torch.ops.sampled_softmax.backward.default(*arguments)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[_DIFFERENTIABLE:])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError(
            "sampled_softmax_loss has no second derivative: the gradients of inputs, weights and biases "
            "cannot be differentiated (create_graph=True, torch.autograd.functional.hessian, gradgradcheck)"
        )


def _sparse(
    gradients: list[Tensor | None], parameters: tuple[Tensor | None, ...], row_ids: Tensor, num_rows: Tensor
) -> list[Tensor | None]:
    """Rows as sparse COO tensors of the parameters' shapes.

    How many rows there are is known on the host only where the host computed them, and not
    while a graph is traced or a stream must not be waited for. There, the rows behind the
    last stay, with values of zero, and count for the first row's class.
    """
    known = row_ids.is_cpu and type(num_rows) is Tensor
    row_ids = row_ids[: int(num_rows)] if known else torch.where(row_ids < 0, row_ids[:1], row_ids)
    indices = row_ids.unsqueeze(0)
    return [
        None
        if gradient is None or parameter is None
        else torch.sparse_coo_tensor(
            indices,
            gradient[: row_ids.shape[0]],
            parameter.shape,
            is_coalesced=known,
            check_invariants=False,
        )
        for gradient, parameter in zip(gradients, parameters, strict=True)
    ]


def loss_of(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The operator's results. The compiler takes the operator; without one, the Function is
    called directly, which is faster and leaves torch.func its levels."""
    call = torch.ops.sampled_softmax.forward if torch.compiler.is_compiling() else _Loss.apply
    result: tuple[Tensor, Tensor] = call(*arguments)
    return result


LIBRARY.impl("forward", lambda *arguments: _Loss.apply(*arguments), "Autograd")
LIBRARY.impl("backward", lambda *arguments: _Gradients.apply(*arguments), "Autograd")
