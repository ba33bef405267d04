"""`mindspore.nn.SampledSoftmaxLoss` and we agree: loss, gradients, its documented example.

MindSpore 2.10 needs NumPy below 2, so these tests have an environment of their own.
Where we differ on purpose is in test_peer_mindspore_differences.py.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from oracle import reference
from peer_cases import SEEDS, TOLERANCE, Case, assert_agrees, draw_case
from peers import import_mindspore, mindspore_loss, mindspore_value_and_grad

FLOOR = 1e-20
"""MindSpore's loss is -mean_t ln(p_t + 1e-20)."""


@pytest.fixture(scope="module")
def ms() -> ModuleType:
    return import_mindspore()


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_and_gradients_agree(ms: ModuleType, seed: int) -> None:
    """MindSpore masks no hit among sampled_values, whatever its flag says."""
    case = draw_case(seed, unique_candidates=seed % 2 == 0)
    loss, (d_weights, d_biases, d_inputs) = mindspore_value_and_grad(ms, case)
    our_loss, gradients = ss.value_and_grad(
        **case.arguments(remove_accidental_hits=False),
        probability_floor=FLOOR,
        grad_output=case.grad_output,
        dense=True,
    )
    assert_agrees(our_loss, loss, "loss")
    assert_agrees(gradients.inputs, d_inputs, "d_inputs")
    assert_agrees(gradients.weights, d_weights, "d_weights")
    assert_agrees(gradients.biases, d_biases, "d_biases")


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_of_the_same_class_agrees(ms: ModuleType, seed: int) -> None:
    """`SampledSoftmaxLoss` by position as there: (weights, bias, labels, logits)."""
    case = draw_case(seed, unique_candidates=seed % 2 == 0)
    ours = ss.SampledSoftmaxLoss(case.num_sampled, case.num_classes, case.num_true, case.sampled_values, False, seed)
    assert_agrees(
        ours(case.weights, case.biases, case.labels, case.inputs),
        mindspore_loss(ms, case, remove_accidental_hits=False, seed=seed),
        "loss",
    )


@pytest.mark.parametrize("seed", range(12))
def test_own_sampler_agrees_where_the_draw_is_certain(ms: ModuleType, seed: int) -> None:
    """With S = C - distinct labels every other class is drawn. All expected counts of a
    uniform sampler are equal, so they cancel, however many tries either side took."""
    case = draw_case(seed, unique_candidates=True)
    num_sampled = case.num_classes - np.unique(case.labels).size
    if num_sampled == 0:
        case.labels[case.labels == case.labels.max()] = case.labels.min()
        num_sampled = case.num_classes - np.unique(case.labels).size
    net = ms.nn.SampledSoftmaxLoss(num_sampled, case.num_classes, case.num_true, seed=seed)
    # Loss and gradient are two runs of the net: it draws anew, and the same classes.
    loss, (d_weights, d_biases, d_inputs) = mindspore_value_and_grad(ms, case, net)
    ours = ss.SampledSoftmaxLoss(num_sampled, case.num_classes, case.num_true, seed=seed)
    arrays = (case.weights, case.biases, case.labels, case.inputs)
    assert_agrees(ours(*arrays), loss, "loss")
    our_loss, gradients = ours.value_and_grad(*arrays, case.grad_output, dense=True)
    assert_agrees(our_loss, loss, "loss of value_and_grad")
    assert_agrees(gradients.inputs, d_inputs, "d_inputs")
    assert_agrees(gradients.weights, d_weights, "d_weights")
    assert_agrees(gradients.biases, d_biases, "d_biases")


@pytest.mark.parametrize("name", ["Uniform", "LogUniform"])
def test_counts_with_replacement_agree(ms: ModuleType, name: str) -> None:
    """S * p, for every class as a label."""
    labels = np.arange(30).reshape(-1, 1)
    op = getattr(ms.ops, f"{name}CandidateSampler")(1, 50, False, 30, 7)
    _, theirs, _ = op(ms.Tensor(labels))
    sampler = {"Uniform": "uniform", "LogUniform": "log_uniform"}[name]
    ours = ss.Sampler(sampler, 30, 50, unique=False).sample(labels)
    assert_agrees(ours.true_expected_count, theirs.asnumpy(), "true_expected_count", tolerance=1e-6)


def test_counts_of_distinct_classes_without_the_labels_follow_the_tries(ms: ModuleType) -> None:
    """1 - (1 - 1/C)^tries in both, where rejected labels are tries too."""
    labels = np.array([[1], [2], [2], [5]])
    _, theirs, _ = ms.ops.UniformCandidateSampler(1, 6, True, 12, 3, True)(ms.Tensor(labels))
    ours = ss.Sampler("uniform", 12, 6, seed=3).sample(labels, avoid=labels)
    assert not np.isin(ours.sampled_candidates, labels).any()
    for count in (float(theirs.asnumpy()[0, 0]), float(ours.true_expected_count[0, 0])):
        tries = 6 if np.isclose(count, 6 / 12) else np.log1p(-count) / np.log1p(-1 / 12)
        assert tries >= 6
        assert abs(tries - round(tries)) < 1e-4


def test_documented_example(ms: ModuleType) -> None:
    """The example in MindSpore's documentation and what it prints there:
    [4.6051701e+01 1.4000047e+01 6.1989022e-06]. The last is -ln(1 - 6e-6), of which
    float32 beside 1 leaves two digits; the float64 oracle tells how good ours is."""
    ms.set_seed(1)
    weights = np.random.randint(0, 9, [7, 10]).astype(np.float32)
    biases = np.random.randint(0, 9, [7]).astype(np.float32)
    labels = np.array([0, 1, 2])
    logits = np.random.randint(0, 9, [3, 10]).astype(np.float32)

    net = ms.nn.SampledSoftmaxLoss(num_sampled=4, num_classes=7, num_true=1)
    theirs = net(*map(ms.Tensor, (weights, biases, labels, logits))).asnumpy()
    ours = ss.SampledSoftmaxLoss(num_sampled=4, num_classes=7, num_true=1)(weights, biases, labels, logits)
    documented = [46.051701, 14.000047, 6.1989022e-06]
    for loss in (theirs, ours):
        np.testing.assert_allclose(loss[:2], documented[:2], rtol=1e-6)
        np.testing.assert_allclose(loss[2], documented[2], atol=np.finfo(np.float32).eps)
    ones = np.ones((3, 1))
    exact = reference(weights, biases, labels, logits, [3, 4, 5, 6], ones, np.ones(4), probability_floor=FLOOR)
    np.testing.assert_allclose(ours, exact["loss"], rtol=1e-5)


@pytest.mark.parametrize("gap", [1, 20, 30, 40, 46, 50, 60, 100])
def test_probability_floor_is_its_saturation(ms: ModuleType, gap: float) -> None:
    """One negative `gap` above the true logit: value and gradient of -ln(p + 1e-20), which
    stops at 46.05 while the gradient dies, reproduced to its last digit that counts."""
    case = hard_row(gap)
    loss, (d_weights, d_biases, d_inputs) = mindspore_value_and_grad(ms, case)
    our_loss, gradients = ss.value_and_grad(
        **case.arguments(remove_accidental_hits=True), probability_floor=FLOOR, dense=True
    )
    # At a gap of 100 the gradient, 4e-24, is lost in MindSpore's float32 probability.
    tolerance = {"rtol": TOLERANCE, "atol": 1e-20}
    np.testing.assert_allclose(our_loss, loss, **tolerance)
    np.testing.assert_allclose(gradients.weights, d_weights, **tolerance)
    np.testing.assert_allclose(gradients.biases, d_biases, **tolerance)
    np.testing.assert_allclose(gradients.inputs, d_inputs, **tolerance)


def hard_row(gap: float) -> Case:
    return Case(
        weights=np.array([[0], [gap]], np.float32),
        biases=np.zeros(2, np.float32),
        labels=np.array([[0]]),
        inputs=np.ones((1, 1), np.float32),
        ids=np.array([1]),
        true_counts=np.ones((1, 1), np.float32),
        sampled_counts=np.ones(1, np.float32),
        grad_output=np.ones(1, np.float32),
    )


@pytest.mark.parametrize("labels_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("rank", [1, 2])
def test_label_dtypes_and_ranks_agree(ms: ModuleType, labels_dtype: Any, rank: int) -> None:
    case = draw_case(3, unique_candidates=False)
    labels = case.labels.astype(labels_dtype)
    if rank == 1:
        labels = labels[:, 0]
    net = ms.nn.SampledSoftmaxLoss(case.num_sampled, case.num_classes, 1, tuple(map(ms.Tensor, case.sampled_values)))
    theirs = net(*map(ms.Tensor, (case.weights, case.biases, labels, case.inputs))).asnumpy()
    ours = ss.SampledSoftmaxLoss(
        case.num_sampled, case.num_classes, 1, case.sampled_values, remove_accidental_hits=False
    )
    assert_agrees(ours(case.weights, case.biases, labels, case.inputs), theirs, "loss")


def test_half_precision_gives_a_float32_loss_in_both(ms: ModuleType) -> None:
    """Ours is exact for the rounded inputs; MindSpore's logits are rounded as well."""
    case = draw_case(3, unique_candidates=True)
    halves = [a.astype(np.float16) for a in (case.weights, case.biases, case.inputs)]
    weights, biases, inputs = halves
    net = ms.nn.SampledSoftmaxLoss(case.num_sampled, case.num_classes, 1, tuple(map(ms.Tensor, case.sampled_values)))
    theirs = net(*map(ms.Tensor, (weights, biases, case.labels, inputs))).asnumpy()
    ours = ss.SampledSoftmaxLoss(
        case.num_sampled, case.num_classes, 1, case.sampled_values, remove_accidental_hits=False
    )(weights, biases, case.labels, inputs)
    assert ours.dtype == theirs.dtype == np.float32
    assert_agrees(ours, theirs, "loss", tolerance=2e-3)


BAD_ARGUMENTS: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "no label a row": (ValueError, {"num_true": 0}),
    "more labels a row than classes": (ValueError, {"num_true": 8}),
    "more candidates than classes": (ValueError, {"num_sampled": 8}),
    "no candidates": (ValueError, {"num_sampled": 0}),
    "negative seed": (ValueError, {"seed": -1}),
    "unknown reduction": (ValueError, {"reduction": "invalid"}),
    "empty reduction": (ValueError, {"reduction": ""}),
    "four sampled values": (ValueError, {"sampled_values": (1, 2, 3, 4)}),
    "sampled values in an array": (TypeError, {"sampled_values": np.zeros(3, np.float32)}),
    "fractional num_sampled": (TypeError, {"num_sampled": 4.0}),
    "fractional seed": (TypeError, {"seed": 1.5}),
    "removal that is no bool": (TypeError, {"remove_accidental_hits": 1}),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_raise_the_same_exception(ms: ModuleType, name: str) -> None:
    exception, changed = BAD_ARGUMENTS[name]
    arguments = {"num_sampled": 4, "num_classes": 7} | changed
    with pytest.raises(exception):
        ss.SampledSoftmaxLoss(**arguments)
    if isinstance(arguments.get("sampled_values"), np.ndarray):
        arguments["sampled_values"] = ms.Tensor(arguments["sampled_values"])
    with pytest.raises(exception):
        ms.nn.SampledSoftmaxLoss(**arguments)


def test_labels_of_floating_point_raise_type_error_in_both(ms: ModuleType) -> None:
    case = draw_case(3, unique_candidates=True)
    arrays = (case.weights, case.biases, case.labels.astype(np.float32), case.inputs)
    with pytest.raises(TypeError):
        ms.nn.SampledSoftmaxLoss(4, case.num_classes)(*map(ms.Tensor, arrays))
    with pytest.raises(TypeError, match="labels"):
        ss.SampledSoftmaxLoss(4, case.num_classes)(*arrays)
