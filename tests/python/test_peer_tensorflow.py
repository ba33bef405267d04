"""`tf.nn.sampled_softmax_loss` and we agree: loss, every gradient, accidental hits.

Where we differ on purpose is in test_peer_tensorflow_differences.py.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import sampled_softmax as ss
from peer_cases import SEEDS, Case, assert_agrees, draw_case
from peers import import_tensorflow


@pytest.fixture(scope="module")
def tf() -> ModuleType:
    return import_tensorflow()


def tensorflow_value_and_grad(
    tf: ModuleType, case: Case, *, remove_accidental_hits: bool, reduction: str = "none"
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Loss and dense (d_inputs, d_weights, d_biases); TensorFlow reduces nothing itself."""
    variables = [tf.Variable(values) for values in (case.inputs, case.weights, case.biases)]
    inputs, weights, biases = variables
    with tf.GradientTape() as tape:
        loss = tf.nn.sampled_softmax_loss(
            weights,
            biases,
            tf.constant(case.labels),
            inputs,
            case.num_sampled,
            case.num_classes,
            case.num_true,
            case.sampled_values,
            remove_accidental_hits,
        )
        if reduction == "mean":
            loss = tf.reduce_mean(loss)
        elif reduction == "sum":
            loss = tf.reduce_sum(loss)
    upstream = case.grad_output if reduction == "none" else case.grad_output[0]
    gradients = tape.gradient(loss, variables, tf.constant(upstream))
    return loss.numpy(), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def test_cases_reach_every_shape_that_matters() -> None:
    """Keeps a change of `draw_case` from quietly dropping what the comparisons rest on."""
    cases = [draw_case(seed, unique_candidates=True) for seed in SEEDS]
    assert {case.num_true for case in cases} == {1, 2, 3}
    assert any(case.labels.shape[0] == 1 for case in cases)
    assert any(np.unique(row).size < row.size for case in cases for row in case.labels)
    assert all(np.isin(case.ids, case.labels[0]).any() for case in cases)
    assert all(np.unique(case.ids).size == case.ids.size for case in cases)
    repeated = [draw_case(seed, unique_candidates=False) for seed in SEEDS]
    assert all(np.unique(case.ids).size < case.ids.size for case in repeated)
    assert max(case.num_sampled * case.labels.shape[0] for case in cases) > 100_000


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("remove_accidental_hits", [True, False])
def test_loss_and_gradients_agree(tf: ModuleType, seed: int, remove_accidental_hits: bool) -> None:
    """Candidates repeat only where hits stay in: TensorFlow removes one copy of a hit."""
    case = draw_case(seed, unique_candidates=remove_accidental_hits)
    loss, (d_inputs, d_weights, d_biases) = tensorflow_value_and_grad(
        tf, case, remove_accidental_hits=remove_accidental_hits
    )
    arguments = case.arguments(remove_accidental_hits=remove_accidental_hits)
    assert_agrees(ss.sampled_softmax_loss(**arguments), loss, "loss")
    our_loss, gradients = ss.value_and_grad(**arguments, grad_output=case.grad_output, dense=True)
    assert_agrees(our_loss, loss, "loss of value_and_grad")
    assert_agrees(gradients.inputs, d_inputs, "d_inputs")
    assert_agrees(gradients.weights, d_weights, "d_weights")
    assert_agrees(gradients.biases, d_biases, "d_biases")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("seed", SEEDS[:12])
def test_reduced_loss_and_gradients_agree(tf: ModuleType, seed: int, reduction: str) -> None:
    case = draw_case(seed, unique_candidates=True)
    loss, (d_inputs, d_weights, d_biases) = tensorflow_value_and_grad(
        tf, case, remove_accidental_hits=True, reduction=reduction
    )
    our_loss, gradients = ss.value_and_grad(
        **case.arguments(remove_accidental_hits=True),
        reduction=reduction,
        grad_output=case.grad_output[0],
        dense=True,
    )
    assert_agrees(our_loss, loss, "loss")
    assert_agrees(gradients.inputs, d_inputs, "d_inputs")
    assert_agrees(gradients.weights, d_weights, "d_weights")
    assert_agrees(gradients.biases, d_biases, "d_biases")


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_sparse_gradients_are_tensorflows_slices_summed(tf: ModuleType, seed: int) -> None:
    """The same rows as its IndexedSlices name, each once."""
    case = draw_case(seed, unique_candidates=True)
    _, (_, d_weights, d_biases) = tensorflow_value_and_grad(tf, case, remove_accidental_hits=True)
    _, gradients = ss.value_and_grad(**case.arguments(remove_accidental_hits=True), grad_output=case.grad_output)
    touched = np.union1d(case.ids, case.labels)
    for ours, theirs in ((gradients.weights, d_weights), (gradients.biases, d_biases)):
        assert ours.indices.tolist() == touched.tolist()
        assert_agrees(ours.values, theirs[touched], "rows of the sparse gradient")


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_no_biases_is_zero_biases(tf: ModuleType, seed: int) -> None:
    case = draw_case(seed, unique_candidates=True)
    unbiased = Case(**{**vars(case), "biases": np.zeros_like(case.biases)})
    loss, _ = tensorflow_value_and_grad(tf, unbiased, remove_accidental_hits=True)
    arguments = case.arguments(remove_accidental_hits=True) | {"biases": None}
    assert_agrees(ss.sampled_softmax_loss(**arguments), loss, "loss")


@pytest.mark.parametrize("seed", SEEDS)
def test_accidental_hits_agree(tf: ModuleType, seed: int) -> None:
    """The same (row, position) pairs, a repeated label repeating its pair."""
    case = draw_case(seed, unique_candidates=True)
    rows, positions, weights = (
        values.numpy() for values in tf.nn.compute_accidental_hits(case.labels, case.ids, case.num_true)
    )
    our_rows, our_positions, our_weights = ss.compute_accidental_hits(case.labels, case.ids, case.num_true)
    assert sorted(zip(our_rows, our_positions, strict=True)) == sorted(zip(rows, positions, strict=True))
    np.testing.assert_array_equal(our_weights, weights)


@pytest.mark.parametrize("name", ["uniform", "log_uniform"])
@pytest.mark.parametrize("seed", SEEDS[:8])
def test_candidates_drawn_by_either_serve_both(tf: ModuleType, seed: int, name: str) -> None:
    """sampled_values pass from one to the other as they are, tensors or arrays."""
    case = draw_case(seed, unique_candidates=True)
    shape = (case.num_true, case.num_sampled, True, case.num_classes)
    theirs = getattr(tf.random, f"{name}_candidate_sampler")(case.labels, *shape, seed=seed)
    ours = getattr(ss, f"{name}_candidate_sampler")(case.labels, *shape, seed=seed)
    for drawn in (theirs, ours):
        given = case.arguments(remove_accidental_hits=True) | {"sampled_values": drawn}
        expected = tf.nn.sampled_softmax_loss(**given).numpy()
        assert_agrees(ss.sampled_softmax_loss(**given), expected, "loss")


def test_large_logits_stay_exact_in_both(tf: ModuleType) -> None:
    """Log-sum-exp against the largest logit: 5e4 is no overflow."""
    case = Case(
        weights=np.eye(3, dtype=np.float32) * 5e4,
        biases=np.zeros(3, np.float32),
        labels=np.array([[0], [1], [2]]),
        inputs=np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0]], np.float32),
        ids=np.array([0]),
        true_counts=np.ones((3, 1), np.float32),
        sampled_counts=np.ones(1, np.float32),
        grad_output=np.ones(3, np.float32),
    )
    theirs, (d_inputs, _, _) = tensorflow_value_and_grad(tf, case, remove_accidental_hits=True)
    loss, gradients = ss.value_and_grad(**case.arguments(remove_accidental_hits=True))
    assert theirs.tolist() == loss.tolist() == [0.0, 5e4, 5e4]
    np.testing.assert_array_equal(gradients.inputs, d_inputs)


def test_a_row_that_is_not_a_number_reaches_no_other_row(tf: ModuleType) -> None:
    case = draw_case(7, unique_candidates=True)
    case.inputs[0, 0] = np.nan
    loss, (d_inputs, _, _) = tensorflow_value_and_grad(tf, case, remove_accidental_hits=True)
    assert np.isnan(loss[0])
    our_loss, gradients = ss.value_and_grad(**case.arguments(remove_accidental_hits=True), grad_output=case.grad_output)
    assert np.isnan(our_loss[0])
    assert_agrees(our_loss[1:], loss[1:], "loss of the other rows")
    assert_agrees(gradients.inputs[1:], d_inputs[1:], "d_inputs of the other rows")


def test_true_class_switched_off_is_an_infinite_loss_of_that_row_alone(tf: ModuleType) -> None:
    case = draw_case(7, unique_candidates=True)
    case.biases[case.labels[0]] = -np.inf
    rows = [n for n in range(len(case.labels)) if not np.isin(case.labels[n], case.labels[0]).any()]
    # Hits stay in, for TensorFlow adds up infinities where one is masked; and among the
    # negatives of the other rows the class must not be, for it makes them NaN there.
    case.ids[np.isin(case.ids, case.labels[0])] = 0
    loss, _ = tensorflow_value_and_grad(tf, case, remove_accidental_hits=False)
    ours = ss.sampled_softmax_loss(**case.arguments(remove_accidental_hits=False))
    assert loss[0] == ours[0] == np.inf
    assert_agrees(ours[rows], loss[rows], "loss of the other rows")


@pytest.mark.parametrize("label", [-1, 60])
def test_label_outside_the_classes_is_an_error_in_both(tf: ModuleType, label: int) -> None:
    case = draw_case(1, unique_candidates=True)
    case.labels[1, 0] = case.num_classes if label > 0 else label
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not in"):
        tensorflow_value_and_grad(tf, case, remove_accidental_hits=True)
    with pytest.raises(ValueError, match=r"labels\[1, 0\] = .* is outside \[0, "):
        ss.sampled_softmax_loss(**case.arguments(remove_accidental_hits=True))
