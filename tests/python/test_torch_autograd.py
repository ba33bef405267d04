"""Gradients as PyTorch's own tools see them: gradcheck, opcheck, sparse optimizers, autocast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import make_problem, scattered
from torch_problems import Leaves, bits, numpy_results, sst, tensor, torch

F64 = np.float64


def doubles(**options: Any) -> Leaves:
    return Leaves(make_problem(num_rows=4, num_classes=9, dim=3, num_sampled=5, dtypes=(F64, F64, F64), **options))


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("num_true", [1, 2])
def test_gradcheck(num_true: int, reduction: str) -> None:
    leaves = doubles(num_true=num_true)
    weights = torch.rand(4, dtype=torch.float64)

    def loss(w: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return sst.sampled_softmax_loss(
            w, b, leaves.labels, x, 5, 9, num_true, leaves.sampled_values, reduction=reduction, sample_weights=weights
        )

    assert torch.autograd.gradcheck(loss, (leaves.weights, leaves.biases, leaves.inputs))


def test_gradgradcheck_is_refused() -> None:
    leaves = doubles()

    def loss(x: torch.Tensor) -> torch.Tensor:
        leaves.inputs = x
        return leaves.loss()

    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.gradgradcheck(loss, (leaves.inputs,))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("leaf", ["inputs", "weights", "biases"])
def test_a_second_derivative_is_refused_however_it_is_reached(leaf: str, sparse: bool) -> None:
    leaves = Leaves(make_problem())
    parameter = getattr(leaves, leaf)
    (gradient,) = torch.autograd.grad(leaves.loss(reduction="sum", sparse=sparse), parameter, create_graph=True)
    penalty = leaves.loss(reduction="sum") + gradient.to_dense().pow(2).sum()
    with pytest.raises(RuntimeError, match="no second derivative"):
        penalty.backward()


def test_vmap_is_refused() -> None:
    leaves = Leaves(make_problem())
    with pytest.raises(RuntimeError, match="vmap"):
        torch.func.vmap(lambda x: sst.sampled_softmax_loss(leaves.weights, None, leaves.labels, x, 20, 50, seed=1))(
            torch.zeros(2, 13, 17)
        )


def test_functional_transform() -> None:
    problem = make_problem()
    leaves = Leaves(problem)

    def loss(inputs: torch.Tensor) -> torch.Tensor:
        leaves.inputs = inputs
        return leaves.loss(reduction="mean")

    gradient = torch.func.grad(loss)(tensor(problem.inputs))
    wanted = numpy_results(problem, reduction="mean")[1].inputs
    np.testing.assert_array_equal(bits(gradient), bits(wanted))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_opcheck_of_forward_and_backward(biased: bool, sparse: bool) -> None:
    leaves = Leaves(make_problem(biased=biased))
    tensors = (leaves.inputs, leaves.weights, leaves.biases, leaves.labels, torch.rand(13))
    options = (0, 0, 0.0, -1, 1, sparse)
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if not sparse:
        # It wants as many entries as in eager mode; test_torch_compile.py compares values.
        checks.append("test_aot_dispatch_dynamic")
    arguments = (*tensors, *leaves.sampled_values, *options)
    torch.library.opcheck(torch.ops.sampled_softmax.forward.default, arguments, test_utils=checks)

    plain = tuple(None if t is None else t.detach() for t in tensors)
    loss, log_sum_exp = torch.ops.sampled_softmax.forward(*plain, *leaves.sampled_values, *options)
    torch.library.opcheck(
        torch.ops.sampled_softmax.backward.default,
        (torch.ones_like(loss), *plain, *leaves.sampled_values, log_sum_exp, *options, [True, True, biased]),
    )


@pytest.mark.parametrize("counter", [None, 3])
def test_opcheck_of_draw(counter: int | None) -> None:
    labels = torch.arange(8).reshape(4, 2)
    keyword = {
        "counted": counter is not None, "step": 2, "seed": 5, "rank": 0, "sampler": 1, "key": -1, "unique": True,
        "num_sampled": 6, "num_classes": 40, "exclude": False, "ignore_index": None, "double": False,
    }  # fmt: skip
    tensors = (labels, None if counter is None else torch.tensor(counter), None)
    torch.library.opcheck(torch.ops.sampled_softmax.draw.default, tensors, keyword)


def parameters(problem: Any) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(tensor(array.copy())) for array in (problem.weights, problem.biases)]


def train(problem: Any, make: Any, sparse: bool) -> list[torch.nn.Parameter]:
    """Three steps on candidates that differ from step to step."""
    weights, biases = parameters(problem)
    optimizer = make([weights, biases])
    for step in range(3):
        optimizer.zero_grad()
        sst.sampled_softmax_loss(
            weights, biases, tensor(problem.labels), tensor(problem.inputs), 8, 50,
            reduction="mean", seed=1, step=step, sparse=sparse,
        ).backward()  # fmt: skip
        optimizer.step()
    return [weights, biases]


@pytest.mark.parametrize(
    "make",
    [lambda p: torch.optim.SGD(p, lr=0.5), lambda p: torch.optim.Adagrad(p, lr=0.5)],
    ids=["SGD", "Adagrad"],
)
def test_sparse_gradients_train_as_dense_ones(make: Any) -> None:
    problem = make_problem()
    for sparse, dense in zip(train(problem, make, True), train(problem, make, False), strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-6, atol=1e-6)


def test_sparse_adam_moves_the_rows_that_have_a_gradient_alone() -> None:
    problem = make_problem(num_classes=500)
    problem.labels = problem.labels % 20
    weights = torch.nn.Parameter(tensor(problem.weights.copy()))
    optimizer = torch.optim.SparseAdam([weights], lr=0.1)
    loss = sst.sampled_softmax_loss(
        weights, None, tensor(problem.labels), tensor(problem.inputs), 8, 500, reduction="mean", seed=1, sparse=True
    )
    loss.backward()
    reached = weights.grad.coalesce().indices()[0].tolist()
    optimizer.step()
    moved = (weights.detach() != tensor(problem.weights)).any(1).nonzero()[:, 0].tolist()
    assert moved == reached
    assert len(reached) < 30


def test_sparse_gradient_has_numpys_rows_in_order() -> None:
    import sampled_softmax as ss

    problem = make_problem()
    leaves = Leaves(problem)
    leaves.loss(reduction="mean", sparse=True).backward()
    wanted = ss.value_and_grad(*problem.arrays, sampled_values=problem.sampled_values, reduction="mean")[1].weights
    gradient = leaves.weights.grad
    np.testing.assert_array_equal(gradient._indices()[0].numpy(), wanted.indices)
    np.testing.assert_array_equal(gradient._values().numpy(), wanted.values)
    np.testing.assert_array_equal(gradient.to_dense().numpy(), scattered(wanted, 50).astype(np.float32))


def test_autocast_rounds_inputs_and_keeps_the_loss_float32() -> None:
    leaves = Leaves(make_problem())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = leaves.loss(reduction="mean")
    assert loss.dtype == torch.float32
    loss.backward()
    assert leaves.inputs.grad.dtype == torch.float32

    rounded = Leaves(make_problem())
    rounded.inputs = rounded.inputs.detach().bfloat16().requires_grad_()
    wanted = rounded.loss(reduction="mean")
    wanted.backward()
    assert torch.equal(loss, wanted)
    assert torch.equal(leaves.inputs.grad, rounded.inputs.grad.float())
    assert torch.equal(leaves.weights.grad, rounded.weights.grad)


def test_gradient_scaling_scales_every_gradient() -> None:
    plain, scaled = Leaves(make_problem()), Leaves(make_problem())
    plain.loss(reduction="mean").backward()
    (1024 * scaled.loss(reduction="mean")).backward()
    for one, other in zip(plain.gradients(), scaled.gradients(), strict=True):
        torch.testing.assert_close(1024 * one, other)


def test_gradients_of_several_losses_add_up() -> None:
    leaves = Leaves(make_problem())
    leaves.loss(reduction="mean", sparse=True).backward()
    once = leaves.weights.grad.to_dense()
    leaves.loss(reduction="mean", sparse=True).backward()
    torch.testing.assert_close(leaves.weights.grad.to_dense(), 2 * once)
