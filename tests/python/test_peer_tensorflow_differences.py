"""Where we differ from TensorFlow on purpose, and why.

Each test holds both sides: what TensorFlow 2.21 does, so that a change there is
noticed, and what we do instead.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import sampled_softmax as ss
from numpy.typing import ArrayLike
from oracle import reference
from peers import import_tensorflow

WEIGHTS = np.eye(3, dtype=np.float32) * 5
BIASES = np.zeros(3, np.float32)
INPUTS = np.ones((1, 3), np.float32)
HALVES = [np.float16, ml_dtypes.bfloat16]


@pytest.fixture(scope="module")
def tf() -> ModuleType:
    return import_tensorflow()


def sampled(
    ids: list[int], true_count: float = 0.5, sampled_count: float = 0.5, dtype: Any = np.float32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """sampled_values of one row: the same expected count for all."""
    counts = np.full(len(ids), sampled_count, dtype)
    return np.array(ids), np.full((1, 1), true_count, dtype), counts


def arguments(
    labels: ArrayLike,
    ids: list[int],
    *,
    weights: np.ndarray = WEIGHTS,
    biases: np.ndarray = BIASES,
    inputs: np.ndarray = INPUTS,
    values: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Keywords that `tf.nn.sampled_softmax_loss` and ours both take."""
    return {
        "weights": weights,
        "biases": biases,
        "labels": np.asarray(labels),
        "inputs": inputs,
        "num_sampled": len(ids),
        "num_classes": len(weights),
        "sampled_values": values or sampled(ids),
    }


@pytest.mark.parametrize("half", HALVES)
def test_masked_hit_stays_finite_in_half_precision(tf: ModuleType, half: Any) -> None:
    """TensorFlow adds -FLT_MAX to a hit, which is -inf in either half precision, and its
    cross entropy then multiplies it by a target of 0: NaN. We leave the column out."""
    halved = {
        name: value.astype(half) for name, value in (("weights", WEIGHTS), ("biases", BIASES), ("inputs", INPUTS))
    }
    given = arguments([[1]], [1, 0], **halved, values=sampled([1, 0], dtype=half))
    assert np.isnan(tf.nn.sampled_softmax_loss(**given).numpy()).all()
    loss, gradients = ss.value_and_grad(**given, dense=True)
    np.testing.assert_allclose(loss, [np.log(2)], rtol=1e-6)
    assert gradients.inputs.dtype == half
    np.testing.assert_array_equal(gradients.inputs.astype(np.float32), [[2.5, -2.5, 0]])


@pytest.mark.parametrize("half", HALVES)
def test_loss_of_half_precision_inputs_is_float32(tf: ModuleType, half: Any) -> None:
    """TensorFlow computes and returns the loss in half precision, 3 digits in bfloat16.
    We accumulate in float32 at least, so only the inputs are rounded."""
    halved = {
        name: value.astype(half) for name, value in (("weights", WEIGHTS), ("biases", BIASES), ("inputs", INPUTS))
    }
    given = arguments([[1]], [2, 0], **halved, values=sampled([2, 0], dtype=half))
    theirs = tf.nn.sampled_softmax_loss(**given).numpy()
    assert theirs.dtype == half
    assert abs(float(theirs[0]) - np.log(3)) > 1e-5
    loss = ss.sampled_softmax_loss(**given)
    assert loss.dtype == np.float32
    np.testing.assert_allclose(loss, [np.log(3)], rtol=1e-6)


@pytest.mark.parametrize("half", HALVES)
def test_half_inputs_may_meet_float32_weights(tf: ModuleType, half: Any) -> None:
    """TensorFlow refuses mixed dtypes; float32 weights under bfloat16 activations are how
    many models train, so we take them."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(1, 3)).astype(half)
    given = arguments([[1]], [2, 0], inputs=inputs)
    with pytest.raises(tf.errors.InvalidArgumentError, match="cannot compute"):
        tf.nn.sampled_softmax_loss(**given)
    expected = reference(WEIGHTS, BIASES, [[1]], inputs, [2, 0], [[0.5]], [0.5, 0.5])
    np.testing.assert_allclose(ss.sampled_softmax_loss(**given), expected["loss"], rtol=1e-6)


@pytest.mark.parametrize("dtype", [*HALVES, np.float64])
def test_default_sampler_serves_every_dtype(tf: ModuleType, dtype: Any) -> None:
    """TensorFlow's samplers give float32 counts, which it cannot subtract from logits of
    any other dtype: without sampled_values only float32 works."""
    given = arguments(
        [[1]],
        [0, 0, 0],
        weights=WEIGHTS.astype(dtype),
        biases=BIASES.astype(dtype),
        inputs=INPUTS.astype(dtype),
    ) | {"sampled_values": None}
    with pytest.raises(tf.errors.InvalidArgumentError, match="cannot compute Sub"):
        tf.nn.sampled_softmax_loss(**given)
    # All three classes are drawn, so this is the full softmax over equal logits.
    np.testing.assert_allclose(ss.sampled_softmax_loss(**given), [np.log(3)], rtol=1e-6)


def test_every_copy_of_a_repeated_hit_is_masked(tf: ModuleType) -> None:
    """TensorFlow maps an id to its last position only: with candidates 1, 1, 0 and label 1
    it leaves one copy of the label among the negatives, ln 3 instead of ln 2."""
    given = arguments([[1]], [1, 1, 0])
    np.testing.assert_allclose(tf.nn.sampled_softmax_loss(**given), [np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(ss.sampled_softmax_loss(**given), [np.log(2)], rtol=1e-6)


def test_every_copy_of_a_repeated_hit_is_listed(tf: ModuleType) -> None:
    """The same in `compute_accidental_hits`: TensorFlow lists the last position alone."""
    labels, ids = np.array([[1], [2]]), np.array([1, 1, 2])
    assert tf.nn.compute_accidental_hits(labels, ids, 1).ids.numpy().tolist() == [1, 2]
    rows, positions, _ = ss.compute_accidental_hits(labels, ids, 1)
    assert list(zip(rows, positions, strict=True)) == [(0, 0), (0, 1), (1, 2)]


def test_negative_class_switched_off_costs_nothing(tf: ModuleType) -> None:
    """TensorFlow multiplies the class's log-probability, -inf, by its target, 0: NaN. The
    limit is that the class does not exist, and so it is for us."""
    given = arguments([[0]], [2], biases=np.array([0, 0, -np.inf], np.float32))
    assert np.isnan(tf.nn.sampled_softmax_loss(**given).numpy()).all()
    loss, gradients = ss.value_and_grad(**given, dense=True)
    assert loss.tolist() == [0.0]
    assert not np.any(gradients.inputs)
    assert not np.any(gradients.weights)
    assert not np.any(gradients.biases)


@pytest.mark.parametrize(("true_count", "sampled_count"), [(0.0, 0.5), (0.5, 0.0)])
def test_expected_count_of_zero_is_an_error(tf: ModuleType, true_count: float, sampled_count: float) -> None:
    """ln 0 has no use. TensorFlow returns NaN, after which all weights are NaN."""
    given = arguments([[0]], [2], values=sampled([2], true_count, sampled_count))
    assert np.isnan(tf.nn.sampled_softmax_loss(**given).numpy()).all()
    with pytest.raises(ValueError, match="expected_count"):
        ss.sampled_softmax_loss(**given)


def test_sparse_gradient_names_each_row_once(tf: ModuleType) -> None:
    """TensorFlow's IndexedSlices repeat a row for every label and candidate; a row-wise
    optimiser that squares a row's gradient, or keeps one moment a row, needs the sum."""
    given = arguments([[1], [1]], [1, 2], inputs=np.ones((2, 3), np.float32))
    given["sampled_values"] = (np.array([1, 2]), np.full((2, 1), 0.5, np.float32), np.full(2, 0.5, np.float32))
    weights = tf.Variable(WEIGHTS)
    with tf.GradientTape() as tape:
        loss = tf.nn.sampled_softmax_loss(**given | {"weights": weights})
    slices = tape.gradient(loss, weights)
    assert slices.indices.numpy().tolist() == [1, 1, 1, 2]
    _, gradients = ss.value_and_grad(**given)
    assert gradients.weights.indices.tolist() == [1, 2]
    np.testing.assert_allclose(gradients.weights.values, [[-1, -1, -1], [1, 1, 1]], rtol=1e-6)


def test_labels_of_one_dimension_are_one_label_a_row(tf: ModuleType) -> None:
    """TensorFlow takes them with removal off and refuses them with removal on."""
    given = arguments([1], [2, 0])
    loss = tf.nn.sampled_softmax_loss(**given, remove_accidental_hits=False)
    np.testing.assert_allclose(loss, [np.log(3)], rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be a batch_size"):
        tf.nn.sampled_softmax_loss(**given)
    np.testing.assert_allclose(ss.sampled_softmax_loss(**given), [np.log(3)], rtol=1e-6)


def test_labels_of_floating_point_are_an_error(tf: ModuleType) -> None:
    """TensorFlow truncates: label 1.7 is class 1."""
    given = arguments([[1.7]], [1])
    assert tf.nn.sampled_softmax_loss(**given).numpy().tolist() == [0.0]
    with pytest.raises(TypeError, match="labels"):
        ss.sampled_softmax_loss(**given)


def test_sampled_values_must_have_num_sampled_candidates(tf: ModuleType) -> None:
    """TensorFlow ignores num_sampled where sampled_values are given; two numbers that
    contradict each other are a mistake somewhere."""
    given = arguments([[1]], [0]) | {"num_sampled": 2}
    assert tf.nn.sampled_softmax_loss(**given).shape == (1,)
    with pytest.raises(ValueError, match="2"):
        ss.sampled_softmax_loss(**given)


def test_more_labels_a_row_than_classes_is_an_error(tf: ModuleType) -> None:
    """As MindSpore has it; TensorFlow goes on with labels that must repeat."""
    counts = (np.array([0]), np.full((1, 4), 0.5, np.float32), np.array([0.5], np.float32))
    given = arguments([[0, 1, 2, 2]], [0], values=counts) | {"num_true": 4}
    assert np.isfinite(tf.nn.sampled_softmax_loss(**given)).all()
    with pytest.raises(ValueError, match="num_true"):
        ss.sampled_softmax_loss(**given)
