"""The JAX binding on a GPU: XLA's stream, its memory, its command buffers."""

from __future__ import annotations

import os

import numpy as np
import pytest
from device import EMULATED

if EMULATED:
    pytest.skip(
        "XLA takes no emulated device; its CUDA handlers are tested in test_jax_cuda.py", allow_module_level=True
    )

# PyTorch, which these tests also use, must keep its share of the memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
from sampled_softmax.jax import sampled_softmax_loss, value_and_grad

CLASSES, DIM, ROWS, SAMPLED = 5000, 64, 200, 300


def _arrays(dtype: jnp.dtype = jnp.float32) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {
        "weights": jnp.asarray(rng.normal(size=(CLASSES, DIM)) / 8, dtype),
        "biases": jnp.asarray(rng.normal(size=CLASSES), jnp.float32),
        "labels": jnp.asarray(rng.integers(0, CLASSES, (ROWS, 1))),
        "inputs": jnp.asarray(rng.normal(size=(ROWS, DIM)), dtype),
    }


@jax.jit
def _step(arrays: dict[str, jax.Array], step: int) -> tuple[jax.Array, ...]:
    loss, gradients = value_and_grad(
        **arrays, num_sampled=SAMPLED, num_classes=CLASSES, seed=3, step=step, reduction="mean"
    )
    return loss, gradients.inputs, gradients.weights.indices, gradients.weights.values


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=str)
def test_agrees_with_the_cpu(dtype: jnp.dtype) -> None:
    tolerance = 2e-4 if dtype == jnp.float32 else 2e-2
    arrays = _arrays(dtype)
    host = jax.device_put(arrays, jax.devices("cpu")[0])
    for step in range(4):
        ours, wanted = _step(arrays, step), _step(host, step)
        np.testing.assert_array_equal(ours[2], wanted[2])
        for got, want in zip((ours[0], ours[1], ours[3]), (wanted[0], wanted[1], wanted[3]), strict=True):
            got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
            assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want)


def test_gradient_of_jax() -> None:
    arrays = _arrays()

    def loss(weights: jax.Array, inputs: jax.Array) -> jax.Array:
        rest = arrays | {"weights": weights, "inputs": inputs}
        return sampled_softmax_loss(**rest, num_sampled=SAMPLED, num_classes=CLASSES, seed=3, step=1, reduction="mean")

    d_weights, d_inputs = jax.jit(jax.grad(loss, argnums=(0, 1)))(arrays["weights"], arrays["inputs"])
    _, expected_inputs, rows, values = _step(arrays, 1)
    np.testing.assert_allclose(d_inputs, expected_inputs, rtol=1e-5, atol=1e-8)
    scattered = jnp.zeros_like(d_weights).at[rows].add(values, mode="drop")
    np.testing.assert_allclose(d_weights, scattered, rtol=1e-5, atol=1e-8)


def test_label_out_of_range_is_nan_for_its_row_alone() -> None:
    arrays = _arrays()
    arrays["labels"] = arrays["labels"].at[7].set(CLASSES)
    loss = jax.jit(
        lambda given: sampled_softmax_loss(**given, num_sampled=SAMPLED, num_classes=CLASSES, seed=3, step=1)
    )(arrays)
    assert np.flatnonzero(np.isnan(loss)).tolist() == [7]
