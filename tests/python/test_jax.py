"""The JAX binding has the NumPy binding's values and gradients, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from jax_problems import arrays, equal, jax, jnp, rows, ssj
from problems import BFLOAT16, Problem, make_problem

F16, F32, F64 = np.float16, np.float32, np.float64
MIXTURES = [
    (F32, F32, F32),
    (F64, F64, F64),
    (F16, F16, F16),
    (BFLOAT16, BFLOAT16, BFLOAT16),
    (F32, F32, BFLOAT16),
    (F16, F32, BFLOAT16),
]


def names(dtypes: tuple[Any, ...]) -> str:
    return "-".join(np.dtype(dtype).name for dtype in dtypes)


def upstream_of(problem: Problem, options: dict[str, Any]) -> np.ndarray:
    shape = problem.inputs.shape[0] if options.get("reduction", "none") == "none" else ()
    dtype = F64 if problem.inputs.dtype == F64 else F32
    return np.asarray(np.random.default_rng(5).normal(size=shape), dtype)


def assert_same(problem: Problem, **options: Any) -> None:
    """Loss and gradients of the same call in both bindings: sparse, dense, by jax.vjp."""
    if "seed" not in options and "sampler" not in options:
        options["sampled_values"] = problem.sampled_values
    upstream = upstream_of(problem, options)
    num_classes = problem.weights.shape[0]
    with jax.enable_x64(problem.inputs.dtype == F64):
        ours = arrays(problem)
        loss, sparse = ssj.value_and_grad(*ours, grad_output=upstream, **options)
        wanted, gradients = ss.value_and_grad(*problem.arrays, grad_output=upstream, **options)
        equal(loss, wanted)
        equal(sparse.inputs, gradients.inputs)
        for one, other in ((sparse.weights, gradients.weights), (sparse.biases, gradients.biases)):
            assert (one is None) == (other is None)
            if one is not None:
                for mine, theirs in zip(rows(one, num_classes), other, strict=True):
                    equal(mine, theirs)

        _, dense = ssj.value_and_grad(*ours, grad_output=upstream, dense=True, **options)
        _, wanted_dense = ss.value_and_grad(*problem.arrays, grad_output=upstream, dense=True, **options)
        weights, biases, labels, inputs, *sizes = ours

        def of_parameters(weights: Any, biases: Any, inputs: Any) -> Any:
            return ssj.sampled_softmax_loss(weights, biases, labels, inputs, *sizes, **options)

        value, pull_back = jax.vjp(of_parameters, weights, biases, inputs)
        equal(value, wanted)
        d_weights, d_biases, d_inputs = pull_back(jnp.asarray(upstream))
        for mine, theirs in (
            (d_weights, wanted_dense.weights),
            (dense.weights, wanted_dense.weights),
            (d_biases, wanted_dense.biases),
            (dense.biases, wanted_dense.biases),
            (d_inputs, wanted_dense.inputs),
        ):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                equal(mine, theirs)


@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("dtypes", MIXTURES, ids=names)
def test_every_mixture_of_dtypes_equals_numpy(dtypes: tuple[Any, Any, Any], num_true: int) -> None:
    assert_same(make_problem(dtypes=dtypes, num_true=num_true))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("removal", [True, False])
def test_every_option_equals_numpy(reduction: str, removal: bool) -> None:
    problem = make_problem(3, num_true=2)
    problem.labels[4] = -7
    weights = np.random.default_rng(1).uniform(0, 2, problem.labels.shape[0]).astype(F32)
    weights[2] = 0
    assert_same(
        problem,
        remove_accidental_hits=removal,
        reduction=reduction,
        probability_floor=1e-3,
        ignore_index=-7,
        sample_weights=weights,
        num_threads=1,
    )


def test_without_biases() -> None:
    assert_same(make_problem(biased=False), reduction="mean")


@pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "all"])
def test_a_seeded_draw_is_numpys(sampler: str) -> None:
    problem = make_problem(num_sampled=50 if sampler == "all" else 20)
    assert_same(problem, sampler=sampler, seed=2**64 - 5, step=2**33 + 3)


UNIGRAMS = np.random.default_rng(2).uniform(0.1, 5, 50)


@pytest.mark.parametrize(
    ("name", "options"),
    [("fixed_unigram", {"unigrams": UNIGRAMS, "distortion": 0.7}), ("log_uniform", {"generator": "philox"})],
)
def test_a_sampler_object_draws_with_its_own_seed_and_the_given_step(name: str, options: dict[str, Any]) -> None:
    problem = make_problem()
    sampler = ss.Sampler(name, 50, 20, seed=9, rank=2, **options)
    drawn = sampler.sample(problem.labels, step=11)
    wanted = ss.sampled_softmax_loss(*problem.arrays, sampled_values=drawn)
    assert sampler.step == 0
    equal(ssj.sampled_softmax_loss(*arrays(problem), sampler=sampler, step=11), wanted)


@pytest.mark.parametrize("removal", [True, False])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_the_class_is_numpys_at_the_same_step(reduction: str, removal: bool) -> None:
    problem = make_problem(num_classes=200, num_true=2)
    weights, biases, labels, inputs, *sizes = problem.arrays
    numpy_class = ss.SampledSoftmaxLoss(*sizes, None, removal, 7, reduction)
    jax_class = ssj.SampledSoftmaxLoss(*sizes, None, removal, 7, reduction)
    for step in range(3):
        equal(jax.jit(jax_class)(weights, biases, labels, inputs, step), numpy_class(weights, biases, labels, inputs))


def test_narrow_and_flat_labels() -> None:
    problem = make_problem()
    wanted = ss.sampled_softmax_loss(*problem.arrays, sampled_values=problem.sampled_values)
    weights, biases, _, inputs, *sizes = arrays(problem)
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64):
        narrow = problem.labels.astype(dtype).ravel()
        loss = ssj.sampled_softmax_loss(weights, biases, narrow, inputs, *sizes, sampled_values=problem.sampled_values)
        equal(loss, wanted)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_no_rows(reduction: str) -> None:
    assert_same(make_problem(num_rows=0), reduction=reduction)


def test_rows_behind_the_last_are_dropped_by_a_scatter() -> None:
    # Every row has the same label, so most of the capacity stays free.
    problem = make_problem(num_rows=30, num_classes=100)
    problem.labels[:] = 3
    _, gradients = ssj.value_and_grad(*arrays(problem), sampled_values=problem.sampled_values)
    indices = np.asarray(gradients.weights.indices)
    assert indices.size == 50 and (indices == 100).sum() > 25
    table = jnp.zeros_like(problem.weights).at[indices].set(jnp.full_like(gradients.weights.values, 7), mode="drop")
    reached = np.unique(np.append(problem.sampled_values[0], 3))
    np.testing.assert_array_equal(np.flatnonzero(np.asarray(table).any(axis=1)), reached)
    _, dense = ssj.value_and_grad(*arrays(problem), sampled_values=problem.sampled_values, dense=True)
    equal(gradients.weights.dense(100), dense.weights)
    equal(gradients.biases.dense(100), dense.biases)
