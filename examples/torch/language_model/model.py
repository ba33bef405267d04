"""The model, and its loss in two ways: by the library, and by PyTorch's own operations."""

from __future__ import annotations

import torch
from sampled_softmax.torch import log_uniform_candidate_sampler, sampled_softmax_loss
from torch import Tensor, nn
from torch.nn import functional as F


class NextWord(nn.Module):
    """Embeddings of the last words, a hidden layer, and an output layer of C classes."""

    def __init__(self, num_classes: int, context: int, dim: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(num_classes, dim, sparse=True)
        self.hidden = nn.Sequential(nn.Linear(context * dim, 2 * dim), nn.Tanh(), nn.Linear(2 * dim, dim))
        self.weights = nn.Parameter(torch.randn(num_classes, dim) * dim**-0.5)
        self.biases = nn.Parameter(torch.zeros(num_classes))

    def forward(self, contexts: Tensor) -> Tensor:
        """[N, context] words to inputs [N, d] of the output layer."""
        inputs: Tensor = self.hidden(self.embeddings(contexts).flatten(1))
        return inputs

    @torch.no_grad()
    def perplexity(self, contexts: Tensor, labels: Tensor) -> float:
        """Of all classes, without sampling."""
        logits = self(contexts) @ self.weights.t() + self.biases
        return float(F.cross_entropy(logits, labels).exp())


def library_loss(model: NextWord, inputs: Tensor, labels: Tensor, num_sampled: int, step: int) -> Tensor:
    """What a user writes."""
    return sampled_softmax_loss(
        model.weights,
        model.biases,
        labels,
        inputs,
        num_sampled,
        len(model.biases),
        sampler="log_uniform",
        reduction="mean",
        seed=0,
        step=step,
        sparse=True,
    )


def plain_loss(model: NextWord, inputs: Tensor, labels: Tensor, num_sampled: int, step: int) -> Tensor:
    """The same mathematics, on the same sampled classes, without the library's loss."""
    ids, true_count, sampled_count = log_uniform_candidate_sampler(
        labels, 1, num_sampled, True, len(model.biases), seed=0, step=step
    )
    classes = torch.cat([labels, ids])
    weights = F.embedding(classes, model.weights, sparse=True)
    biases = model.biases[classes]
    rows = len(labels)
    true = (inputs * weights[:rows]).sum(1) + biases[:rows] - true_count.squeeze(1).log()
    sampled = inputs @ weights[rows:].t() + biases[rows:] - sampled_count.log()
    sampled = sampled.masked_fill(labels.unsqueeze(1) == ids, -torch.inf)
    logits = torch.cat([true.unsqueeze(1), sampled], 1)
    return F.cross_entropy(logits, torch.zeros_like(labels))
