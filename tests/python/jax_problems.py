"""What the tests of the JAX binding share: JAX itself, arrays of a problem, comparisons.

The handlers are compiled here if their sources changed, unless the environment's
SAMPLED_SOFTMAX_JAX_LIB names others. There are two CPU devices, for ``shard_map``.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from conftest import ROOT, absent
from problems import Problem

try:
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "jax":
        raise
    absent("jax is not installed")

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)

_spec = importlib.util.spec_from_file_location("jax_build", ROOT / "bindings" / "jax" / "build.py")
assert _spec is not None and _spec.loader is not None
jax_build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(jax_build)

if "SAMPLED_SOFTMAX_JAX_LIB" not in os.environ:
    os.environ["SAMPLED_SOFTMAX_JAX_LIB"] = str(jax_build.build(ROOT / "target" / "release"))
SHIM = Path(os.environ["SAMPLED_SOFTMAX_JAX_LIB"])

import sampled_softmax.jax as ssj  # noqa: E402

# What a handler refuses; which of them depends on whether JAX ran it at once.
RUN_ERRORS = (ValueError, jax.errors.JaxRuntimeError)

# Sizes of `make_batches`.
C, D, N, S = 60, 12, 8, 16

__all__ = [
    "RUN_ERRORS",
    "SHIM",
    "C",
    "D",
    "N",
    "S",
    "arrays",
    "bits",
    "check_grads",
    "equal",
    "jax",
    "jax_build",
    "jnp",
    "loss",
    "make_batches",
    "rows",
    "ssj",
]


def make_batches(count: int = 4) -> tuple[Any, ...]:
    """weights [C, D], biases [C], labels [count, N, 1], inputs [count, N, D]."""
    rng = np.random.default_rng(8)
    weights, biases = rng.normal(size=(C, D)), rng.normal(size=C)
    inputs, labels = rng.normal(size=(count, N, D)), rng.integers(0, C, (count, N, 1), np.int32)
    wide, labels = (weights, biases, inputs), jnp.asarray(labels)
    weights, biases, inputs = (jnp.asarray(array, np.float32) for array in wide)
    return weights, biases, labels, inputs


def loss(weights: Any, biases: Any, labels: Any, inputs: Any, step: Any = 2, **options: Any) -> Any:
    """The loss of such arrays, drawn with seed 1."""
    return ssj.sampled_softmax_loss(weights, biases, labels, inputs, S, C, seed=1, step=step, **options)


def arrays(problem: Problem) -> tuple[Any, ...]:
    """The positional arguments of the functions, up to num_true."""
    tensors = (None if array is None else jnp.asarray(array) for array in problem.arrays[:4])
    return *tensors, *problem.arrays[4:]


def bits(value: Any) -> np.ndarray:
    """The bits of an array, so that equality is of every bit."""
    value = np.asarray(value)
    return value.view(f"u{value.dtype.itemsize}") if value.dtype.kind not in "iu" else value.astype(np.int64)


def equal(ours: Any, theirs: Any) -> None:
    """The same dtype, unless of integers, and the same bits."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype or (ours.dtype.kind == "i" and theirs.dtype.kind == "i")
    np.testing.assert_array_equal(bits(ours), bits(theirs))


def rows(sparse: Any, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a `RowSparse` that were reached; what is behind them is as promised."""
    indices, values = np.asarray(sparse.indices), np.asarray(sparse.values)
    reached = int(np.searchsorted(indices, num_classes))
    assert (indices[reached:] == num_classes).all()
    assert not values[reached:].astype(np.float64).any()
    return indices[:reached], values[:reached]
