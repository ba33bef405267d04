"""What PyTorch users write today, on the same tensors and candidates.

Each gives the mean loss and the gradients of inputs, sampled rows and label rows,
without merging the rows that both have: less than what the library does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


class Given:
    """The arrays of a step, counts already as logarithms."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.inputs, self.weights, self.biases = tensors["inputs"], tensors["weights"], tensors["biases"]
        self.labels, self.ids = tensors["labels"][:, 0], tensors["ids"]
        self.log_sampled = tensors["sampled_expected_count"].log()
        self.log_true = tensors["true_expected_count"][:, 0].log()


def loss_of_rows(inputs: Tensor, sampled: Tensor, true: Tensor, given: Given) -> Tensor:
    """The loss from gathered rows, as it is usually written."""
    negative = (inputs @ sampled.T).float() + (given.biases[given.ids] - given.log_sampled)
    negative = negative.masked_fill(given.labels[:, None] == given.ids, -torch.inf)
    positive = (inputs.float() * true.float()).sum(-1) + given.biases[given.labels] - given.log_true
    logits = torch.cat([positive[:, None], negative], 1)
    return cross_entropy(logits, torch.zeros(len(inputs), dtype=torch.long, device=inputs.device))


def autograd(loss: Callable[..., Tensor], given: Given) -> Callable[[], object]:
    """Forward and backward by PyTorch."""

    def step() -> object:
        inputs = given.inputs.detach().requires_grad_()
        sampled = given.weights[given.ids].requires_grad_()
        true = given.weights[given.labels].requires_grad_()
        return torch.autograd.grad(loss(inputs, sampled, true, given), (inputs, sampled, true))

    return step


def forward_only(loss: Callable[..., Tensor], given: Given) -> Callable[[], object]:
    """Forward alone, without a graph."""

    @torch.no_grad()
    def step() -> object:
        return loss(given.inputs, given.weights[given.ids], given.weights[given.labels], given)

    return step


def chunked(given: Given, chunk: int = 2048) -> Callable[[], object]:
    """Rows in chunks, gradients by hand with cuBLAS: logits never live longer than a chunk."""

    @torch.no_grad()
    def step() -> object:
        sampled, true = given.weights[given.ids], given.weights[given.labels]
        offsets = given.biases[given.ids] - given.log_sampled
        d_inputs = torch.empty_like(given.inputs)
        d_sampled = torch.zeros(sampled.shape, dtype=torch.float32, device=sampled.device)
        d_true, losses, rows = torch.empty_like(true), [], len(given.inputs)
        for first in range(0, rows, chunk):
            part = slice(first, min(first + chunk, rows))
            x, labels = given.inputs[part], given.labels[part]
            logits = (x @ sampled.T).float().add_(offsets)
            logits.masked_fill_(labels[:, None] == given.ids, -torch.inf)
            positive = (x.float() * true[part].float()).sum(-1) + given.biases[labels] - given.log_true[part]
            lse = torch.logaddexp(torch.logsumexp(logits, 1), positive)
            losses.append((lse - positive).sum())
            p = logits.sub_(lse[:, None]).exp_().div_(rows).to(x.dtype)
            g = ((positive - lse).exp() - 1).div_(rows)[:, None]
            d_inputs[part] = p @ sampled + (g * true[part]).to(x.dtype)
            d_sampled += p.T @ x
            d_true[part] = (g * x).to(x.dtype)
        return torch.stack(losses).sum() / rows, d_inputs, d_sampled, d_true

    return step


def participants(given: Given) -> dict[str, tuple[Callable[[], object] | None, Callable[[], object]]]:
    """Name: forward (None where it is not a step of its own), forward and backward."""
    compiled = torch.compile(loss_of_rows, dynamic=False)
    return {
        "eager": (forward_only(loss_of_rows, given), autograd(loss_of_rows, given)),
        "torch.compile": (forward_only(compiled, given), autograd(compiled, given)),
        "chunked cuBLAS": (None, chunked(given)),
    }
