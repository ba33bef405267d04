"""Where we differ from MindSpore on purpose, and why.

Each test holds both sides, where MindSpore's is not chance: what MindSpore 2.10 does on the
CPU, so that a change there is noticed, and what we do instead.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import sampled_softmax as ss
from numpy.typing import ArrayLike
from peer_cases import Case, draw_case
from peers import import_mindspore, mindspore_loss, mindspore_value_and_grad


@pytest.fixture(scope="module")
def ms() -> ModuleType:
    return import_mindspore()


def row(label: int, ids: list[int], biases: ArrayLike = (0, 0, 0), gap: float = 5) -> Case:
    """One row of three classes with logits gap + bias, all expected counts 1/2."""
    return Case(
        weights=np.eye(3, dtype=np.float32) * gap,
        biases=np.asarray(biases, np.float32),
        labels=np.array([[label]]),
        inputs=np.ones((1, 3), np.float32),
        ids=np.array(ids),
        true_counts=np.full((1, 1), 0.5, np.float32),
        sampled_counts=np.full(len(ids), 0.5, np.float32),
        grad_output=np.ones(1, np.float32),
    )


@pytest.mark.parametrize("gap", [50, 60, 100, 1000])
def test_the_hardest_rows_keep_their_loss_and_gradient(ms: ModuleType, gap: float) -> None:
    """ln(p + 1e-20) stops at 46.05 and its gradient dies: the rows that a model gets most
    wrong teach it nothing. By default our loss is the log-sum-exp, -1 and +1 to the end."""
    case = row(0, [1], biases=[0, gap, 0], gap=0)
    loss, (_, d_biases, _) = mindspore_value_and_grad(ms, case)
    assert loss[0] < 46.06
    assert np.all(np.abs(d_biases) < 0.02)
    our_loss, gradients = ss.value_and_grad(**case.arguments(remove_accidental_hits=True), dense=True)
    assert our_loss.tolist() == [gap]
    assert gradients.biases.tolist() == [-1, 1, 0]


def test_hits_among_given_candidates_are_masked(ms: ModuleType) -> None:
    """remove_accidental_hits reaches only MindSpore's own sampler: a label among given
    candidates stays its own negative, on or off. On, ours leaves it out of its row."""
    case = row(1, [1])
    np.testing.assert_allclose(mindspore_loss(ms, case), [np.log(2)], rtol=1e-6)
    same_class = ss.SampledSoftmaxLoss(1, 3, sampled_values=case.sampled_values)
    assert same_class(case.weights, case.biases, case.labels, case.inputs).tolist() == [0.0]
    masked = ss.sampled_softmax_loss(**case.arguments(remove_accidental_hits=True))
    assert masked.tolist() == [0.0]


@pytest.mark.parametrize(("reduction", "reduce"), [("mean", np.mean), ("sum", np.sum)])
def test_reduction_reduces(ms: ModuleType, reduction: str, reduce: object) -> None:
    """MindSpore documents a scalar and returns the rows."""
    case = draw_case(3, unique_candidates=True)
    arrays = (case.weights, case.biases, case.labels, case.inputs)
    values = tuple(map(ms.Tensor, case.sampled_values))
    net = ms.nn.SampledSoftmaxLoss(case.num_sampled, case.num_classes, 1, values, reduction=reduction)
    theirs = net(*map(ms.Tensor, arrays)).asnumpy()
    assert theirs.shape == case.labels.shape[:1]
    ours = ss.SampledSoftmaxLoss(
        case.num_sampled, case.num_classes, 1, case.sampled_values, False, reduction=reduction
    )(*arrays)
    assert np.ndim(ours) == 0
    np.testing.assert_allclose(ours, reduce(theirs.astype(np.float64)), rtol=1e-5)


def test_negative_label_is_an_error(ms: ModuleType) -> None:
    """MindSpore counts it from the end: label -1 is the last class."""
    case, last = row(-1, [1, 0]), row(2, [1, 0])
    assert mindspore_loss(ms, case).tolist() == mindspore_loss(ms, last).tolist()
    ours = ss.SampledSoftmaxLoss(2, 3, sampled_values=case.sampled_values)
    with pytest.raises(ValueError, match=r"labels\[0\] = -1 is outside \[0, 3\)"):
        ours(case.weights, case.biases, case.labels, case.inputs)


def test_label_past_the_last_class_is_a_value_error(ms: ModuleType) -> None:
    """MindSpore finds it too, but as a RuntimeError of its gather operator."""
    case = row(3, [1, 0])
    with pytest.raises(RuntimeError, match="Gather"):
        mindspore_loss(ms, case)
    ours = ss.SampledSoftmaxLoss(2, 3, sampled_values=case.sampled_values)
    with pytest.raises(ValueError, match=r"labels\[0\] = 3 is outside \[0, 3\)"):
        ours(case.weights, case.biases, case.labels, case.inputs)


def test_exclusion_that_leaves_too_few_classes_is_an_error(ms: ModuleType) -> None:
    """S + distinct labels > C: MindSpore's sampler switches the exclusion off and draws
    labels; the only word of it is a log message."""
    labels = np.array([[0], [1], [2]])
    theirs, _, _ = ms.ops.UniformCandidateSampler(1, 6, True, 7, 1, True)(ms.Tensor(labels))
    assert np.isin(theirs.asnumpy(), labels).any()
    with pytest.raises(ValueError, match="6"):
        ss.Sampler("uniform", 7, 6).sample(labels, avoid=labels)
    weights, biases = np.zeros((7, 2), np.float32), np.zeros(7, np.float32)
    with pytest.raises(ValueError, match="6"):
        ss.SampledSoftmaxLoss(6, 7)(weights, biases, labels, np.zeros((3, 2), np.float32))


@pytest.mark.parametrize("label", [-1, 7, 100])
def test_sampler_refuses_labels_outside_the_classes(ms: ModuleType, label: int) -> None:
    """MindSpore's accepts any number and declares a count for it."""
    labels = np.array([[label]])
    theirs = ms.ops.UniformCandidateSampler(1, 3, True, 7, 1, False)(ms.Tensor(labels))
    assert theirs[1].asnumpy()[0, 0] > 0
    with pytest.raises(ValueError, match=rf"= {label} is outside \[0, 7\)"):
        ss.uniform_candidate_sampler(labels, 1, 3, True, 7, seed=1)


def test_no_rows_is_an_empty_loss() -> None:
    """MindSpore's sampler leaves its output unwritten for an empty batch and the loss gathers
    with whatever numbers are there: mostly an error, so there is nothing of it to hold."""
    weights, biases = np.ones((7, 2), np.float32), np.ones(7, np.float32)
    labels, inputs = np.zeros((0, 1), np.int64), np.zeros((0, 2), np.float32)
    assert ss.SampledSoftmaxLoss(4, 7)(weights, biases, labels, inputs).shape == (0,)
    for reduction in ("mean", "sum"):
        loss = ss.SampledSoftmaxLoss(4, 7, reduction=reduction)(weights, biases, labels, inputs)
        assert np.ndim(loss) == 0
        assert loss == 0


def test_half_inputs_may_meet_float32_weights(ms: ModuleType) -> None:
    """MindSpore's matrix product wants equal dtypes; we take float32 weights under half
    precision activations, and widen neither."""
    case = draw_case(3, unique_candidates=True)
    arrays = (case.weights, case.biases, case.labels, case.inputs.astype(np.float16))
    values = tuple(map(ms.Tensor, case.sampled_values))
    with pytest.raises(TypeError, match="MatMul"):
        ms.nn.SampledSoftmaxLoss(case.num_sampled, case.num_classes, 1, values)(*map(ms.Tensor, arrays))
    ours = ss.SampledSoftmaxLoss(case.num_sampled, case.num_classes, 1, case.sampled_values)
    widened = case.inputs.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(ours(*arrays), ours(*arrays[:3], widened), rtol=1e-6)


def test_expected_count_of_zero_is_an_error(ms: ModuleType) -> None:
    """ln 0 has no use; MindSpore returns NaN."""
    case = row(0, [2])
    case.true_counts[0, 0] = 0
    assert np.isnan(mindspore_loss(ms, case)).all()
    with pytest.raises(ValueError, match="expected_count"):
        ss.SampledSoftmaxLoss(1, 3, sampled_values=case.sampled_values)(
            case.weights, case.biases, case.labels, case.inputs
        )


def test_a_run_can_be_resumed_at_any_step(ms: ModuleType) -> None:
    """MindSpore's sampler draws on from a state that nobody can save: a new operator with
    the same seed starts again. Ours draws step t from (seed, t) alone."""
    labels = ms.Tensor(np.array([[0]]))
    running, resumed = (ms.ops.UniformCandidateSampler(1, 9, True, 1000, 5, False) for _ in range(2))
    first, second = (running(labels)[0].asnumpy() for _ in range(2))
    assert resumed(labels)[0].asnumpy().tolist() == first.tolist() != second.tolist()

    draws = [ss.Sampler("uniform", 1000, 9, seed=5) for _ in range(2)]
    run = [draws[0].sample().sampled_candidates.tolist() for _ in range(3)]
    assert run[1] != run[0]
    assert draws[1].sample(step=2).sampled_candidates.tolist() == run[2]
