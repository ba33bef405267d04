"""The NumPy functions on a CUDA device: copies in and out, and the CPU engine's errors.

Run with libcuda in LD_LIBRARY_PATH; `make test` does, with the fake one of tests/emu.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from conftest import absent
from problems import Problem, assert_close, make_problem
from sampled_softmax import _errors

try:
    ss.sampled_softmax_loss(*make_problem().arrays, device="cuda")
except _errors.EngineError as error:
    absent(error.message)


def both(problem: Problem, **options: Any) -> tuple[Any, ss.Gradients]:
    return ss.value_and_grad(*problem.arrays, sampled_values=problem.sampled_values, **options)


def assert_close_to_float64(loss: Any, gradients: ss.Gradients, problem: Problem, **options: Any) -> None:
    wanted = problem.reference(**options)
    assert_close(np.asarray(loss), wanted["loss"])
    assert_close(gradients.inputs, wanted["d_inputs"])
    dense = np.zeros_like(problem.weights)
    dense[gradients.weights.indices] = gradients.weights.values
    assert_close(dense, wanted["d_weights"])


@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_arrays_go_to_the_device_and_results_come_back(reduction: str, num_true: int) -> None:
    problem = make_problem(num_true=num_true)
    problem.inputs = np.asfortranarray(problem.inputs)
    loss, gradients = both(problem, reduction=reduction, device="cuda")
    assert isinstance(gradients.inputs, np.ndarray)
    assert np.shape(loss) == ((13,) if reduction == "none" else ())
    assert_close_to_float64(loss, gradients, problem, reduction=reduction)


def test_arrays_on_the_device_stay_there() -> None:
    problem = make_problem()
    wanted = both(problem, device="cuda", reduction="mean")
    weights = problem.weights
    problem.weights = ss.to_device(weights)
    loss, gradients = both(problem, reduction="mean")
    assert isinstance(loss, ss.DeviceArray) and loss.shape == ()
    assert isinstance(gradients.weights.values, ss.DeviceArray)
    np.testing.assert_array_equal(loss.numpy(), wanted[0])
    np.testing.assert_array_equal(gradients.inputs.numpy(), wanted[1].inputs)
    np.testing.assert_array_equal(gradients.weights.indices.numpy(), wanted[1].weights.indices)
    np.testing.assert_array_equal(gradients.weights.values.numpy(), wanted[1].weights.values)


def test_dense_gradients() -> None:
    problem = make_problem()
    sparse, dense = both(problem, device="cuda")[1], both(problem, device="cuda", dense=True)[1]
    np.testing.assert_array_equal(dense.weights[sparse.weights.indices], sparse.weights.values)
    np.testing.assert_array_equal(dense.biases[sparse.biases.indices], sparse.biases.values)


@pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "learned_unigram"])
def test_a_seeded_draw_is_that_of_the_cpu(sampler: str) -> None:
    problem = make_problem(num_classes=57)
    losses = [
        ss.sampled_softmax_loss(*problem.arrays, sampler=ss.Sampler(sampler, 57, 20, seed=3), device=device)
        if sampler == "learned_unigram"
        else ss.sampled_softmax_loss(*problem.arrays, sampler=sampler, seed=3, step=2, device=device)
        for device in ("cpu", "cuda")
    ]
    # Logits of some 16, as three products of bfloat16 halves: 2^-16 of that.
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-5, atol=16 * 2.0**-16)


def test_environment_chooses_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem()
    wanted = both(problem, device="cuda:0")[0]
    monkeypatch.setenv("SAMPLED_SOFTMAX_DEVICE", "cuda")
    np.testing.assert_array_equal(both(problem)[0], wanted)


def message(call: Any) -> tuple[type, str]:
    with pytest.raises(ss.SampledSoftmaxError) as caught:
        call()
    return type(caught.value), caught.value.message


@pytest.mark.parametrize("mistake", ["label", "candidate", "true count", "sampled count"])
def test_what_a_kernel_finds_is_the_cpu_engines_exception(mistake: str) -> None:
    problem = make_problem(num_true=2)
    ids, true, sampled = problem.sampled_values
    if mistake == "label":
        problem.labels[4, 1] = 50
    elif mistake == "candidate":
        ids[7] = -3
    elif mistake == "true count":
        true[2, 1] = 0
    else:
        sampled[5] = np.nan
    on_device = message(lambda: both(problem, device="cuda"))
    assert on_device == message(lambda: both(problem, device="cpu"))
    assert "[" in on_device[1]


def test_arrays_and_device_that_contradict_each_other_are_refused() -> None:
    problem = make_problem()
    problem.weights = ss.to_device(problem.weights)
    with pytest.raises(ValueError, match="device = 'cpu', but weights is on cuda:0"):
        both(problem, device="cpu")
    with pytest.raises(ValueError, match="'cuda' nor 'cuda:<number>'"):
        ss.to_device(problem.inputs, "cpu")


def test_float64_is_refused_by_name() -> None:
    f64 = np.float64
    with pytest.raises(TypeError):
        both(make_problem(dtypes=(f64, f64, f64)), device="cuda")


def test_weights_on_the_device_are_updated_there_and_others_refused() -> None:
    problem = make_problem()
    options: dict[str, Any] = {"sampled_values": problem.sampled_values}
    refused = problem.weights.copy()
    with pytest.raises(ValueError, match="weights is not on a device"):
        ss.value_and_grad(*problem.arrays, device="cuda", update=ss.SGD(0.1), **options)
    np.testing.assert_array_equal(problem.weights, refused)
    arrays = [ss.to_device(array) for array in problem.arrays[:2]]
    states = np.zeros(len(problem.weights), np.float32), np.zeros(len(problem.weights), np.float32)
    on_device = [ss.to_device(state) for state in states]
    _, gradients = ss.value_and_grad(*arrays, *problem.arrays[2:], update=ss.RowAdagrad(0.1, *on_device), **options)
    _, wanted = ss.value_and_grad(*problem.arrays, update=ss.RowAdagrad(0.1, *states), **options)
    assert_close(gradients.inputs.numpy(), wanted.inputs)
    for got, want in zip((*arrays, *on_device), (problem.weights, problem.biases, *states), strict=True):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-3, atol=1e-4)
