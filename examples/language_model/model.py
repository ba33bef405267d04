"""The network below the output layer: the neural probabilistic language model of
Bengio, Ducharme, Vincent and Jauvin (2003), in NumPy.

    x      = the embeddings of the last k tokens, side by side        [N, k e]
    a      = tanh(x hidden_weights + hidden_biases)                   [N, h]
    inputs = a projection                                             [N, d]
    logits = inputs weights^T + biases                                [N, C]

The last line is the output layer. It is nearly all of the work where C is large, and
the one part that the full and the sampled softmax treat differently.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """Sizes of the network: C, k, e, h and d of the formulas above."""

    num_classes: int
    context: int = 12
    embedding_dim: int = 64
    hidden_dim: int = 256
    dim: int = 128


@dataclass(frozen=True)
class RowGradient:
    """Gradient of some rows of a table: `values[i]` belongs to row `indices[i]`.

    `indices` ascend, each once; None means every row.
    """

    indices: np.ndarray | None
    values: np.ndarray


class LanguageModel:
    """Parameters, forward and backward pass up to `inputs`.

    `parameters` maps names to arrays: `embeddings` [C, e], `hidden_weights` [k e, h],
    `hidden_biases` [h], `projection` [h, d], and the output layer's `weights` [C, d]
    and `biases` [C].
    """

    def __init__(self, shape: Shape, counts: np.ndarray, seed: int, dtype=np.float32):
        """`counts` [C] of the classes: the biases start at their log frequencies, so
        that training need not find those first."""
        random = np.random.default_rng(seed)

        def normal(rows, columns, scale):
            return (scale * random.standard_normal((rows, columns))).astype(dtype)

        fan_in = shape.context * shape.embedding_dim
        self.shape = shape
        self.parameters = {
            "embeddings": normal(shape.num_classes, shape.embedding_dim, 0.3),
            "hidden_weights": normal(fan_in, shape.hidden_dim, fan_in**-0.5),
            "hidden_biases": np.zeros(shape.hidden_dim, dtype),
            "projection": normal(shape.hidden_dim, shape.dim, shape.hidden_dim**-0.5),
            "weights": normal(shape.num_classes, shape.dim, 0.3 * shape.dim**-0.5),
            "biases": np.log(np.maximum(counts, 1) / counts.sum()).astype(dtype),
        }

    def forward(self, contexts: np.ndarray):
        """`inputs` [N, d] of the output layer for `contexts` [N, k], and what
        `backward` needs."""
        p = self.parameters
        x = p["embeddings"][contexts].reshape(len(contexts), -1)
        activation = x @ p["hidden_weights"]
        activation += p["hidden_biases"]
        np.tanh(activation, out=activation)
        return activation @ p["projection"], (contexts, x, activation)

    def backward(self, saved, d_inputs: np.ndarray) -> dict:
        """Gradients below the output layer, from `d_inputs` [N, d]: arrays, and for
        `embeddings` a `RowGradient`."""
        p = self.parameters
        contexts, x, activation = saved
        d_activation = d_inputs @ p["projection"].T
        d_activation *= 1 - activation * activation
        d_x = d_activation @ p["hidden_weights"].T
        d_embeddings = d_x.reshape(contexts.size, self.shape.embedding_dim)
        return {
            "projection": activation.T @ d_inputs,
            "hidden_weights": x.T @ d_activation,
            "hidden_biases": d_activation.sum(axis=0),
            "embeddings": sum_rows(contexts.ravel(), d_embeddings),
        }


def sum_rows(indices: np.ndarray, values: np.ndarray) -> RowGradient:
    """Adds the rows of `values` that share an index."""
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    return RowGradient(ordered[starts], np.add.reduceat(values[order], starts, axis=0))
