"""Bad input to the JAX binding: the error a user of JAX expects, naming the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from jax_problems import RUN_ERRORS, arrays, equal, jax, jnp, ssj
from problems import make_problem

PROBLEM = make_problem(num_true=2)
NAMES = ("weights", "biases", "labels", "inputs", "num_sampled", "num_classes", "num_true")
IDS, TRUE, SAMPLED = PROBLEM.sampled_values


def call(function: Any = ssj.sampled_softmax_loss, **changes: Any) -> Any:
    """A call that is right but for the changes, run to its end."""
    arguments = {**dict(zip(NAMES, arrays(PROBLEM), strict=True)), "sampled_values": PROBLEM.sampled_values, **changes}
    return jax.block_until_ready(function(**arguments))


BEFORE_IT_RUNS = [
    ({"inputs": PROBLEM.inputs[0]}, ValueError, r"inputs has shape \(17,\); a matrix"),
    ({"inputs": PROBLEM.inputs[:, :0]}, ValueError, r"inputs has shape \(13, 0\)"),
    ({"inputs": PROBLEM.inputs.astype(int)}, TypeError, "inputs has dtype int32; float32"),
    ({"inputs": PROBLEM.inputs.astype(complex)}, TypeError, "inputs has dtype complex64"),
    ({"inputs": None}, TypeError, "inputs is None"),
    ({"inputs": "text"}, TypeError, "inputs is a str"),
    ({"weights": PROBLEM.weights[:-1]}, ValueError, r"weights has shape \(49, 17\); \(50, 17\) is needed"),
    ({"weights": PROBLEM.weights[:, :-1]}, ValueError, r"weights has shape \(50, 16\); \(50, 17\) is needed"),
    ({"biases": PROBLEM.biases[:-1]}, ValueError, r"biases has shape \(49,\); \(50,\) is needed"),
    ({"biases": PROBLEM.biases[:, None]}, ValueError, r"biases has shape \(50, 1\)"),
    ({"labels": PROBLEM.labels[:-1]}, ValueError, "labels has 12 rows, but inputs has 13"),
    ({"labels": PROBLEM.labels[:, :1]}, ValueError, r"labels has shape \(13, 1\); num_true = 2 columns"),
    ({"labels": PROBLEM.labels * 1.0}, TypeError, "labels has dtype float32; integers are needed"),
    ({"labels": PROBLEM.labels > 3}, TypeError, "labels has dtype bool; integers are needed"),
    ({"labels": PROBLEM.labels + 2**32}, ValueError, "labels has .*, which does not fit int32"),
    ({"num_sampled": 0}, ValueError, "num_sampled = 0 is less than 1"),
    ({"num_sampled": 2.0}, TypeError, "num_sampled = 2.0 is not an integer"),
    ({"num_classes": 2**31}, ValueError, "num_classes = 2147483648 .* jax_enable_x64"),
    ({"reduction": "max"}, ValueError, "reduction = 'max' is none of"),
    ({"probability_floor": 2.0}, ss.SampledSoftmaxError, "probability_floor"),
    ({"ignore_index": 1.5}, TypeError, "ignore_index = 1.5 is not an integer"),
    ({"sample_weights": np.ones(3)}, ValueError, r"sample_weights has shape \(3,\); \(13,\) is needed"),
    ({"sample_weights": np.ones(13, bool)}, TypeError, "sample_weights has dtype bool"),
    ({"num_threads": -1}, ValueError, "num_threads = -1 is less than 0"),
    ({"sampled_values": (IDS, TRUE)}, ValueError, "sampled_values has 2 elements"),
    ({"sampled_values": IDS}, TypeError, "sampled_values is a ndarray"),
    ({"sampled_values": (IDS[:-1], TRUE, SAMPLED)}, ValueError, r"sampled_candidates has shape \(19,\)"),
    ({"sampled_values": (IDS * 1.0, TRUE, SAMPLED)}, TypeError, "sampled_candidates has dtype float32"),
    ({"sampled_values": (IDS, TRUE[:-1], SAMPLED)}, ValueError, r"true_expected_count has shape \(12, 2\)"),
    ({"sampled_values": (IDS, TRUE, SAMPLED[:-1])}, ValueError, r"sampled_expected_count has shape \(19,\)"),
    ({"sampled_values": None}, ValueError, "seed = None: a function of JAX"),
    ({"sampled_values": None, "seed": 0, "sampler": "zipf"}, ValueError, "sampler = 'zipf' is none of"),
    ({"sampled_values": None, "seed": 0, "sampler": "learned_unigram"}, ValueError, "learned_unigram_candidate_samp"),
    ({"sampled_values": None, "seed": 0, "sampler": "fixed_unigram"}, ValueError, "needs weights"),
    ({"sampled_values": None, "seed": 0, "step": 1.0}, TypeError, "step = 1.0 is not an integer"),
    ({"sampled_values": None, "seed": 0, "step": jnp.ones(2, int)}, ValueError, r"step has shape \(2,\)"),
    ({"sampled_values": None, "seed": jnp.int32(0)}, None, ""),
]


@pytest.mark.parametrize("function", [ssj.sampled_softmax_loss, ssj.value_and_grad], ids=["loss", "value_and_grad"])
@pytest.mark.parametrize(("changes", "error", "message"), BEFORE_IT_RUNS)
def test_what_shapes_and_dtypes_show(function: Any, changes: Any, error: Any, message: str) -> None:
    if error is None:
        call(function, **changes)
        return
    with pytest.raises(error, match=message):
        call(function, **changes)


def test_they_are_raised_while_a_function_is_traced() -> None:
    with pytest.raises(ValueError, match=r"inputs has shape \(17,\)"):
        jax.jit(lambda inputs: call(inputs=inputs))(PROBLEM.inputs[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": PROBLEM.labels + 50}, r"labels\[0, 0\] = \d+ is outside \[0, 50\)"),
        ({"labels": -1 - PROBLEM.labels}, r"labels\[0, 0\] = -\d+ is outside \[0, 50\)"),
        ({"sampled_values": (IDS + 50, TRUE, SAMPLED)}, "OUT_OF_RANGE.*50"),
        ({"sampled_values": (IDS, TRUE, SAMPLED * 0)}, "INVALID_ARGUMENT.*sampled_expected_count"),
        ({"sampled_values": (IDS, -TRUE, SAMPLED)}, "INVALID_ARGUMENT.*true_expected_count"),
    ],
)
@pytest.mark.parametrize("function", [ssj.sampled_softmax_loss, ssj.value_and_grad], ids=["loss", "value_and_grad"])
def test_what_only_the_numbers_show(function: Any, changes: Any, message: str) -> None:
    with pytest.raises(RUN_ERRORS, match=message):
        call(function, **changes)
    # The process goes on, and so does the handle.
    equal(call(), ss.sampled_softmax_loss(*PROBLEM.arrays, sampled_values=PROBLEM.sampled_values))


def test_too_many_exclusions() -> None:
    loss = ssj.SampledSoftmaxLoss(48, 50, 2, None, True, 0)
    weights, biases, labels, inputs = arrays(PROBLEM)[:4]
    with pytest.raises(RUN_ERRORS, match="exclude"):
        jax.block_until_ready(loss(weights, biases, labels, inputs, 0))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_half_double_is_refused(which: int) -> None:
    dtypes = [np.float32] * 3
    dtypes[which] = np.float64
    with jax.enable_x64(True):
        problem = make_problem(dtypes=tuple(dtypes))
        with pytest.raises(TypeError, match="float64 is for all of them or none"):
            ssj.sampled_softmax_loss(*arrays(problem), sampled_values=problem.sampled_values)


def test_the_class_says_what_it_needs() -> None:
    weights, biases, labels, inputs = arrays(PROBLEM)[:4]
    with pytest.raises(ValueError, match="step = None"):
        ssj.SampledSoftmaxLoss(5, 50, 2)(weights, biases, labels, inputs)
    with pytest.raises(ValueError, match="num_sampled = 51 is greater than num_classes = 50"):
        ssj.SampledSoftmaxLoss(51, 50)
    with pytest.raises(ValueError, match="num_true = 51 is greater than num_classes = 50"):
        ssj.SampledSoftmaxLoss(5, 50, 51)
    with pytest.raises(TypeError, match="remove_accidental_hits = 1 is not a bool"):
        ssj.SampledSoftmaxLoss(5, 50, 1, None, 1)
    with pytest.raises(ValueError, match="a Sampler brings its own seed"):
        ssj.SampledSoftmaxLoss(5, 50, seed=3, sampler=ss.Sampler("uniform", 50, 5))
    given = ssj.SampledSoftmaxLoss(20, 50, 2, PROBLEM.sampled_values)
    assert given(weights, biases, labels, inputs).shape == (13,)


def test_grad_output_is_checked() -> None:
    with pytest.raises(ValueError, match=r"grad_output has shape \(3,\); \(13,\) is needed"):
        call(ssj.value_and_grad, grad_output=np.ones(3))
    with pytest.raises(ValueError, match=r"grad_output has shape \(13,\); \(\) is needed"):
        call(ssj.value_and_grad, grad_output=np.ones(13), reduction="mean")


def test_a_bad_row_stays_alone() -> None:
    inputs = PROBLEM.inputs.copy()
    inputs[3] = np.nan
    loss, gradients = call(ssj.value_and_grad, inputs=inputs)
    good = np.arange(13) != 3
    assert np.isnan(loss[3]) and np.isfinite(loss[good]).all()
    wanted, theirs = call(ssj.value_and_grad)
    equal(loss[good], wanted[good])
    equal(gradients.inputs[good], theirs.inputs[good])
