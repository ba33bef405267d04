"""`sampled_softmax.torch` on CUDA tensors: values, gradients, streams, graphs, compiling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from device import EMULATED, TORCH

if EMULATED:
    pytest.skip("PyTorch has no CUDA tensors on the emulated device", allow_module_level=True)

import sampled_softmax.torch as sst

N, C, D, S = 300, 5000, 64, 256


def leaves(device: Any = TORCH, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """weights, biases, inputs."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator) for shape in ((C, D), (C,), (N, D))]
    return [(0.3 * leaf).to(device, dtype).requires_grad_() for leaf in made]


LABELS = torch.randint(C, (N, 1), generator=torch.Generator().manual_seed(1))


def loss_of(tensors: list[torch.Tensor], **options: Any) -> torch.Tensor:
    weights, biases, inputs = tensors
    options = {"reduction": "mean", "seed": 3, "step": 2, **options}
    return sst.sampled_softmax_loss(weights, biases, LABELS.to(inputs.device), inputs, S, C, **options)


def gradients(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return [leaf.grad.to_dense().float().cpu() for leaf in tensors]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_values_and_gradients_are_those_of_the_cpu(dtype: torch.dtype, tolerance: float, sparse: bool) -> None:
    ours, theirs = leaves(dtype=dtype), leaves("cpu", dtype)
    loss, wanted = loss_of(ours, sparse=sparse), loss_of(theirs)
    loss.backward()
    wanted.backward()
    torch.testing.assert_close(loss.cpu(), wanted, rtol=tolerance, atol=tolerance)
    for one, other in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * other.abs().max().item())


def test_candidates_are_those_of_the_cpu() -> None:
    ours, theirs = (
        sst.log_uniform_candidate_sampler(LABELS.to(device), 1, S, True, C, seed=3, step=2) for device in (TORCH, "cpu")
    )
    assert ours.sampled_candidates.is_cuda
    assert torch.equal(ours.sampled_candidates.cpu(), theirs.sampled_candidates)
    torch.testing.assert_close(ours.true_expected_count.cpu(), theirs.true_expected_count)


def test_nothing_waits_for_the_device() -> None:
    tensors = leaves()
    loss_of(tensors, sparse=True).backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss_of(tensors, sparse=True).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_work_is_on_pytorchs_current_stream() -> None:
    tensors = leaves()
    wanted = loss_of(tensors)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        tensors[2].data.mul_(1.0)
        loss = loss_of(tensors)
        assert not stream.query()
    stream.synchronize()
    assert torch.equal(loss, wanted)


def test_a_captured_step_draws_anew_at_every_replay() -> None:
    tensors = leaves()
    module = sst.SampledSoftmaxLoss(S, C, seed=3, reduction="mean", remove_accidental_hits=False)
    labels = LABELS.to(TORCH)

    def step() -> torch.Tensor:
        loss = module(tensors[0], tensors[1], labels, tensors[2])
        for leaf, gradient in zip(tensors, torch.autograd.grad(loss, tensors), strict=True):
            leaf.grad = gradient
        return loss

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    losses = []
    for _ in range(3):
        graph.replay()
        losses.append(loss.item())
    assert len(set(losses)) == 3 and all(value == value for value in losses)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_module_is_the_eager_one(mode: str) -> None:
    torch._dynamo.reset()
    eager, fast = leaves(), leaves()
    labels = LABELS.to(TORCH)
    module = sst.SampledSoftmaxLoss(S, C, seed=3, reduction="mean", remove_accidental_hits=False)
    compiled = torch.compile(
        lambda weights, biases, inputs: module(weights, biases, labels, torch.tanh(inputs)), fullgraph=True, mode=mode
    )
    for _ in range(4):
        compiled(*fast).backward()
    assert module.step == 4
    module.step = 0
    for _ in range(4):
        module(eager[0], eager[1], labels, torch.tanh(eager[2])).backward()
    for one, other in zip(gradients(fast), gradients(eager), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_two_devices_are_refused() -> None:
    weights, biases, inputs = leaves()
    with pytest.raises(RuntimeError, match="inputs is on cuda:0, but labels is on cpu"):
        sst.sampled_softmax_loss(weights, biases, LABELS, inputs, S, C)


def test_a_label_out_of_range_is_nan_for_its_row_and_an_error_in_anomaly_mode() -> None:
    weights, biases, inputs = leaves()
    labels = LABELS.to(TORCH).clone()
    labels[7] = C
    loss = sst.sampled_softmax_loss(weights, biases, labels, inputs, S, C, seed=1)
    assert loss.isnan().nonzero().flatten().tolist() == [7]
    loss.nansum().backward()
    assert not inputs.grad[7].any() and not weights.grad.isnan().any()
    with torch.autograd.detect_anomaly(check_nan=False), pytest.raises(IndexError, match="label out of range"):
        sst.sampled_softmax_loss(weights, biases, labels, inputs, S, C, seed=1)


def test_float64_is_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        loss_of(leaves(dtype=torch.float64))
