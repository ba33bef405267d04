"""Checkers of the golden losses, gradients, logits and accidental hits."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import sampled_softmax as ss
from golden import CASES, LATER, Case, assert_expected, checks, floats, loss_arguments


def _is_tabulated_loss(case: Case) -> bool:
    is_loss = case["op"] == "sampled_softmax_loss" and case["id"] not in LATER
    return is_loss and case["expect"]["type"] == "allclose"


@checks(*(case_id for case_id, case in CASES.items() if _is_tabulated_loss(case)))
def tabulated_loss(case: Case) -> None:
    """The loss, the gradients where there are any, in float32 and float64."""
    expect = case["expect"]
    for dtype in (np.float32, np.float64):
        arguments = loss_arguments(case, dtype)
        assert_expected(ss.sampled_softmax_loss(**arguments), expect, "loss")
        loss, gradients = ss.value_and_grad(**arguments, dense=True)
        assert loss.dtype == dtype
        assert_expected(loss, expect, "loss")
        if "grad_of" not in expect:
            continue
        assert expect["grad_of"] == "sum(loss)"
        tolerance = {"rtol": 0, "atol": expect["grad_atol"]}
        np.testing.assert_allclose(gradients.weights, floats(expect["d_weights"]), **tolerance)
        np.testing.assert_allclose(gradients.biases, floats(expect["d_bias"]), **tolerance)
        np.testing.assert_allclose(gradients.inputs, floats(expect["d_inputs"]), **tolerance)
    if any("bfloat16" in also for also in case.get("also", [])):
        loss = ss.sampled_softmax_loss(**loss_arguments(case, ml_dtypes.bfloat16))
        np.testing.assert_allclose(loss, floats(expect["loss"]), atol=1e-1)


@checks("EDGE-17")
def overflowing_row_stays_alone(case: Case) -> None:
    loss = ss.sampled_softmax_loss(**loss_arguments(case))
    assert not np.isfinite(loss[0])
    np.testing.assert_allclose(loss[1], 0.693147180559945, rtol=1e-6)


@checks("EDGE-21")
def zero_expected_count_is_an_error(case: Case) -> None:
    with pytest.raises(ValueError, match=r"true_expected_count.* 0"):
        ss.sampled_softmax_loss(**loss_arguments(case))


@checks("EDGE-22")
def no_rows(case: Case) -> None:
    given, params = case["inputs"], case["params"]
    arguments: dict[str, Any] = {
        "weights": floats(given["weights"]),
        "biases": floats(given["bias"]),
        "labels": np.zeros(given["labels_shape"], np.int64),
        "inputs": np.zeros(given["inputs_shape"], np.float32),
        "num_sampled": params["num_sampled"],
        "num_classes": params["num_classes"],
        "sampled_values": (
            np.array(given["sampled_candidates"]),
            np.zeros(given["true_expected_count_shape"], np.float32),
            floats(given["sampled_expected_count"]),
        ),
    }
    for reduction, shape in (("none", (0,)), ("mean", ()), ("sum", ())):
        loss, gradients = ss.value_and_grad(**arguments, reduction=reduction, dense=True)
        assert np.shape(loss) == shape
        assert np.sum(loss) == 0
        assert gradients.inputs.shape == (0, 3)
        assert not gradients.weights.any()
        assert not gradients.biases.any()


@checks(*(case_id for case_id, case in CASES.items() if case["op"] == "sampled_logits"))
def raw_logits(case: Case) -> None:
    """Logits without ln Q are those of expected counts 1. The library returns none, but
    one class of logit 0 brings each out alone: against it as the label the loss is
    softplus(z), against it as the candidate softplus(-z)."""
    given, expect = case["inputs"], case["expect"]
    arguments = loss_arguments(case)
    zero_class = arguments["num_classes"]
    arguments["weights"] = np.vstack([arguments["weights"], np.zeros_like(arguments["weights"][:1])])
    arguments["biases"] = np.append(arguments["biases"], np.float32(0))
    arguments |= {"num_classes": zero_class + 1, "num_sampled": 1, "num_true": 1}
    inputs, labels = arguments["inputs"], np.array(given["labels"])
    one = np.ones((1, 1), np.float32)

    def loss(row: int, label: int, candidate: int) -> float:
        values = (np.array([candidate]), one, one[0])
        row_alone = {"inputs": inputs[row : row + 1], "labels": np.array([[label]])}
        return float(ss.sampled_softmax_loss(**arguments | row_alone | {"sampled_values": values})[0])

    logits = floats(expect["logits"], np.float64)
    assert logits.shape == (len(inputs), labels.shape[1] + len(given["sampled_candidates"]))
    tolerance = {"rtol": expect["rtol"], "atol": expect["atol"]}
    for n, row in enumerate(logits):
        true = [loss(n, label, zero_class) for label in labels[n]]
        sampled = [loss(n, zero_class, candidate) for candidate in given["sampled_candidates"]]
        num_true = labels.shape[1]
        np.testing.assert_allclose(true, np.logaddexp(0, -row[:num_true]), **tolerance)
        np.testing.assert_allclose(sampled, np.logaddexp(0, row[num_true:]), **tolerance)


@checks("TF-09")
def accidental_hits(case: Case) -> None:
    given, expect = case["inputs"], case["expect"]
    rows, positions, weights = ss.compute_accidental_hits(
        given["labels"], given["sampled_candidates"], case["params"]["num_true"]
    )
    assert rows.tolist() == expect["indices"]
    assert positions.tolist() == expect["ids"]
    assert np.all(weights < -1e37)
