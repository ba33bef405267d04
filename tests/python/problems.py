"""Random problems for the tests of the Python package, and its results in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from oracle import Reference, reference

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

# One rounding to the dtype, of a result that is otherwise correct to float32.
TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "float16": 2e-3, "bfloat16": 1.6e-2}


@dataclass
class Problem:
    """Arrays of one loss with candidates that are given, some of them hits."""

    weights: np.ndarray
    biases: np.ndarray | None
    labels: np.ndarray
    inputs: np.ndarray
    sampled_values: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The positional arguments of the functions, up to num_true."""
        num_classes = self.weights.shape[0]
        ids = self.sampled_values[0]
        return self.weights, self.biases, self.labels, self.inputs, ids.size, num_classes, self.labels.shape[1]

    def reference(self, **options: Any) -> Reference:
        """What the oracle makes of it."""
        return reference(self.weights, self.biases, self.labels, self.inputs, *self.sampled_values, **options)


def make_problem(
    seed: int = 0,
    *,
    num_rows: int = 13,
    num_classes: int = 50,
    dim: int = 17,
    num_sampled: int = 20,
    num_true: int = 1,
    dtypes: tuple[Any, Any, Any] = (np.float32, np.float32, np.float32),
    biased: bool = True,
) -> Problem:
    """`dtypes` are of weights, biases and inputs; ids repeat and hit labels."""
    rng = np.random.default_rng(seed)
    return Problem(
        weights=rng.normal(size=(num_classes, dim)).astype(dtypes[0]),
        biases=rng.normal(size=num_classes).astype(dtypes[1]) if biased else None,
        labels=rng.integers(0, num_classes, (num_rows, num_true)),
        inputs=rng.normal(size=(num_rows, dim)).astype(dtypes[2]),
        sampled_values=(
            rng.integers(0, num_classes, num_sampled),
            rng.uniform(0.01, 2.0, (num_rows, num_true)).astype(np.float32),
            rng.uniform(0.01, 2.0, num_sampled).astype(np.float32),
        ),
    )


def assert_close(actual: np.ndarray, wanted: np.ndarray) -> None:
    """Equal to within the dtype's tolerance, relative to the largest element."""
    tolerance = TOLERANCE[actual.dtype.name]
    scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
    np.testing.assert_allclose(actual.astype(np.float64), wanted, rtol=tolerance, atol=tolerance * scale)


def scattered(sparse: Any, num_classes: int) -> np.ndarray:
    """A row-sparse gradient as a float64 array of full shape."""
    dense = np.zeros((num_classes, *sparse.values.shape[1:]))
    dense[sparse.indices] = sparse.values.astype(np.float64)
    return dense
