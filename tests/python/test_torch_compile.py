"""torch.compile(fullgraph=True): nothing falls back to Python, and not a bit changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import make_problem
from torch_problems import Leaves, bits, sst, torch

# Traces forward and backward as Inductor would, without compiling C++ for each test.
TRACED = "aot_eager"


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


def compiled(function: Any, **options: Any) -> Any:
    return torch.compile(function, fullgraph=True, **{"backend": TRACED, **options})


def assert_same_as_eager(leaves: Leaves, again: Leaves, function: Any) -> None:
    """`function` of the leaves' tensors, eager and compiled, with its gradients."""
    wanted = function(leaves.weights, leaves.biases, leaves.inputs)
    wanted.sum().backward()
    loss = compiled(function)(again.weights, again.biases, again.inputs)
    loss.sum().backward()
    np.testing.assert_array_equal(bits(loss), bits(wanted))
    for ours, theirs in zip(again.gradients(), leaves.gradients(), strict=True):
        assert ours.layout == theirs.layout
        np.testing.assert_array_equal(bits(ours), bits(theirs))


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("given", [True, False], ids=["given", "drawn"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_loss_and_gradients_are_the_eager_ones(reduction: str, given: bool, sparse: bool) -> None:
    leaves, again = Leaves(make_problem()), Leaves(make_problem())
    values = leaves.sampled_values if given else None

    def loss(weights: Any, biases: Any, inputs: Any) -> Any:
        hidden = torch.tanh(inputs)
        return sst.sampled_softmax_loss(
            weights, biases, leaves.labels, hidden, 20, 50, sampled_values=values, seed=3, reduction=reduction,
            sparse=sparse,
        )  # fmt: skip

    assert_same_as_eager(leaves, again, loss)


def test_inductor_compiles_a_training_step() -> None:
    leaves, again = Leaves(make_problem()), Leaves(make_problem())
    module = sst.SampledSoftmaxLoss(20, 50, seed=3, reduction="mean", remove_accidental_hits=False)

    def loss(own: Leaves) -> Any:
        return module(own.weights, own.biases, own.labels, torch.tanh(own.inputs))

    for own, run in ((leaves, loss), (again, compiled(loss, backend="inductor"))):
        module.step = 5
        for _ in range(2):
            run(own).backward()
        assert module.step == 7
    for ours, theirs in zip(again.gradients(), leaves.gradients(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_learned_sampler_counts_every_call_of_a_graph() -> None:
    leaves = Leaves(make_problem(num_classes=61))
    counts = []
    for wrap in (compiled, lambda function: function):
        sampler = sst.Sampler("learned_unigram", 61, 20, seed=1)
        wrap(lambda who=sampler: [leaves.loss(sampler=who, reduction="mean") for _ in range(2)])()
        counts.append(sampler.learned_counts)
    np.testing.assert_array_equal(counts[0], counts[1])
    assert counts[0].sum() == 61 + 2 * 13


def test_every_call_of_a_compiled_module_draws_anew_and_compiles_once() -> None:
    leaves = Leaves(make_problem(num_classes=5000))
    module = sst.SampledSoftmaxLoss(20, 5000, seed=3, reduction="mean")
    fast = compiled(module)
    arrays = leaves.arrays[:4]
    fast(*arrays)
    with torch._dynamo.config.patch(error_on_recompile=True):
        losses = [fast(*arrays).item() for _ in range(4)]
    assert module.step == 5
    module.step = 1
    assert [module(*arrays).item() for _ in range(4)] == losses
    assert len(set(losses)) == 4


def test_two_unseeded_draws_of_one_graph_differ() -> None:
    leaves = Leaves(make_problem(num_classes=5000))

    def losses() -> Any:
        return [leaves.loss(sampler="uniform", reduction="mean") for _ in range(2)]

    first, second = compiled(losses)()
    assert first.item() != second.item()


def test_the_step_of_a_function_may_change_from_call_to_call() -> None:
    leaves = Leaves(make_problem())

    def loss(step: int) -> Any:
        return leaves.loss(sampler="log_uniform", seed=1, step=step, reduction="mean")

    fast = compiled(loss)
    assert [fast(step).item() for step in range(6)] == [loss(step).item() for step in range(6)]


def test_batches_of_any_size_share_a_graph() -> None:
    fast = compiled(lambda own: own.loss(reduction="mean"), dynamic=True)
    for rows in (5, 8, 13):
        leaves = Leaves(make_problem(num_rows=rows))
        assert torch.equal(fast(leaves), leaves.loss(reduction="mean"))


def test_a_sampler_object_draws_in_compiled_code() -> None:
    leaves = Leaves(make_problem())
    weights = np.arange(50) + 1.0
    ours, theirs = (sst.Sampler("fixed_unigram", 50, 20, seed=7, unigrams=weights) for _ in range(2))
    fast = compiled(lambda: leaves.loss(sampler=ours))
    for _ in range(2):
        assert torch.equal(fast(), leaves.loss(sampler=theirs))
    assert ours.step == 2


def test_autocast_in_compiled_code() -> None:
    leaves, again = Leaves(make_problem()), Leaves(make_problem())

    def loss(weights: Any, biases: Any, inputs: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = inputs @ torch.eye(17)
            return sst.sampled_softmax_loss(weights, biases, leaves.labels, hidden, 20, 50, seed=3, reduction="mean")

    assert_same_as_eager(leaves, again, loss)


def test_a_mistake_is_found_while_tracing() -> None:
    leaves = Leaves(make_problem())
    with pytest.raises(Exception, match=r"weights has shape \(50, 17\), but inputs has \(13, 16\)"):
        compiled(lambda x: sst.sampled_softmax_loss(leaves.weights, None, leaves.labels, x, 20, 50))(
            torch.zeros(13, 16)
        )


def test_exported_program_computes_the_loss() -> None:
    leaves = Leaves(make_problem())

    class Head(torch.nn.Module):
        def forward(self, weights: Any, inputs: Any) -> Any:
            return sst.sampled_softmax_loss(weights, None, leaves.labels, inputs, 20, 50, seed=3, reduction="mean")

    arrays = (leaves.weights.detach(), leaves.inputs.detach())
    program = torch.export.export(Head(), arrays)
    assert torch.equal(program.module()(*arrays), Head()(*arrays))
