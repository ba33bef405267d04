"""Updates in place: what the same gradients come to in an optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from problems import BFLOAT16, Problem, make_problem, scattered

RULES = ("sgd", "adagrad", "row_adagrad")


def update_of(rule: str, problem: Problem, **options: Any) -> ss.SGD | ss.Adagrad | ss.RowAdagrad:
    if rule == "sgd":
        return ss.SGD(0.25, **options)
    num_classes, dim = problem.weights.shape
    dtype = np.float64 if problem.inputs.dtype == np.float64 else np.float32
    shape = (num_classes, dim) if rule == "adagrad" else (num_classes,)
    states = np.full(shape, 0.5, dtype), None if problem.biases is None else np.full(num_classes, 0.25, dtype)
    return (ss.Adagrad if rule == "adagrad" else ss.RowAdagrad)(0.25, *states, epsilon=0.01, **options)


def moved(rule: str, weights: np.ndarray, gradient: np.ndarray, before: float) -> np.ndarray:
    if rule == "sgd":
        return weights - 0.25 * gradient
    squares = gradient**2
    if rule == "row_adagrad" and gradient.ndim == 2:
        squares = squares.mean(axis=1, keepdims=True)
    return weights - 0.25 * gradient / (np.sqrt(before + squares) + 0.01)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16, np.float64])
@pytest.mark.parametrize("biased", [True, False])
def test_an_update_is_the_gradients_step(rule: str, dtype: Any, biased: bool) -> None:
    # Inputs of 32 bits: where both have 16, other instructions multiply them.
    wide = np.float64 if dtype == np.float64 else np.float32
    problem = make_problem(dtypes=(dtype, dtype, wide), num_true=2)
    if not biased:
        problem.biases = None
    options: dict[str, Any] = {"sampled_values": problem.sampled_values, "reduction": "mean"}
    as_wide = [None if array is None else array.astype(wide) for array in problem.arrays[:2]]
    loss, gradients = ss.value_and_grad(*as_wide, *problem.arrays[2:], **options)
    before = [None if array is None else array.astype(np.float64) for array in problem.arrays[:2]]
    updated, nothing = ss.value_and_grad(*problem.arrays, update=update_of(rule, problem), **options)
    np.testing.assert_allclose(np.asarray(updated, float), np.asarray(loss, float), rtol=1e-5)
    np.testing.assert_allclose(nothing.inputs.astype(float), gradients.inputs.astype(float), rtol=1e-4, atol=1e-6)
    assert nothing.weights is None and nothing.biases is None
    num_classes = problem.weights.shape[0]
    unit = 2.0**-8 if dtype == BFLOAT16 else float(np.finfo(dtype).eps)
    got, want = problem.weights, moved(rule, before[0], scattered(gradients.weights, num_classes), 0.5)
    np.testing.assert_allclose(got.astype(float), want, rtol=unit, atol=1e-6)
    if biased:
        got, want = problem.biases, moved(rule, before[1], scattered(gradients.biases, num_classes), 0.25)
        np.testing.assert_allclose(got.astype(float), want, rtol=unit, atol=1e-6)


def test_weight_decay_is_that_of_the_rows_that_move() -> None:
    problem, same = make_problem(), make_problem()
    options: dict[str, Any] = {"sampled_values": problem.sampled_values}
    _, gradients = ss.value_and_grad(*same.arrays, **options)
    ss.value_and_grad(*problem.arrays, update=ss.SGD(0.25, weight_decay=0.5), **options)
    rows = gradients.weights.indices
    same.weights[rows] -= 0.25 * (gradients.weights.values + 0.5 * same.weights[rows])
    same.biases[rows] -= 0.25 * gradients.biases.values
    np.testing.assert_allclose(problem.weights, same.weights, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(problem.biases, same.biases, rtol=1e-6, atol=1e-7)


def test_what_cannot_be_changed_in_place_is_refused() -> None:
    problem = make_problem()

    def attempt(error: type[Exception], words: str, update: Any = None, dense: bool = False, **changed: Any) -> None:
        arrays = dict(zip(("weights", "biases", "labels", "inputs"), problem.arrays, strict=False)) | changed
        before = problem.weights.copy(), problem.biases.copy()
        with pytest.raises(error, match=words):
            ss.value_and_grad(
                *arrays.values(), *problem.arrays[4:], sampled_values=problem.sampled_values, dense=dense,
                update=update or ss.SGD(0.1),
            )  # fmt: skip
        np.testing.assert_array_equal(problem.weights, before[0])
        np.testing.assert_array_equal(problem.biases, before[1])

    frozen = problem.weights.copy()
    frozen.flags.writeable = False

    class Other:
        """Memory that only DLPack or a copy leads to."""

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            return problem.weights

    attempt(TypeError, "weights is a Other", weights=Other())
    attempt(ValueError, "weights is read-only", weights=frozen)
    attempt(ValueError, "weights has a layout", weights=np.asfortranarray(problem.weights))
    attempt(ValueError, "biases has a layout", biases=np.repeat(problem.biases, 2)[::2])
    attempt(ValueError, "dense", dense=True)
    attempt(TypeError, "update is a float", update=0.1)
    state, biases_state = np.zeros_like(problem.weights), np.zeros_like(problem.biases)
    attempt(ValueError, "weights_state has shape", update=ss.RowAdagrad(0.1, state, biases_state))
    attempt(TypeError, "weights_state has dtype float64", update=ss.Adagrad(0.1, state.astype(float), biases_state))
    attempt(ValueError, "biases_state is None", update=ss.Adagrad(0.1, state))
    attempt(ss.SampledSoftmaxError, "learning_rate = -1", update=ss.SGD(-1.0))


def test_rows_may_lie_apart() -> None:
    problem, apart = make_problem(), make_problem()
    wide = np.zeros((len(apart.weights), apart.weights.shape[1] + 5), np.float32)
    wide[:, :-5] = apart.weights
    options: dict[str, Any] = {"sampled_values": problem.sampled_values}
    ss.value_and_grad(*problem.arrays, update=ss.SGD(0.1), **options)
    ss.value_and_grad(wide[:, :-5], *apart.arrays[1:], update=ss.SGD(0.1), **options)
    np.testing.assert_array_equal(wide[:, :-5], problem.weights)
    assert not wide[:, -5:].any()


def test_a_call_without_an_update_changes_nothing_after_one_with() -> None:
    problem = make_problem()
    options: dict[str, Any] = {"sampled_values": problem.sampled_values}
    ss.value_and_grad(*problem.arrays, update=ss.SGD(0.1), **options)
    before = problem.weights.copy()
    ss.value_and_grad(*problem.arrays, **options)
    ss.value_and_grad(*problem.arrays, dense=True, **options)
    np.testing.assert_array_equal(problem.weights, before)
