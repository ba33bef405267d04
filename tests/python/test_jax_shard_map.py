"""The loss under ``shard_map``, on the two CPU devices of the tests."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from jax_problems import C, D, N, S, equal, jax, jnp, loss, make_batches, ssj

Mesh, NamedSharding = jax.sharding.Mesh, jax.sharding.NamedSharding
ROWS, EVERYWHERE = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()


@pytest.fixture(scope="module")
def mesh() -> Any:
    devices = np.array(jax.devices())
    assert devices.size == 2, "jax_problems asks for two CPU devices"
    return Mesh(devices, ("data",))


def make_batch() -> tuple[Any, ...]:
    weights, biases, labels, inputs = make_batches(4)
    return weights, biases, labels.reshape(4 * N, 1), inputs.reshape(4 * N, D)


def sharded(mesh: Any, check_vma: bool = True) -> Any:
    """The loss of rows that lie on two devices, each with the whole of weights."""
    specs = (EVERYWHERE, EVERYWHERE, ROWS, ROWS, EVERYWHERE)
    return functools.partial(jax.shard_map, mesh=mesh, in_specs=specs, out_specs=ROWS, check_vma=check_vma)(loss)


@pytest.mark.parametrize("check_vma", [True, False])
def test_with_one_step_for_all_it_is_the_loss_of_all_rows(mesh: Any, check_vma: bool) -> None:
    batch = make_batch()
    equal(jax.jit(sharded(mesh, check_vma))(*batch, 5), loss(*batch, 5))


def test_gradients_are_those_of_all_rows(mesh: Any) -> None:
    weights, biases, labels, inputs = make_batch()

    def summed(function: Any) -> Any:
        return lambda weights, biases, inputs: function(weights, biases, labels, inputs, 5).sum()

    ours = jax.jit(jax.grad(summed(sharded(mesh)), (0, 1, 2)))(weights, biases, inputs)
    theirs = jax.grad(summed(loss), (0, 1, 2))(weights, biases, inputs)
    # What all devices share is summed over them, in another order than in one call.
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-6, atol=2e-6)
    equal(ours[2], theirs[2])


def test_each_device_draws_with_a_step_of_its_own(mesh: Any) -> None:
    weights, biases, labels, inputs = make_batch()

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(EVERYWHERE, EVERYWHERE, ROWS, ROWS, EVERYWHERE),
        out_specs=(ROWS, ROWS, EVERYWHERE),
    )
    def train(weights: Any, biases: Any, labels: Any, inputs: Any, step: Any) -> Any:
        own = step * jax.lax.axis_size("data") + jax.lax.axis_index("data")
        value, gradients = ssj.value_and_grad(weights, biases, labels, inputs, S, C, seed=1, step=own)
        return value, gradients.inputs, jax.lax.psum(gradients.weights.dense(C), "data")

    value, d_inputs, d_weights = jax.jit(train)(weights, biases, labels, inputs, 3)
    half = 2 * N
    parts = [
        ssj.value_and_grad(weights, biases, labels[some], inputs[some], S, C, seed=1, step=step)
        for some, step in ((slice(None, half), 6), (slice(half, None), 7))
    ]
    equal(value, np.concatenate([part[0] for part in parts]))
    equal(d_inputs, np.concatenate([part[1].inputs for part in parts]))
    np.testing.assert_allclose(d_weights, sum(part[1].weights.dense(C) for part in parts), rtol=2e-6, atol=2e-6)


def test_sharded_arrays_under_jit_alone(mesh: Any) -> None:
    weights, biases, labels, inputs = make_batch()
    spread = jax.device_put(inputs, NamedSharding(mesh, ROWS))
    equal(jax.jit(loss)(weights, biases, labels, spread, 5), loss(weights, biases, labels, inputs, 5))


def test_given_candidates_that_all_devices_share(mesh: Any) -> None:
    weights, biases, labels, inputs = make_batch()
    drawn = ssj.log_uniform_candidate_sampler(labels, 1, S, True, C, 4, step=9)

    def given(labels: Any, inputs: Any, true_count: Any) -> Any:
        values = (drawn.sampled_candidates, true_count, drawn.sampled_expected_count)
        return ssj.sampled_softmax_loss(weights, biases, labels, inputs, S, C, sampled_values=values)

    mapped = jax.shard_map(given, mesh=mesh, in_specs=(ROWS, ROWS, ROWS), out_specs=ROWS)
    equal(
        mapped(labels, inputs, drawn.true_expected_count),
        ssj.sampled_softmax_loss(weights, biases, labels, inputs, S, C, sampled_values=drawn),
    )
    assert jnp.isfinite(mapped(labels, inputs, drawn.true_expected_count)).all()
