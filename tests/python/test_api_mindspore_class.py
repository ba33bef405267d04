"""`SampledSoftmaxLoss`: MindSpore's class, its example, its errors, and what differs."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from oracle import reference
from problems import assert_close, make_problem


def documented_example() -> tuple[np.ndarray, ...]:
    """The data of MindSpore's documentation, drawn from NumPy's seed 1."""
    random = np.random.RandomState(1)
    weights = random.randint(0, 9, [7, 10]).astype(np.float32)
    biases = random.randint(0, 9, [7]).astype(np.float32)
    logits = random.randint(0, 9, [3, 10]).astype(np.float32)
    return weights, biases, np.array([0, 1, 2]), logits


def test_documented_example_gives_the_documented_numbers() -> None:
    """Four of seven classes without the labels 0, 1, 2: there is only one sample."""
    loss = ss.SampledSoftmaxLoss(num_sampled=4, num_classes=7, num_true=1)
    result = loss(*documented_example())
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [4.6051701e01, 1.4000047e01, 6.1989022e-06], rtol=5e-3)
    np.testing.assert_allclose(result[:2], [4.6051701e01, 1.4000047e01], rtol=1e-6)
    weights, biases, labels, logits = documented_example()
    exact = reference(weights, biases, labels, logits, [3, 4, 5, 6], np.ones(3), np.ones(4), probability_floor=1e-20)
    np.testing.assert_allclose(result, exact["loss"], rtol=1e-5)


def test_without_a_floor_the_example_is_exact_and_its_hardest_row_has_a_gradient() -> None:
    """MindSpore's log(p + 1e-20) saturates at 46.05, where its gradient dies."""
    loss = ss.SampledSoftmaxLoss(4, 7, probability_floor=0.0)
    weights, biases, labels, logits = documented_example()
    value, gradients = loss.value_and_grad(weights, biases, labels, logits)
    exact = reference(weights, biases, labels, logits, [3, 4, 5, 6], np.ones(3), np.ones(4))
    assert exact["loss"][0] > 47
    np.testing.assert_allclose(value, exact["loss"], rtol=1e-5)
    np.testing.assert_allclose(gradients.inputs, exact["d_inputs"], atol=1e-4)
    floored = ss.SampledSoftmaxLoss(4, 7).value_and_grad(weights, biases, labels, logits)[1]
    assert np.abs(floored.inputs[0]).max() < 1e-2 * np.abs(gradients.inputs[0]).max()


def test_sampler_draws_no_label_of_any_row() -> None:
    """With 5 labels and 15 of 20 classes to draw, the sample is the other 15."""
    problem = make_problem(num_rows=5, num_classes=20)
    problem.labels = np.arange(5).reshape(-1, 1)
    value = ss.SampledSoftmaxLoss(15, 20)(*problem.arrays[:4])
    exact = reference(*problem.arrays[:4], np.arange(5, 20), np.ones(5), np.ones(15), probability_floor=1e-20)
    assert_close(value, exact["loss"])


def test_kept_hits_take_part_as_negatives() -> None:
    problem = make_problem(num_rows=5, num_classes=20)
    value = ss.SampledSoftmaxLoss(20, 20, remove_accidental_hits=False, probability_floor=0)(*problem.arrays[:4])
    exact = reference(*problem.arrays[:4], np.arange(20), np.ones(5), np.ones(20), remove_accidental_hits=False)
    assert_close(value, exact["loss"])


def test_exclusion_that_leaves_too_few_classes_is_an_error() -> None:
    """MindSpore switches removal off without a word."""
    problem = make_problem(num_rows=5, num_classes=20)
    problem.labels = np.arange(5).reshape(-1, 1)
    with pytest.raises(ss.SampledSoftmaxError) as caught:
        ss.SampledSoftmaxLoss(16, 20)(*problem.arrays[:4])
    assert "16" in caught.value.message
    assert isinstance(caught.value, ValueError)


def test_given_candidates_are_masked_row_by_row() -> None:
    """MindSpore ignores the flag once it is given candidates."""
    problem = make_problem()
    for removal in (True, False):
        loss = ss.SampledSoftmaxLoss(
            20, 50, sampled_values=problem.sampled_values, remove_accidental_hits=removal, probability_floor=0
        )
        value, gradients = loss.value_and_grad(*problem.arrays[:4], dense=True)
        exact = problem.reference(remove_accidental_hits=removal)
        assert_close(value, exact["loss"])
        assert_close(gradients.weights, exact["d_weights"])
        assert loss.step == 0


def test_step_advances_with_every_draw_and_decides_it() -> None:
    problem = make_problem(num_classes=5000, dim=8, num_sampled=64)
    arrays = problem.arrays[:4]
    loss = ss.SampledSoftmaxLoss(64, 5000, seed=3)
    first, second, (third, _) = loss(*arrays), loss(*arrays), loss.value_and_grad(*arrays)
    assert loss.step == 3
    assert len({first.tobytes(), second.tobytes(), third.tobytes()}) == 3
    resumed = ss.SampledSoftmaxLoss(64, 5000, seed=3)
    resumed.step = 1
    np.testing.assert_array_equal(resumed(*arrays), second)
    np.testing.assert_array_equal(resumed(*arrays), third)


def test_copy_goes_on_from_the_step_it_was_copied_at() -> None:
    problem = make_problem(num_classes=5000, dim=8, num_sampled=64)
    loss = ss.SampledSoftmaxLoss(64, 5000, seed=3)
    loss(*problem.arrays[:4])
    twin = copy.deepcopy(loss)
    np.testing.assert_array_equal(twin(*problem.arrays[:4]), loss(*problem.arrays[:4]))
    assert (twin.step, loss.step) == (2, 2)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_reduction_is_done(reduction: str) -> None:
    """MindSpore returns one loss a row whatever the reduction."""
    problem = make_problem()
    rows = ss.SampledSoftmaxLoss(20, 50, seed=1)(*problem.arrays[:4])
    value = ss.SampledSoftmaxLoss(20, 50, seed=1, reduction=reduction)(*problem.arrays[:4])
    wanted = {"none": rows, "mean": rows.mean(), "sum": rows.sum()}[reduction]
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert np.shape(value) == np.shape(wanted)


def test_sampler_object_is_asked_to_avoid_the_labels() -> None:
    problem = make_problem(num_rows=6, num_classes=20)
    problem.labels = np.array([[0], [1], [2], [3], [4], [-1]])
    sampler = ss.Sampler("log_uniform", 20, 15, seed=5)
    loss = ss.SampledSoftmaxLoss(15, 20, sampler=sampler, ignore_index=-1, probability_floor=0)
    value = loss(*problem.arrays[:4])
    labels = problem.labels[:5]
    values = ss.Sampler("log_uniform", 20, 15, seed=5).sample(labels, avoid=labels)
    assert not np.isin(values.sampled_candidates, labels).any()
    exact = reference(problem.weights, problem.biases, labels, problem.inputs[:5], *values)
    assert_close(value[:5], exact["loss"])
    assert value[5] == 0


VALUES = (np.zeros(1, int), np.ones((1, 1)), np.ones(1))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"num_true": 0}, ValueError),
        ({"num_true": 8}, ValueError),
        ({"num_sampled": 8}, ValueError),
        ({"num_sampled": 0}, ValueError),
        ({"seed": -1}, ValueError),
        ({"reduction": ""}, ValueError),
        ({"reduction": "invalid"}, ValueError),
        ({"sampled_values": (*VALUES, VALUES[0])}, ValueError),
        ({"sampled_values": np.zeros(3)}, TypeError),
        ({"num_sampled": 4.0}, TypeError),
        ({"seed": 1.5}, TypeError),
        ({"sampler": "fixed_unigram"}, ValueError),
        ({"sampler": "zipf"}, ValueError),
        ({"device": "tpu"}, ValueError),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_when_the_loss_is_made(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ss.SampledSoftmaxLoss(**{"num_sampled": 4, "num_classes": 7, **arguments})


def test_float_labels_are_a_type_error() -> None:
    weights, biases, labels, logits = documented_example()
    with pytest.raises(TypeError, match="labels has dtype float32; integers are needed"):
        ss.SampledSoftmaxLoss(4, 7)(weights, biases, labels.astype(np.float32), logits)


def test_bias_may_be_none() -> None:
    weights, _, labels, logits = documented_example()
    with_none = ss.SampledSoftmaxLoss(4, 7)(weights, None, labels, logits)
    np.testing.assert_array_equal(with_none, ss.SampledSoftmaxLoss(4, 7)(weights, np.zeros(7, "f4"), labels, logits))
