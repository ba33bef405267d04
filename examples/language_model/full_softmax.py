"""The full softmax over all C classes in NumPy, on every core.

The rival of the sampled loss, and the judge of both: perplexity is always computed
here. A chunk of classes is worked on by one thread: its logits, their exponentials
and both products with them, each while it is in cache. Chunks have each their own
maximum m, as in the online softmax (Milakov and Gimelshein 2018); the factor
exp(m - log-sum-exp) that makes probabilities of exponentials goes on the small
[N, d] side of the products, so that the logits [N, C] are never gone over again.
"""

import numpy as np

from .model import RowGradient
from .threads import run_in_parallel

#: Classes a chunk: large enough for BLAS, small enough for a shared cache.
CHUNK = 4096


class FullSoftmax:
    """The output layer over all classes. It keeps its large arrays from call to call:
    a hundred megabytes of fresh memory a step would cost as much as the exponentials."""

    def __init__(self):
        self._kept = {}

    def value_and_grad(self, weights, biases, labels, inputs):
        """Mean cross entropy of `labels` [N] under softmax(inputs weights^T + biases).

        Returns the loss and the gradients `(d_inputs [N, d], d_weights, d_biases)`, the
        last two as `RowGradient` of every row, which the next call overwrites.
        """
        mean = inputs.dtype.type(1 / len(inputs))
        chunks = _chunks(len(weights))

        def forward(i):
            out = self._array(f"exponentials {i}", (len(inputs), chunks[i].stop - chunks[i].start), inputs.dtype)
            exponentials, top = _exponentials(weights, biases, inputs, chunks[i], out)
            return exponentials, top, exponentials.sum(axis=1), exponentials @ weights[chunks[i]]

        done = run_in_parallel(forward, range(len(chunks)))
        tops, sums = (np.stack([item[i] for item in done]) for i in (1, 2))
        log_sum_exp = _log_sum_exp(tops, sums)
        scales = np.exp(tops - log_sum_exp) * mean
        d_inputs = np.zeros_like(inputs)
        for scale, (_, _, _, product) in zip(scales, done, strict=True):
            product *= scale[:, None]
            d_inputs += product
        d_weights = self._array("d_weights", weights.shape, weights.dtype)
        d_biases = self._array("d_biases", biases.shape, biases.dtype)

        def backward(i):
            scaled = inputs * scales[i][:, None]
            np.matmul(done[i][0].T, scaled, out=d_weights[chunks[i]])
            np.matmul(scales[i], done[i][0], out=d_biases[chunks[i]])

        run_in_parallel(backward, range(len(chunks)))

        label_weights = weights[labels]
        label_logits = np.einsum("nd,nd->n", inputs, label_weights) + biases[labels]
        d_inputs -= label_weights * mean
        # A label may occur in several rows: ufunc.at adds them all.
        np.subtract.at(d_weights, labels, inputs * mean)
        np.subtract.at(d_biases, labels, mean)
        loss = float((log_sum_exp - label_logits).mean())
        return loss, (d_inputs, RowGradient(None, d_weights), RowGradient(None, d_biases))

    def _array(self, name, shape, dtype):
        kept = self._kept.get(name)
        if kept is None or kept.shape != shape or kept.dtype != dtype:
            kept = self._kept[name] = np.empty(shape, dtype)
        return kept


def cross_entropy(weights, biases, labels, inputs):
    """Cross entropy of each row, [N]; nothing of size N x C is kept."""

    def forward(part):
        exponentials, top = _exponentials(weights, biases, inputs, part)
        return top, exponentials.sum(axis=1)

    done = run_in_parallel(forward, _chunks(len(weights)))
    tops, sums = (np.stack(column) for column in zip(*done, strict=True))
    label_logits = np.einsum("nd,nd->n", inputs, weights[labels]) + biases[labels]
    return _log_sum_exp(tops, sums) - label_logits


def _exponentials(weights, biases, inputs, part, out=None):
    """exp(logits - top) [N, chunk] with each row's `top` [N] over the chunk."""
    logits = np.matmul(inputs, weights[part].T, out=out)
    logits += biases[part]
    top = logits.max(axis=1)
    logits -= top[:, None]
    return np.exp(logits, out=logits), top


def _log_sum_exp(tops, sums):
    """[N], of the maxima and the sums of exponentials [chunks, N]."""
    top = tops.max(axis=0)
    return top + np.log((sums * np.exp(tops - top)).sum(axis=0))


def _chunks(num_classes):
    return [slice(i, min(i + CHUNK, num_classes)) for i in range(0, num_classes, CHUNK)]
