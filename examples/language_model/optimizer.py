"""Adagrad (Duchi, Hazan and Singer 2011), one step size a row for the tables.

Adagrad suits rows that are seldom touched: a row's step size shrinks with its own
gradients only. With one accumulator a row (the mean of squares, as recommender
systems do it) the state of a [C, d] table is C numbers, and rows without a gradient
cost nothing.

Two guards, for Adagrad's first steps are as large as its learning rate whatever the
gradient: the rate rises over `WARM_UP` steps, and the dense matrices, of which every
step changes every number, go by `DENSE_SHARE` of it.
"""

import numpy as np

from .model import RowGradient

WARM_UP = 20
DENSE_SHARE = 0.25
#: Sums of squares start here. A gradient that is small beside its square root, such as a
#: rare class's probability times the batch's mean vector, then makes a small step.
INITIAL_SQUARES = 1e-7
#: Rows of a table worked on at once, so that they are still in cache for the next line.
_ROWS_AT_ONCE = 1024


class Adagrad:
    """Steps `parameters` (name to array) along their gradients, in place."""

    def __init__(self, parameters: dict, learning_rate: float):
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.sums = {}
        self.steps = 0

    def step(self, gradients: dict):
        """`gradients`: name to array, or to a `RowGradient` for a table or a bias
        vector [C]."""
        self.steps += 1
        rate = self.learning_rate * min(1.0, self.steps / WARM_UP)
        for name, gradient in gradients.items():
            if isinstance(gradient, RowGradient):
                self._step_rows(name, gradient, rate)
            else:
                self._step_dense(name, gradient, DENSE_SHARE * rate)

    def _step_dense(self, name, gradient, rate):
        squares = self._squares(name, gradient.shape)
        squares += gradient * gradient
        self.parameters[name] -= rate * gradient / np.sqrt(squares)

    def _step_rows(self, name, gradient, rate):
        table = self.parameters[name]
        squares = self._squares(name, table.shape[:1])
        for start in range(0, len(gradient.values), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            rows = part if gradient.indices is None else gradient.indices[part]
            values = gradient.values[part]
            flat = values.reshape(len(values), -1)
            sums = squares[rows] + np.einsum("rd,rd->r", flat, flat) / flat.shape[1]
            squares[rows] = sums
            scale = rate / np.sqrt(sums)
            table[rows] -= values * scale.reshape(-1, *[1] * (values.ndim - 1))

    def _squares(self, name, shape):
        if name not in self.sums:
            dtype = self.parameters[name].dtype
            self.sums[name] = np.full(shape, INITIAL_SQUARES, dtype)
        return self.sums[name]
