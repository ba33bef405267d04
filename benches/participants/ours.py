"""This library through its Python package."""

from __future__ import annotations

import os

import numpy as np
import sampled_softmax
from sampled_softmax import sampled_softmax_loss, value_and_grad

from .. import problem, verify


class Participant:
    version = getattr(sampled_softmax, "__version__", "")
    form = "value_and_grad; unique candidates; rows of the gradient merged"

    def open(self, files: problem.Files, threads: int) -> None:
        self.files = files
        self.labels = files.labels.reshape(-1, 1)
        os.environ["SAMPLED_SOFTMAX_NUM_THREADS"] = str(threads)

    def _call(self, function, **options):
        files, shape = self.files, self.files.shape
        return function(
            files.weights, files.biases, self.labels, files.inputs, shape.s, shape.c, reduction="mean", **options
        )

    def forward(self, step: int):
        return self._call(sampled_softmax_loss, seed=0, step=step)

    def forward_backward(self, step: int):
        return self._call(value_and_grad, seed=0, step=step)[0]

    def check(self) -> verify.Results:
        files = self.files
        given = (files.ids, files.true_count.reshape(-1, 1), files.sampled_count)
        loss, gradients = self._call(value_and_grad, sampled_values=given)
        weights, biases = gradients.weights, gradients.biases
        assert np.array_equal(weights.indices, biases.indices)
        return verify.Results(float(loss), gradients.inputs, weights.indices, weights.values, biases.values)

    def close(self) -> None:
        del self.files, self.labels
