"""MindSpore: what its `nn.SampledSoftmaxLoss` composes, in one compiled graph.

That class draws uniformly, is deprecated, and its gradient is dense, [C, d]; here its own
`LogUniformCandidateSampler` draws, and the gradient is taken with respect to the gathered
rows. Accidental hits, which the class leaves in, are masked.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import ops

from .. import problem, verify

# Stands for minus infinity: exp of it is 0.
_MASKED = -1e30


def _loss(inputs, true_rows, rows, true_biases, biases, labels, ids, counts, true_counts):
    """The mean loss, of rows that are gathered already."""
    z_true = (inputs * true_rows).sum(1) + true_biases - ops.log(true_counts)
    z = ops.matmul(inputs, rows.T) + (biases - ops.log(counts))
    z = ops.masked_fill(z, ops.equal(labels.reshape(-1, 1), ids), ms.Tensor(_MASKED, ms.float32))
    top = ops.stop_gradient(ops.maximum(z.max(axis=1), z_true))
    total = ops.exp(z - top.reshape(-1, 1)).sum(1) + ops.exp(z_true - top)
    return (ops.log(total) + top - z_true).mean()


_gradients = ms.value_and_grad(_loss, grad_position=(0, 1, 2, 3, 4))


def _gathered(function, inputs, weights, biases, labels, ids, counts, true_counts):
    return function(
        inputs,
        ops.gather(weights, labels, 0),
        ops.gather(weights, ids, 0),
        ops.gather(biases, labels, 0),
        ops.gather(biases, ids, 0),
        labels,
        ids,
        counts,
        true_counts,
    )


class Participant:
    version = ms.__version__
    form = "graph of a composition with LogUniformCandidateSampler; unique candidates; gradient of gathered rows"

    def open(self, files: problem.Files, threads: int) -> None:
        ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU", runtime_num_threads=threads)
        shape = files.shape
        self.files = files
        arrays = (files.inputs, files.weights, files.biases, files.labels)
        self.arrays = tuple(ms.Tensor.from_numpy(array) for array in arrays)
        draw = ops.LogUniformCandidateSampler(1, shape.s, True, shape.c)

        def drawing(function):
            @ms.jit
            def call(inputs, weights, biases, labels):
                ids, true_counts, counts = draw(labels.reshape(-1, 1))
                return _gathered(function, inputs, weights, biases, labels, ids, counts, true_counts.reshape(-1))

            return call

        self._forward, self._backward = drawing(_loss), drawing(_gradients)

    def forward(self, step: int):
        return self._forward(*self.arrays).asnumpy()

    def forward_backward(self, step: int):
        loss, gradients = self._backward(*self.arrays)
        # Each is waited for: a graph's outputs are ready one by one.
        for array in gradients:
            array.asnumpy()
        return loss.asnumpy()

    def check(self) -> verify.Results:
        files = self.files

        @ms.jit
        def call(*arrays):
            return _gathered(_gradients, *arrays)

        given = (files.ids, files.sampled_count, files.true_count)
        loss, gradients = call(*self.arrays, *(ms.Tensor.from_numpy(array) for array in given))
        d_inputs, d_true, d_rows, d_true_biases, d_biases = (array.asnumpy() for array in gradients)
        return verify.Results(
            float(loss.asnumpy()),
            d_inputs,
            np.concatenate([files.labels, files.ids]),
            np.concatenate([d_true, d_rows]),
            np.concatenate([d_true_biases, d_biases]),
        )

    def close(self) -> None:
        del self.files, self.arrays, self._forward, self._backward
