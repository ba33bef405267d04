"""The loss under JAX's transformations: jit, grad, vmap, scan, checkpoint, export."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from jax_problems import C, D, N, S, arrays, check_grads, equal, jax, jnp, loss, make_batches, ssj
from problems import make_problem


def calls(function: Any, *args: Any) -> dict[str, int]:
    """How often a traced function calls each handler, and loops (as ``scan``)."""
    text = str(jax.make_jaxpr(function)(*args))
    found = {name: text.count(f"target_name=sampled_softmax_{name}\n") for name in ("sample", "forward", "backward")}
    return {**found, "scan": text.count("scan[")}


# jit ----------------------------------------------------------------------------------


def test_a_traced_step_draws_anew_without_compiling_anew() -> None:
    weights, biases, labels, inputs = make_batches(1)
    traces = []

    @jax.jit
    def jitted(step: Any) -> Any:
        traces.append(step)
        return loss(weights, biases, labels[0], inputs[0], step)

    results = [np.asarray(jitted(step)) for step in range(5)]
    assert len(traces) == 1
    for step, result in enumerate(results):
        wanted = ss.sampled_softmax_loss(
            *(np.asarray(a) for a in (weights, biases, labels[0], inputs[0])), S, C, seed=1, step=step
        )
        equal(result, wanted)
    assert len({result.tobytes() for result in results}) == 5


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_a_step_of_any_integer_dtype_is_the_same_step(dtype: Any) -> None:
    weights, biases, labels, inputs = make_batches(1)
    with jax.enable_x64(np.dtype(dtype).itemsize == 8):
        equal(
            loss(weights, biases, labels[0], inputs[0], jnp.asarray(100, dtype)),
            loss(weights, biases, labels[0], inputs[0], 100),
        )


def test_a_step_beyond_32_bits() -> None:
    weights, biases, labels, inputs = (np.asarray(array) for array in make_batches(1))
    wanted = ss.sampled_softmax_loss(weights, biases, labels[0], inputs[0], S, C, seed=1, step=2**40 + 1)
    equal(loss(weights, biases, labels[0], inputs[0], 2**40 + 1), wanted)
    with jax.enable_x64(True):
        equal(jax.jit(loss)(weights, biases, labels[0], inputs[0], jnp.int64(2**40 + 1)), wanted)


def test_results_are_the_same_within_scan_and_checkpoint() -> None:
    weights, biases, labels, inputs = make_batches(1)
    _, scanned = jax.lax.scan(
        lambda carry, step: (carry, loss(weights, biases, labels[0], inputs[0], step)), 0, jnp.arange(3)
    )
    for step in range(3):
        equal(scanned[step], loss(weights, biases, labels[0], inputs[0], step))

    def summed(inputs: Any) -> Any:
        return loss(weights, biases, labels[0], inputs, reduction="sum")

    equal(jax.grad(jax.checkpoint(summed))(inputs[0]), jax.grad(summed)(inputs[0]))


def test_an_exported_program_gives_the_same() -> None:
    batch = (make_batches(1)[0], make_batches(1)[1], make_batches(1)[2][0], make_batches(1)[3][0])
    checks = [jax.export.DisabledSafetyCheck.custom_call(f"sampled_softmax_{name}") for name in ("sample", "forward")]
    exported = jax.export.export(jax.jit(loss), disabled_checks=checks)(*batch)
    again = jax.export.deserialize(exported.serialize())
    equal(again.call(*batch), loss(*batch))


def test_many_threads_at_once() -> None:
    weights, biases, labels, inputs = make_batches(4)
    wanted = [np.asarray(loss(weights, biases, labels[i], inputs[i], i)) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            got = list(pool.map(lambda i: loss(weights, biases, labels[i], inputs[i], i), range(4)))
            for ours, theirs in zip(got, wanted, strict=True):
                equal(ours, theirs)


# grad ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("floor", [0.0, 1e-3])
def test_gradients_by_finite_differences(reduction: str, floor: float) -> None:
    with jax.enable_x64(True):
        problem = make_problem(4, num_rows=5, dim=4, num_classes=12, num_sampled=8, num_true=2, dtypes=(float,) * 3)
        weights, biases, labels, inputs, *sizes = arrays(problem)
        options = {"reduction": reduction, "probability_floor": floor, "sampled_values": problem.sampled_values}
        check_grads(
            lambda w, b, x: ssj.sampled_softmax_loss(w, b, labels, x, *sizes, **options),
            (weights, biases, inputs),
            order=1,
            modes=["rev"],
        )


def test_gradients_that_nobody_wants_are_not_computed() -> None:
    weights, biases, labels, inputs = make_batches(1)

    def of_inputs(inputs: Any) -> Any:
        return loss(weights, biases, labels[0], inputs).sum()

    def of_weights(weights: Any) -> Any:
        return loss(weights, biases, labels[0], inputs[0]).sum()

    # The dense gradient starts as zeros of the weights' shape.
    zeros = f"f32[{C},{D}] = broadcast_in_dim"
    assert zeros in str(jax.make_jaxpr(jax.grad(of_weights))(weights))
    alone = jax.make_jaxpr(jax.grad(of_inputs))(inputs[0])
    assert "sampled_softmax_backward" in str(alone) and zeros not in str(alone)


def test_a_second_derivative_is_refused_by_name() -> None:
    weights, biases, labels, inputs = make_batches(1)

    def summed(x: Any) -> Any:
        return loss(weights, biases, labels[0], x, reduction="sum")

    def of_value_and_grad(x: Any) -> Any:
        return ssj.value_and_grad(weights, biases, labels[0], x, S, C, seed=0, reduction="sum")[0]

    for function in (lambda x: jax.grad(summed)(x).sum(), of_value_and_grad):
        with pytest.raises(NotImplementedError, match="first derivatives only"):
            jax.grad(function)(inputs[0])
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(summed, (inputs[0],), (inputs[0],))


def test_row_weights_and_candidates_are_constants() -> None:
    problem = make_problem()
    weights = jnp.ones(problem.inputs.shape[0])

    def of_constants(weights: Any, true: Any, sampled: Any) -> Any:
        values = (problem.sampled_values[0], true, sampled)
        return ssj.sampled_softmax_loss(*arrays(problem), sampled_values=values, sample_weights=weights).sum()

    for gradient in jax.grad(of_constants, (0, 1, 2))(weights, *map(jnp.asarray, problem.sampled_values[1:])):
        assert not np.asarray(gradient).any()


# vmap ---------------------------------------------------------------------------------


def test_mapped_rows_are_one_call() -> None:
    weights, biases, labels, inputs = make_batches()

    def one(labels: Any, inputs: Any) -> Any:
        return loss(weights, biases, labels, inputs)

    mapped = jax.vmap(one)
    equal(mapped(labels, inputs), np.stack([one(labels[i], inputs[i]) for i in range(4)]))
    assert calls(mapped, labels, inputs) == {"sample": 1, "forward": 1, "backward": 0, "scan": 0}
    twice = jax.vmap(mapped)(labels.reshape(2, 2, N, 1), inputs.reshape(2, 2, N, D))
    equal(twice.reshape(4, N), mapped(labels, inputs))
    equal(jax.vmap(one, (None, 0))(labels[0], inputs), np.stack([one(labels[0], inputs[i]) for i in range(4)]))


def test_mapped_gradients_of_rows_are_one_call() -> None:
    weights, biases, labels, inputs = make_batches()
    gradient = jax.grad(lambda x, y: loss(weights, biases, y, x).sum())
    equal(jax.vmap(gradient)(inputs, labels), np.stack([gradient(inputs[i], labels[i]) for i in range(4)]))
    assert calls(jax.vmap(gradient), inputs, labels) == {"sample": 1, "forward": 1, "backward": 1, "scan": 0}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_whatever_is_mapped_equals_one_call_after_another(reduction: str) -> None:
    weights, biases, labels, inputs = make_batches()
    many = jnp.stack([weights * scale for scale in range(4)])
    steps = jnp.arange(4)

    def one(weights: Any, labels: Any, inputs: Any, step: Any) -> Any:
        return loss(weights, biases, labels, inputs, step, reduction=reduction)

    axes = [(0, 0, 0, 0), (0, None, None, None), (None, 0, 0, None), (None, None, None, 0), (None, None, 0, 0)]
    for in_axes in axes:
        args = [a if axis == 0 else a[0] for a, axis in zip((many, labels, inputs, steps), in_axes, strict=True)]
        each = [[a[i] if axis == 0 else a for a, axis in zip(args, in_axes, strict=True)] for i in range(4)]
        equal(jax.vmap(one, in_axes)(*args), np.stack([one(*some) for some in each]))

        def summed(*args: Any) -> Any:
            return one(*args).sum()

        ours = jax.vmap(jax.grad(summed, (0, 2)), in_axes)(*args)
        theirs = [jax.grad(summed, (0, 2))(*some) for some in each]
        for k in range(2):
            equal(ours[k], np.stack([gradient[k] for gradient in theirs]))


def test_mapped_sparse_gradients() -> None:
    weights, biases, labels, inputs = make_batches()

    def one(labels: Any, inputs: Any) -> Any:
        return ssj.value_and_grad(weights, biases, labels, inputs, S, C, seed=1, step=2, reduction="mean")

    ours = jax.vmap(one)(labels, inputs)
    for i in range(4):
        jax.tree.map(equal, jax.tree.map(lambda array, i=i: array[i], ours), one(labels[i], inputs[i]))


def test_the_gradient_of_shared_weights_is_the_sum_over_the_map() -> None:
    weights, biases, labels, inputs = make_batches()
    mapped = jax.grad(lambda w: jax.vmap(lambda y, x: loss(w, biases, y, x))(labels, inputs).sum())(weights)
    each = [jax.grad(lambda w, i=i: loss(w, biases, labels[i], inputs[i]).sum())(weights) for i in range(4)]
    np.testing.assert_allclose(mapped, sum(each), rtol=2e-6, atol=2e-6)
