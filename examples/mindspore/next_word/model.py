"""The model with its loss in two ways: of MindSpore, and of this package."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray
from sampled_softmax import Sampler
from sampled_softmax.mindspore import SampledSoftmaxLoss

SEED = 0


class NextWord(nn.Cell):
    """Embeddings of the last words, a hidden layer, and an output layer of C classes."""

    def __init__(self, num_classes: int, context: int, dim: int, loss: Any, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)

        def normal(*shape: int) -> Tensor:
            return Tensor(rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32))

        self.embeddings = Parameter(normal(num_classes, dim), name="embeddings")
        self.hidden = Parameter(normal(context * dim, dim), name="hidden")
        self.weights = Parameter(normal(num_classes, dim), name="weights")
        self.biases = Parameter(ops.zeros(num_classes, ms.float32), name="biases")
        self.loss = loss
        self.num_classes = num_classes

    def construct(self, contexts: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of contexts [N, context] and the word after each [N, 1]."""
        vectors = ops.gather(self.embeddings, contexts, 0).reshape((contexts.shape[0], -1))
        inputs = ops.tanh(ops.matmul(vectors, self.hidden))
        return self.loss(self.weights, self.biases, labels, inputs).mean()


def package_loss(num_classes: int, num_sampled: int) -> nn.Cell:
    """What a user writes, where it said ``nn.SampledSoftmaxLoss`` before. It draws with every call."""
    return SampledSoftmaxLoss(num_sampled, num_classes, seed=SEED)


class MindSporeLoss(nn.Cell):
    """MindSpore's own loss on the words that `package_loss` draws: its sampler has a
    sequence of its own, so that it is given candidates, anew in every step."""

    def __init__(self, num_classes: int, num_sampled: int) -> None:
        super().__init__()
        self.sampler = Sampler("uniform", num_classes, num_sampled, seed=SEED)
        self.loss = nn.SampledSoftmaxLoss(num_sampled, num_classes, sampled_values=(0, 0, 0))

    def draw(self, labels: NDArray[np.int64]) -> None:
        """Candidates for the next call, none of them a label."""
        self.loss.sampled_values = tuple(map(Tensor, self.sampler.sample(labels, avoid=labels)))

    def construct(self, weights: Tensor, biases: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """One loss a row."""
        return self.loss(weights, biases, labels, logits)
