"""`sampled_softmax.tensorflow` and bad input: the error TensorFlow's users expect, with its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from adapters import import_sampled_softmax_tensorflow
from problems import make_problem

tf, sst = import_sampled_softmax_tensorflow()

PROBLEM = make_problem(1)
GOOD: dict[str, Any] = {
    "weights": PROBLEM.weights,
    "biases": PROBLEM.biases,
    "labels": PROBLEM.labels,
    "inputs": PROBLEM.inputs,
    "num_sampled": 20,
    "num_classes": 50,
    "sampled_values": PROBLEM.sampled_values,
}
IDS, TRUE, SAMPLED = PROBLEM.sampled_values

WHEN_CALLED = {
    "weights: shape": ({"weights": PROBLEM.weights[:49]}, ValueError, r"weights has shape \(49, 17\)"),
    "weights: rank": ({"weights": PROBLEM.weights[0]}, ValueError, r"weights has shape \(17,\)"),
    "weights: dtype": ({"weights": PROBLEM.weights.astype(int)}, TypeError, "weights has dtype int64"),
    "inputs: dtype": ({"inputs": PROBLEM.inputs > 0}, TypeError, "inputs has dtype bool"),
    "inputs: float64 alone": ({"inputs": PROBLEM.inputs.astype(float)}, TypeError, "inputs is float64, weights is"),
    "biases: shape": ({"biases": PROBLEM.biases[:3]}, ValueError, r"biases has shape \(3,\)"),
    "labels: rows": ({"labels": PROBLEM.labels[:5]}, ValueError, "labels has 5 rows, but inputs has 13"),
    "labels: columns": ({"num_true": 2}, ValueError, r"labels has shape \(13, 1\); num_true = 2"),
    "labels: dtype": ({"labels": PROBLEM.labels * 1.0}, TypeError, "labels has dtype float64"),
    "num_sampled: zero": ({"num_sampled": 0}, ValueError, "num_sampled = 0"),
    "num_sampled: float": ({"num_sampled": 4.5}, TypeError, "num_sampled = 4.5"),
    "num_classes: other": ({"num_classes": 51}, ValueError, r"weights has shape \(50, 17\); \(51, 17\) is needed"),
    "sampled_values: two": ({"sampled_values": (IDS, TRUE)}, ValueError, "sampled_values has 2 elements"),
    "sampled_values: array": ({"sampled_values": IDS}, TypeError, "sampled_values is a ndarray"),
    "sampled_values: ids": ({"sampled_values": (IDS[:3], TRUE, SAMPLED)}, ValueError, "sampled_candidates has shape"),
    "sampled_values: float ids": (
        {"sampled_values": (IDS * 1.0, TRUE, SAMPLED)},
        TypeError,
        "sampled_candidates has dtype",
    ),
    "sampled_values: counts": (
        {"sampled_values": (IDS, TRUE[:2], SAMPLED)},
        ValueError,
        "true_expected_count has shape",
    ),
    "sample_weights: shape": ({"sample_weights": np.ones(3)}, ValueError, r"sample_weights has shape \(3,\)"),
    "reduction": ({"reduction": "average"}, ValueError, "reduction = 'average'"),
    "seed": ({"seed": -1, "sampled_values": None}, ValueError, "seed = -1"),
    "sampler": ({"sampler": "zipf", "sampled_values": None}, ValueError, "sampler = 'zipf'"),
    "sampler: weights": ({"sampler": "fixed_unigram", "sampled_values": None}, ValueError, "needs weights"),
    "sampler object: seed": (
        {"sampler": ss.Sampler("uniform", 50, 20), "seed": 1, "sampled_values": None},
        ValueError,
        "a Sampler brings its own",
    ),
    "sampler object: size": (
        {"sampler": ss.Sampler("uniform", 50, 10), "sampled_values": None},
        ValueError,
        "draws 10 of 50",
    ),
    "num_threads": ({"num_threads": -1}, ValueError, "num_threads = -1"),
}
WHEN_RUN = {
    "label too large": ({"labels": PROBLEM.labels + 50}, r"labels\[0\] = \d+ is outside \[0, 50\)"),
    "label negative": ({"labels": PROBLEM.labels - 50}, r"labels\[0\] = -\d+ is outside \[0, 50\)"),
    "label too large, drawing": ({"labels": PROBLEM.labels + 50, "sampled_values": None}, r"labels\[0\] = \d+"),
    "candidate": ({"sampled_values": (IDS + 40, TRUE, SAMPLED)}, r"\d+ is outside \[0, 50\)"),
    "count of zero": ({"sampled_values": (IDS, TRUE, 0 * SAMPLED)}, "sampled_expected_count"),
    "too many": ({"num_sampled": 51, "sampled_values": None}, "51"),
    "floor": ({"probability_floor": 2.0}, "probability_floor"),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("changes", "error", "message"), WHEN_CALLED.values(), ids=WHEN_CALLED)
def test_what_shapes_and_dtypes_show_is_an_error_of_python(
    changes: dict[str, Any], error: type[Exception], message: str, compiled: bool
) -> None:
    call = tf.function(lambda: sst.sampled_softmax_loss(**{**GOOD, **changes})) if compiled else None
    with pytest.raises(error, match=message):
        call() if call else sst.sampled_softmax_loss(**{**GOOD, **changes})


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("changes", "message"), WHEN_RUN.values(), ids=WHEN_RUN)
def test_what_the_values_show_is_an_invalid_argument(changes: dict[str, Any], message: str, compiled: bool) -> None:
    evaluate = tf.function(lambda: sst.sampled_softmax_loss(**{**GOOD, **changes}))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        evaluate() if compiled else sst.sampled_softmax_loss(**{**GOOD, **changes})


@pytest.mark.parametrize("compiled", [False, True])
def test_second_derivative_is_a_lookup_error_that_says_so(compiled: bool) -> None:
    inputs = tf.Variable(PROBLEM.inputs)

    def evaluate() -> Any:
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = sst.sampled_softmax_loss(**{**GOOD, "inputs": inputs})
            gradient = inner.gradient(loss, inputs)
        return outer.gradient(gradient, inputs)

    # AutoGraph wraps errors of kinds that it does not know, TensorFlow's own ones of this
    # kind too.
    with pytest.raises(LookupError, match="second derivative of sampled_softmax_loss"):
        tf.function(evaluate, autograph=False)() if compiled else evaluate()


def test_xla_says_which_op_it_cannot_compile() -> None:
    inputs = tf.Variable(PROBLEM.inputs)
    evaluate = tf.function(lambda: sst.sampled_softmax_loss(**{**GOOD, "inputs": inputs}), jit_compile=True)
    with pytest.raises(tf.errors.OpError, match="SampledSoftmaxForward"):
        evaluate()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_sampled": 51}, ValueError, "num_sampled = 51 is greater than num_classes = 50"),
        ({"num_true": 51}, ValueError, "num_true = 51"),
        ({"remove_accidental_hits": 1}, TypeError, "remove_accidental_hits = 1"),
        ({"seed": 1.5}, TypeError, "seed = 1.5"),
        ({"reduction": ""}, ValueError, "reduction = ''"),
        ({"sampled_values": (IDS, TRUE)}, ValueError, "sampled_values has 2"),
        ({"sampler": ss.Sampler("uniform", 50, 20), "seed": 3}, ValueError, "seed = 3"),
    ],
    ids=str,
)
def test_module_refuses_what_cannot_be_meant(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sst.SampledSoftmaxLoss(**{"num_sampled": 20, "num_classes": 50, **arguments})


def test_module_has_too_few_classes_left() -> None:
    loss = sst.SampledSoftmaxLoss(45, 50)
    with pytest.raises(tf.errors.InvalidArgumentError, match="45"):
        loss(*PROBLEM.arrays[:4])
