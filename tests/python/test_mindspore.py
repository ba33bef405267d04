"""`sampled_softmax.mindspore`: the NumPy binding's bits in both of MindSpore's modes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from adapters import import_sampled_softmax_mindspore, same_bits
from oracle import reference
from peer_cases import SEEDS, draw_case
from peers import mindspore_value_and_grad
from problems import assert_close, make_problem

ms, ssm = import_sampled_softmax_mindspore()

DTYPES = {"float32": np.float32, "float16": np.float16, "float64": np.float64}


@pytest.fixture(params=["PYNATIVE_MODE", "GRAPH_MODE"], autouse=True)
def mode(request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each test in each mode; what MindSpore writes where it stands goes to a temporary folder."""
    monkeypatch.chdir(tmp_path)
    ms.set_context(mode=getattr(ms, request.param), device_target="CPU")
    yield request.param
    ms.set_context(mode=ms.PYNATIVE_MODE)


def tensors(problem: Any) -> tuple[Any, Any, Any, Any]:
    """Weights, biases, labels and inputs."""
    biases = None if problem.biases is None else ms.Tensor(problem.biases)
    return ms.Tensor(problem.weights), biases, ms.Tensor(problem.labels), ms.Tensor(problem.inputs)


def value_and_grad(loss: Any, problem: Any) -> tuple[Any, list[Any]]:
    """The loss and its gradients of weights, biases, inputs."""
    weights, biases, labels, inputs = tensors(problem)

    def forward(weights: Any, biases: Any, inputs: Any) -> Any:
        return loss(weights, biases, labels, inputs)

    value, gradients = ms.value_and_grad(forward, (0, 1, 2))(weights, biases, inputs)
    return value.asnumpy(), [gradient.asnumpy() for gradient in gradients]


def assert_same(result: tuple[Any, list[Any]], wanted: tuple[Any, ss.Gradients]) -> None:
    value, gradients = wanted
    assert same_bits(result[0], value)
    for actual, gradient in zip(result[1], (gradients.weights, gradients.biases, gradients.inputs), strict=True):
        assert same_bits(actual, gradient)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_class_has_the_bits_of_the_numpy_class(dtype: Any, reduction: str) -> None:
    problem = make_problem(1, num_rows=6, num_true=2, dtypes=(dtype,) * 3)
    arguments = {"num_sampled": 20, "num_classes": 50, "num_true": 2, "seed": 3, "reduction": reduction}
    ours, numpy = ssm.SampledSoftmaxLoss(**arguments), ss.SampledSoftmaxLoss(**arguments)
    for _ in range(2):
        assert_same(value_and_grad(ours, problem), numpy.value_and_grad(*problem.arrays[:4], dense=True))
    assert ours.step.asnumpy() == numpy.step == 2


def test_bfloat16_inputs_meet_float32_weights() -> None:
    problem = make_problem(2, num_rows=6)
    weights, biases, labels, inputs = tensors(problem)
    low = inputs.astype(ms.bfloat16)
    problem.inputs = low.astype(ms.float32).asnumpy()
    loss = ssm.SampledSoftmaxLoss(20, 50)(weights, biases, labels, low)
    assert loss.dtype == ms.float32
    assert same_bits(loss.asnumpy(), ss.SampledSoftmaxLoss(20, 50)(*problem.arrays[:4]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"probability_floor": 0.0},
        {"remove_accidental_hits": False},
        {"sampler": "log_uniform", "seed": 2**64 - 1},
        {"num_threads": 1},
        {"given": True},
        {"given": True, "remove_accidental_hits": False},
    ],
    ids=str,
)
def test_options_of_the_class(options: dict[str, Any]) -> None:
    problem = make_problem(3, num_rows=6)
    options = dict(options)
    if options.pop("given", False):
        options["sampled_values"] = problem.sampled_values
    ours, numpy = ssm.SampledSoftmaxLoss(20, 50, **options), ss.SampledSoftmaxLoss(20, 50, **options)
    assert_same(value_and_grad(ours, problem), numpy.value_and_grad(*problem.arrays[:4], dense=True))


def test_no_biases_vector_labels_and_ignored_rows() -> None:
    problem = make_problem(4, num_rows=6, biased=False)
    problem.labels[2] = -1
    weights, _, labels, inputs = tensors(problem)
    options = {"ignore_index": -1, "reduction": "mean"}
    wanted = ss.SampledSoftmaxLoss(20, 50, **options)(*problem.arrays[:4])
    for shaped in (labels, labels.reshape((-1,)), labels.astype(ms.int32)):
        ours = ssm.SampledSoftmaxLoss(20, 50, **options)
        assert same_bits(ours(weights, None, shaped, inputs).asnumpy(), wanted)


def test_function_has_the_bits_of_the_numpy_function() -> None:
    problem = make_problem(5, num_true=2)
    arrays = tensors(problem)
    for options in (
        {"seed": 4, "step": 2**63 + 1},
        {"seed": 4, "step": 1, "sampler": "uniform", "reduction": "mean"},
        {"sampled_values": problem.sampled_values},
        {"sampled_values": problem.sampled_values, "remove_accidental_hits": False, "probability_floor": 1e-20},
    ):
        loss = ssm.sampled_softmax_loss(*arrays, 20, 50, 2, **options)
        assert same_bits(loss.asnumpy(), ss.sampled_softmax_loss(*problem.arrays, **options))


def test_samplers_draw_what_the_numpy_bindings_draw() -> None:
    labels = np.array([[3, 4], [49, 0], [7, 7]])
    for name in ("uniform", "log_uniform", "learned_unigram"):
        sampler = f"{name}_candidate_sampler"
        for step in range(2):
            arguments = (2, 20, True, 50, 123)
            ours = getattr(ssm, sampler)(ms.Tensor(labels), *arguments, step=step)
            # The learned sampler of this process goes on from mode to mode, as NumPy's does.
            wanted = getattr(ss, sampler)(labels, *arguments, step=step)
            for actual, array in zip(ours, wanted, strict=True):
                assert same_bits(actual.asnumpy(), array)
    ours = ssm.all_candidate_sampler(ms.Tensor(labels), 2, 50, True)
    assert same_bits(ours.sampled_candidates.asnumpy(), np.arange(50))


@pytest.mark.parametrize("seed", SEEDS[1:20:6])
def test_agrees_with_mindsporess_class_where_its_arithmetic_holds(seed: int) -> None:
    """Same candidates, no hits, exact region: within 1e-5."""
    case = draw_case(seed, unique_candidates=True)
    kept = ~np.isin(case.ids, case.labels)
    values = (case.ids[kept], case.true_counts, case.sampled_counts[kept])
    arguments = (int(kept.sum()), case.num_classes, case.num_true)
    theirs = ms.nn.SampledSoftmaxLoss(*arguments, tuple(map(ms.Tensor, values)))
    results = [mindspore_value_and_grad(ms, case, net) for net in (ssm.SampledSoftmaxLoss(*arguments, values), theirs)]
    (ours, our_gradients), (loss, gradients) = results
    for actual, wanted in zip((ours, *our_gradients), (loss, *gradients), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-5 * max(1.0, np.abs(wanted).max()))


def test_train_one_step_trains_weights_and_not_the_step() -> None:
    problem = make_problem(6, num_true=2)

    class Head(ms.nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.weights = ms.Parameter(ms.Tensor(problem.weights), name="weights")
            self.biases = ms.Parameter(ms.Tensor(problem.biases), name="biases")
            self.loss = ssm.SampledSoftmaxLoss(20, 50, 2, reduction="mean", probability_floor=0.0)

        def construct(self, inputs: Any, labels: Any) -> Any:
            return self.loss(self.weights, self.biases, labels, inputs)

    head = Head()
    assert [parameter.name for parameter in head.trainable_params()] == ["weights", "biases"]
    train = ms.nn.TrainOneStepCell(head, ms.nn.Adam(head.trainable_params(), 0.05))
    inputs, labels = ms.Tensor(problem.inputs), ms.Tensor(problem.labels)
    losses = [float(train(inputs, labels).asnumpy()) for _ in range(15)]
    assert losses[-1] < 0.3 * losses[0]
    assert head.loss.step.asnumpy() == 15
    # Another batch size, which compiles anew.
    assert np.isfinite(train(inputs[:3], labels[:3]).asnumpy())

    resumed = Head()
    ms.load_param_into_net(resumed, head.parameters_dict())
    assert resumed.loss.step.asnumpy() == 16


def test_step_decides_the_draw() -> None:
    problem = make_problem(7, num_rows=5, num_classes=20)
    problem.labels = np.arange(5).reshape(-1, 1)
    value = ssm.SampledSoftmaxLoss(15, 20)(*tensors(problem))
    exact = reference(*problem.arrays[:4], np.arange(5, 20), np.ones(5), np.ones(15), probability_floor=1e-20)
    assert_close(value.asnumpy(), exact["loss"])
