"""What is wrong with one row, or with one candidate, and whom it may reach."""

from __future__ import annotations

import pytest
import torch
from device import Stream
from engine import Call, Engine
from problem import Problem
from sampled_softmax import _abi


def run(problem: Problem) -> dict[str, torch.Tensor]:
    with Engine(problem) as engine:
        call = Call(engine, problem, Stream())
        call.queue_forward_backward()
        return call.results()


@pytest.mark.parametrize("dim", [48, 320])
@pytest.mark.parametrize("label", [-1, 200, 2**40, -(2**62)])
def test_label_out_of_range(label: int, dim: int) -> None:
    problem = Problem(30, dim, 200, 60, seed=1)
    problem.tensors["labels"][7] = label
    results = run(problem)
    assert int(results["device_status"]) == _abi.SSL_STATUS_LABEL_RANGE
    assert torch.isnan(results["loss"][7])
    assert not results["d_inputs"][7].any()
    others = torch.arange(30) != 7
    assert torch.isfinite(results["loss"][others]).all()
    assert torch.isfinite(results["d_weights"]).all()


def test_expected_count_of_zero() -> None:
    problem = Problem(30, 48, 200, 60, seed=2)
    problem.tensors["true_expected_count"][3] = 0
    results = run(problem)
    assert int(results["device_status"]) == _abi.SSL_STATUS_EXPECTED_COUNT
    assert torch.isnan(results["loss"][3])
    assert torch.isfinite(results["loss"][4:]).all()


@pytest.mark.parametrize("name", ["ids", "sampled_expected_count"])
def test_bad_candidate_leaves_no_loss(name: str) -> None:
    problem = Problem(30, 48, 200, 60, seed=3)
    problem.tensors[name][5] = -1
    results = run(problem)
    status = _abi.SSL_STATUS_LABEL_RANGE if name == "ids" else _abi.SSL_STATUS_EXPECTED_COUNT
    assert int(results["device_status"]) == status
    assert torch.isnan(results["loss"]).all()
    for gradient in ("d_inputs", "d_weights", "d_biases"):
        assert not results[gradient].any()


@pytest.mark.parametrize("dim", [48, 320])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weightless_row_is_not_looked_at(value: float, dim: int) -> None:
    problem = Problem(30, dim, 200, 60, weighted=True, seed=4)
    expected = problem.solve()
    problem.tensors["inputs"][4] = value
    results = run(problem)
    assert torch.equal(torch.isfinite(results["d_weights"]), torch.ones(200, dim, dtype=torch.bool))
    assert results["loss"][4] == 0
    assert not results["d_inputs"][4].any()
    torch.testing.assert_close(results["loss"].double(), expected["loss"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dim", [48, 320])
def test_nan_row_reaches_no_other(dim: int) -> None:
    problem = Problem(30, dim, 200, 60, seed=5)
    expected = problem.solve()
    problem.tensors["inputs"][11] = float("nan")
    results = run(problem)
    others = torch.arange(30) != 11
    assert torch.isnan(results["loss"][11])
    torch.testing.assert_close(results["loss"][others].double(), expected["loss"][others], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(results["d_inputs"][others].double(), expected["d_inputs"][others], rtol=1e-3, atol=1e-4)


def test_class_switched_off() -> None:
    problem = Problem(30, 48, 200, 60, seed=6)
    problem.tensors["biases"][problem.tensors["ids"][20]] = -torch.inf
    problem.tensors["biases"][problem.tensors["labels"][9]] = -torch.inf
    expected = problem.solve()
    results = run(problem)
    assert results["loss"][9] == torch.inf
    others = torch.isfinite(expected["loss"])
    torch.testing.assert_close(results["loss"][others].double(), expected["loss"][others], rtol=1e-4, atol=1e-4)
