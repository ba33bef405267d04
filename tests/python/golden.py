"""The acceptance cases of tests/golden: reading them, and who checks which.

A checker registers with `@checks("PROP-28")`; test_golden.py runs them all and holds
that every case of the file either has one or stands in `LATER`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from conftest import ROOT
from numpy.typing import ArrayLike, NDArray

Case = dict[str, Any]
Checker = Callable[[Case], None]

CASES: dict[str, Case] = {
    case["id"]: case for case in json.loads((ROOT / "tests" / "golden" / "acceptance_cases.json").read_text())["cases"]
}

COMES_LATER = "comes later"
LATER = {
    "TF-08": COMES_LATER,  # nce_loss
    "INB-80": COMES_LATER,  # in-batch softmax
    "INB-81": COMES_LATER,
    "INB-84": COMES_LATER,
    "INB-85": COMES_LATER,
    "ROW-86": COMES_LATER,  # negatives of each row's own
    "ROW-87": COMES_LATER,
    "PFC-88": COMES_LATER,  # class centres, sharded
    "LQ-90": COMES_LATER,  # the positive left out of the normaliser
}

CHECKERS: dict[str, Checker] = {}


def checks(*ids: str) -> Callable[[Checker], Checker]:
    """Registers the function that checks these cases."""

    def register(checker: Checker) -> Checker:
        for case_id in ids:
            if case_id not in CASES or case_id in CHECKERS:
                raise ValueError(f"{case_id} is no case, or already has a checker")
            CHECKERS[case_id] = checker
        return checker

    return register


def floats(values: ArrayLike, dtype: Any = np.float32) -> NDArray[Any]:
    """Numbers of the file, in which "nan", "inf" and "-inf" are strings."""
    return np.asarray(np.array(values, dtype=np.float64), dtype=dtype)


def loss_arguments(case: Case, dtype: Any = np.float32) -> dict[str, Any]:
    """Keywords of `sampled_softmax_loss` and `value_and_grad`."""
    given, params = case["inputs"], case["params"]
    counts_dtype = np.float64 if dtype == np.float64 else np.float32
    return {
        "weights": floats(given["weights"], dtype),
        "biases": floats(given["bias"], dtype),
        "labels": np.array(given["labels"]),
        "inputs": floats(given["inputs"], dtype),
        "num_sampled": params["num_sampled"],
        "num_classes": params["num_classes"],
        "num_true": params["num_true"],
        "sampled_values": (
            np.array(given["sampled_candidates"]),
            floats(given["true_expected_count"], counts_dtype),
            floats(given["sampled_expected_count"], counts_dtype),
        ),
        "remove_accidental_hits": params["remove_accidental_hits"],
    }


def assert_expected(actual: object, expect: Case, field: str) -> None:
    """`actual` is the case's `field` within the case's tolerances."""
    np.testing.assert_allclose(
        np.asarray(actual, dtype=np.float64),
        floats(expect[field], np.float64),
        rtol=float(expect["rtol"]),
        atol=float(expect["atol"]),
    )
