"""PyTorch has no candidate sampler and no sampled softmax: the plain composition, eager
or under `torch.compile`.

Candidates come from `torch.rand` by the inverse of the log-uniform distribution, with
replacement, which costs less than distinct ones. The gradient is taken with respect to
the gathered rows, what `F.embedding(sparse=True)` would keep, without its sparse tensor.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from .. import problem, verify


def _draw(labels, s: int, c: int):
    """Candidates, and expected counts of them and of the labels, as S P(k)."""
    scale = s / math.log1p(c)
    ids = torch.expm1(torch.rand(s) * math.log1p(c)).long().clamp_(max=c - 1)
    return ids, torch.log1p(1 / (ids + 1.0)) * scale, torch.log1p(1 / (labels + 1.0)) * scale


def _loss(inputs, true_rows, rows, true_biases, biases, labels, ids, counts, true_counts):
    """The mean loss, of rows that are gathered already."""
    z_true = (inputs * true_rows).sum(1) + true_biases - true_counts.log()
    z = torch.addmm(biases - counts.log(), inputs, rows.T)
    z = z.masked_fill(labels[:, None] == ids, -math.inf)
    return (torch.logaddexp(torch.logsumexp(z, 1), z_true) - z_true).mean()


class Participant:
    version = torch.__version__

    def __init__(self, how: str) -> None:
        self.compiled = how == "compile"
        self.form = (
            f"{'torch.compile' if self.compiled else 'eager'} composition; candidates with replacement "
            "from torch.rand; gradient of gathered rows"
        )

    def open(self, files: problem.Files, threads: int) -> None:
        torch.set_num_threads(threads)
        self.files = files
        arrays = (files.inputs, files.weights, files.biases, files.labels)
        self.inputs, self.weights, self.biases, self.labels = map(torch.from_numpy, arrays)
        self.inputs.requires_grad_()
        self.draw, self.loss = _draw, _loss
        if self.compiled:
            torch._dynamo.reset()
            self.draw = torch.compile(_draw, dynamic=False)
            self.loss = torch.compile(_loss, dynamic=False)

    def _gather(self, ids):
        """Rows and biases of labels and candidates."""
        return [
            F.embedding(self.labels, self.weights),
            F.embedding(ids, self.weights),
            self.biases[self.labels],
            self.biases[ids],
        ]

    def forward(self, step: int):
        with torch.no_grad():
            ids, counts, true_counts = self.draw(self.labels, self.files.shape.s, self.files.shape.c)
            return self.loss(self.inputs, *self._gather(ids), self.labels, ids, counts, true_counts)

    def _gradients(self, ids, counts, true_counts):
        gathered = [array.requires_grad_() for array in self._gather(ids)]
        loss = self.loss(self.inputs, *gathered, self.labels, ids, counts, true_counts)
        return loss.detach(), torch.autograd.grad(loss, [self.inputs, *gathered])

    def forward_backward(self, step: int):
        return self._gradients(*self.draw(self.labels, self.files.shape.s, self.files.shape.c))[0]

    def check(self) -> verify.Results:
        files = self.files
        given = map(torch.from_numpy, (files.ids, files.sampled_count, files.true_count))
        loss, gradients = self._gradients(*given)
        d_inputs, d_true, d_rows, d_true_biases, d_biases = (array.numpy() for array in gradients)
        return verify.Results(
            float(loss),
            d_inputs,
            np.concatenate([files.labels, files.ids]),
            np.concatenate([d_true, d_rows]),
            np.concatenate([d_true_biases, d_biases]),
        )

    def close(self) -> None:
        del self.files, self.inputs, self.weights, self.biases, self.labels
