"""Updates in place against PyTorch's optimizers on the same sparse gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
import torch
from problems import make_problem
from sampled_softmax.torch import sampled_softmax_loss


@pytest.mark.parametrize("rule", ["sgd", "adagrad"])
def test_steps_are_those_of_pytorch_on_sparse_gradients(rule: str) -> None:
    problem = make_problem(num_true=2)
    parameters = [torch.nn.Parameter(torch.tensor(array)) for array in (problem.weights, problem.biases)]
    theirs: Any = torch.optim.SGD(parameters, 0.25)
    ours: Any = ss.SGD(0.25)
    if rule == "adagrad":
        theirs = torch.optim.Adagrad(parameters, 0.25, initial_accumulator_value=0.5, eps=0.01)
        states = [np.full_like(array, 0.5) for array in (problem.weights, problem.biases)]
        ours = ss.Adagrad(0.25, *states, epsilon=0.01)
    for step in range(5):
        weights, biases = (parameter.detach().numpy() for parameter in parameters)
        options: dict[str, Any] = {
            "num_sampled": 9,
            "num_classes": len(weights),
            "num_true": 2,
            "seed": 3,
            "step": step,
        }
        _, gradients = ss.value_and_grad(weights, biases, problem.labels, problem.inputs, **options)
        for parameter, gradient in zip(parameters, (gradients.weights, gradients.biases), strict=True):
            indices, values = torch.tensor(gradient.indices)[None], torch.tensor(gradient.values)
            parameter.grad = torch.sparse_coo_tensor(indices, values, parameter.shape)
        theirs.step()
        ss.value_and_grad(*problem.arrays[:4], update=ours, **options)
        np.testing.assert_allclose(problem.weights, parameters[0].detach().numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(problem.biases, parameters[1].detach().numpy(), rtol=1e-5, atol=1e-6)


def test_backward_is_not_disturbed_by_an_update_of_numpy_arrays_before_it() -> None:
    problem = make_problem()
    options: dict[str, Any] = {"num_sampled": 9, "num_classes": len(problem.weights), "seed": 3}
    weights, biases, labels, inputs = problem.arrays[:4]
    _, wanted = ss.value_and_grad(weights, biases, labels, inputs, dense=True, **options)
    tensors = [torch.tensor(array, requires_grad=array is not labels) for array in (weights, biases, labels, inputs)]
    loss = sampled_softmax_loss(*tensors, **options).sum()
    # The structs of both calls are the same memory.
    ss.value_and_grad(weights, biases, labels, inputs, update=ss.SGD(0.25), **options)
    loss.backward()
    np.testing.assert_array_equal(tensors[0].grad.numpy(), wanted.weights)
