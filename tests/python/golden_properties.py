"""Checkers of the golden properties and errors, on the base batch the file describes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import sampled_softmax as ss
from golden import CASES, Case, checks, floats, loss_arguments

TRUE_COUNTS = [[0.3], [0.2], [0.1]]
SAMPLED_COUNTS = [0.4, 0.25]


def base(dtype: Any = np.float32, scale: float = 1.0) -> dict[str, Any]:
    """EDGE-25's batch with candidates 2, 4; `scale` multiplies the expected counts."""
    values = (
        np.array([2, 4]),
        (floats(TRUE_COUNTS, np.float64) * scale).astype(dtype),
        (floats(SAMPLED_COUNTS, np.float64) * scale).astype(dtype),
    )
    changed = {"num_sampled": 2, "sampled_values": values}
    return loss_arguments(CASES["EDGE-25"], dtype) | changed


def assert_base_loss(case: Case, loss: object, rtol: float = 1e-5) -> None:
    np.testing.assert_allclose(loss, case["inputs"]["base_loss"], rtol=rtol)


@checks("PROP-28")
def equal_biases_shift_nothing(case: Case) -> None:
    arguments = base()
    assert_base_loss(case, ss.sampled_softmax_loss(**arguments))
    arguments["biases"] = arguments["biases"] + np.float32(7.5)
    assert_base_loss(case, ss.sampled_softmax_loss(**arguments))


@checks("PROP-29")
def equal_factors_of_the_counts_cancel(case: Case) -> None:
    assert_base_loss(case, ss.sampled_softmax_loss(**base(scale=3.0)))


@checks("PROP-31")
def label_dtype_and_rank_change_no_bit(case: Case) -> None:
    arguments = base()
    loss = ss.sampled_softmax_loss(**arguments)
    assert_base_loss(case, loss)
    for dtype in (np.int32, np.int64):
        labels = arguments["labels"].astype(dtype)
        for shaped in (labels, labels[:, 0]):
            again = ss.sampled_softmax_loss(**arguments | {"labels": shaped})
            assert again.tobytes() == loss.tobytes()


@checks("PROP-32")
def reductions(case: Case) -> None:
    rows = np.array(case["inputs"]["base_loss"])
    for reduction, expected in (("mean", rows.mean()), ("sum", rows.sum())):
        loss = ss.sampled_softmax_loss(**base(), reduction=reduction)
        assert np.ndim(loss) == 0
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


@checks("PROP-33")
def sparse_rows_are_unique_and_all_that_is_touched(_: Case) -> None:
    arguments = base()
    arguments["labels"] = np.array([[0], [3], [0]])
    _, sparse = ss.value_and_grad(**arguments)
    _, dense = ss.value_and_grad(**arguments, dense=True)
    assert sparse.weights.indices.tolist() == sparse.biases.indices.tolist() == [0, 2, 3, 4]
    untouched = [1, 5]
    assert not dense.weights[untouched].any()
    assert not dense.biases[untouched].any()
    np.testing.assert_allclose(sparse.weights.values, dense.weights[[0, 2, 3, 4]], rtol=1e-6)
    np.testing.assert_allclose(sparse.biases.values, dense.biases[[0, 2, 3, 4]], rtol=1e-6)


@checks("PROP-34")
def gradients_are_the_central_differences(_: Case) -> None:
    """The step 1e-5 leaves an error of 1e-10 in float64, far below the asked-for 1e-4."""
    arguments, step = base(np.float64), 1e-5
    _, gradients = ss.value_and_grad(**arguments, dense=True)
    for name, gradient in zip(
        ("inputs", "weights", "biases"),
        (gradients.inputs, gradients.weights, gradients.biases),
        strict=True,
    ):
        differences = np.empty_like(gradient)
        for index in np.ndindex(gradient.shape):
            sides = []
            for sign in (1, -1):
                moved = arguments[name].copy()
                moved[index] += sign * step
                sides.append(ss.sampled_softmax_loss(**arguments | {name: moved}).sum())
            differences[index] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(gradient, differences, rtol=0, atol=1e-8, err_msg=name)


@checks("PROP-35")
def counts_and_candidates_have_no_gradient(_: Case) -> None:
    arguments = base()
    before = [values.copy() for values in arguments["sampled_values"]]
    _, gradients = ss.value_and_grad(**arguments)
    assert gradients._fields == ("inputs", "weights", "biases")
    for values, kept in zip(arguments["sampled_values"], before, strict=True):
        np.testing.assert_array_equal(values, kept)


@checks("PROP-37")
def bfloat16_inputs_with_float32_weights(case: Case) -> None:
    arguments = base()
    arguments["inputs"] = arguments["inputs"].astype(ml_dtypes.bfloat16)
    loss = ss.sampled_softmax_loss(**arguments)
    assert loss.dtype == np.float32
    # bfloat16 keeps 8 bits of an input, and the logits are sums of a few inputs.
    assert_base_loss(case, loss, rtol=2e-2)


BATCH = {
    "weights": np.eye(7, 3, dtype=np.float32),
    "biases": np.zeros(7, np.float32),
    "labels": np.array([[1]]),
    "inputs": np.ones((1, 3), np.float32),
    "num_sampled": 2,
    "num_classes": 7,
}

# The function, and MindSpore's class, refuse the same arguments in the same way.
ERRORS: dict[str, list[tuple[type[Exception], dict[str, Any]]]] = {
    "ERR-38": [(ValueError, {"labels": np.array([[7]])})],
    "ERR-39": [(ValueError, {"labels": np.array([[-1]])})],
    "ERR-40": [(ValueError, {"num_sampled": 8})],
    "ERR-41": [(ValueError, {"num_true": 0})],
    "ERR-42": [(ValueError, {"num_true": 8, "labels": np.zeros((1, 8), np.int64)})],
    "ERR-43": [(ValueError, {"seed": -1})],
    "ERR-44": [(ValueError, {"reduction": ""}), (ValueError, {"reduction": "invalid"})],
    "ERR-45": [
        (ValueError, {"sampled_values": (1, 2, 3, 4)}),
        (TypeError, {"sampled_values": np.zeros(3, np.float32)}),
    ],
    "ERR-46": [(TypeError, {"labels": np.array([[1.0]], np.float32)})],
    "ERR-47": [(ValueError, {"num_true": 2})],
    "ERR-48": [(ValueError, {"num_sampled": 0})],
}


def same_class(weights: object, biases: object, labels: object, inputs: object, **options: Any) -> object:
    """`SampledSoftmaxLoss` made and called with the function's keywords."""
    return ss.SampledSoftmaxLoss(**options)(weights, biases, labels, inputs)


@checks(*ERRORS)
def bad_argument_is_an_error(case: Case) -> None:
    for exception, changed in ERRORS[case["id"]]:
        for call in (ss.sampled_softmax_loss, ss.value_and_grad, same_class):
            call(**BATCH)
            with pytest.raises(exception):
                call(**BATCH | changed)
