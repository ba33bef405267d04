"""The acceptance cases whose losses and gradients are tabulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from device import Stream
from engine import Call, Engine
from problem import Problem

FILE = Path(__file__).resolve().parents[1] / "golden" / "acceptance_cases.json"
LATER = "TF-08"  # nce_loss


def _cases() -> list[dict[str, Any]]:
    cases = json.loads(FILE.read_text())["cases"]
    return [
        case
        for case in cases
        if case["op"] == "sampled_softmax_loss" and case["id"] != LATER and case["expect"]["type"] == "allclose"
    ]


def _floats(values: Any, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Numbers of the file, in which "nan", "inf" and "-inf" are strings."""

    def number(value: Any) -> Any:
        return [number(item) for item in value] if isinstance(value, list) else float(value)

    return torch.tensor(number(values), dtype=dtype)


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case["id"])
def test_tabulated_loss_and_gradients(case: dict[str, Any]) -> None:
    given, params, expect = case["inputs"], case["params"], case["expect"]
    inputs, weights = _floats(given["inputs"], torch.float32), _floats(given["weights"], torch.float32)
    problem = Problem(
        len(inputs),
        inputs.shape[1],
        params["num_classes"],
        params["num_sampled"],
        params["num_true"],
        mask_hits=False,
    )
    problem.mask_hits = params["remove_accidental_hits"]
    problem.tensors = {
        "inputs": inputs,
        "weights": weights,
        "biases": _floats(given["bias"], torch.float32),
        "labels": torch.tensor(given["labels"]).reshape(len(inputs), -1),
        "ids": torch.tensor(given["sampled_candidates"]),
        "true_expected_count": _floats(given["true_expected_count"], torch.float32),
        "sampled_expected_count": _floats(given["sampled_expected_count"], torch.float32),
    }
    with Engine(problem, "ieee") as engine:
        call = Call(engine, problem, Stream())
        call.queue_forward_backward()
        results = call.results()

    def assert_expected(name: str, field: str, rtol: float, atol: float) -> None:
        want = _floats(expect[field])
        torch.testing.assert_close(results[name].double(), want, rtol=rtol, atol=atol, equal_nan=True)

    assert_expected("loss", "loss", expect["rtol"], expect["atol"])
    if "grad_of" in expect:
        for name, field in (("d_inputs", "d_inputs"), ("d_weights", "d_weights"), ("d_biases", "d_bias")):
            assert_expected(name, field, 0, expect["grad_atol"])
