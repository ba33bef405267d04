"""What the PyTorch binding refuses: with the error a PyTorch user expects, and its numbers."""

from __future__ import annotations

from typing import Any

import pytest
import sampled_softmax as ss
from problems import make_problem
from torch_problems import Leaves, sst, torch


def call(**changed: Any) -> torch.Tensor:
    """The loss of a good problem with some arguments changed."""
    leaves = Leaves(make_problem())
    names = ("weights", "biases", "labels", "inputs", "num_sampled", "num_classes", "num_true")
    arguments = dict(zip(names, leaves.arrays, strict=True), sampled_values=leaves.sampled_values)
    return sst.sampled_softmax_loss(**{**arguments, **changed})


IDS, TRUE, SAMPLED = (torch.arange(20), torch.ones(13, 1), torch.ones(20))

REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"weights": torch.zeros(49, 17)}, ValueError, r"biases has shape \(50,\); \(49,\) is needed"),
    ({"weights": torch.zeros(49, 17), "biases": None}, ValueError, r"weights has shape \(49, 17\), but num"),
    ({"weights": torch.zeros(50, 16)}, ValueError, r"weights has shape \(50, 16\), but inputs has \(13, 17\)"),
    ({"inputs": torch.zeros(17)}, ValueError, r"inputs has shape \(17,\); \[N, d\]"),
    ({"inputs": torch.zeros(13, 0)}, ValueError, r"inputs has shape \(13, 0\)"),
    ({"biases": torch.zeros(50, 1)}, ValueError, r"biases has shape \(50, 1\); \(50,\) is needed"),
    ({"labels": torch.zeros(12, 1).long()}, ValueError, r"labels has shape \(12, 1\), but inputs has \(13, 17\)"),
    ({"labels": torch.zeros(13, 2).long()}, ValueError, r"labels has shape \(13, 2\); num_true = 1 columns"),
    ({"labels": torch.zeros(13, 1)}, TypeError, r"labels is torch.float32; integers are needed"),
    ({"labels": [0] * 13}, TypeError, r"labels is a list; a torch.Tensor is needed"),
    ({"inputs": torch.zeros(13, 17).long()}, TypeError, r"inputs is torch.int64; float32, float16"),
    ({"inputs": torch.zeros(13, 17).double()}, TypeError, r"inputs is torch.float64, weights is torch.float32"),
    ({"biases": torch.zeros(50).double()}, TypeError, r"biases is torch.float64: float64 is for all"),
    ({"inputs": torch.zeros(13, 17, device="meta")}, RuntimeError, r"inputs is on meta, but weights is on cpu"),
    ({"labels": torch.zeros(13, 1, device="meta").long()}, RuntimeError, r"inputs is on cpu, but labels is on meta"),
    ({"sample_weights": torch.ones(12)}, ValueError, r"sample_weights has shape \(12,\); \(13,\) is needed"),
    ({"sample_weights": torch.ones(13).bool()}, TypeError, r"sample_weights is torch.bool; real numbers"),
    ({"sample_weights": torch.ones(13, requires_grad=True)}, RuntimeError, r"sample_weights requires a gradient"),
    ({"sampled_values": IDS}, TypeError, r"sampled_values is a Tensor; a list or tuple"),
    ({"sampled_values": (IDS, TRUE)}, ValueError, r"sampled_values has 2 elements"),
    ({"sampled_values": (IDS[1:], TRUE, SAMPLED)}, ValueError, r"sampled_candidates has shape \(19,\)"),
    ({"sampled_values": (IDS, TRUE[1:], SAMPLED)}, ValueError, r"true_expected_count has shape \(12, 1\)"),
    ({"sampled_values": (IDS, TRUE, SAMPLED[1:])}, ValueError, r"sampled_expected_count has shape \(19,\)"),
    ({"sampled_values": (SAMPLED, TRUE, SAMPLED)}, TypeError, r"sampled_candidates is torch.float32; integers"),
    ({"num_sampled": 0}, ValueError, r"num_sampled = 0 is less than 1"),
    ({"num_sampled": 2.5}, TypeError, r"num_sampled = 2.5 is not an integer"),
    ({"reduction": "avg"}, ValueError, r"reduction = 'avg' is none of"),
    ({"sampled_values": None, "sampler": "zipf"}, ValueError, r"sampler = 'zipf' is none of"),
    ({"sampled_values": None, "step": 3}, ValueError, r"step = 3: a step picks a draw of a seed"),
    ({"sampled_values": None, "seed": 1, "step": -3}, ValueError, r"step = -3 is less than 0"),
    ({"sampled_values": None, "seed": -1}, ValueError, r"seed = -1 is less than 0"),
    ({"sampled_values": None, "num_sampled": 51}, ss.SampledSoftmaxError, r"51"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "kind", "message"), REFUSED, ids=[f"{next(iter(c))}-{i}" for i, (c, _, _) in enumerate(REFUSED)]
)
def test_refused(changed: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call(**changed)


@pytest.mark.parametrize("given", [True, False], ids=["given", "drawn"])
@pytest.mark.parametrize("label", [50, -1])
def test_a_label_out_of_range_is_an_index_error(label: int, given: bool) -> None:
    leaves = Leaves(make_problem())
    leaves.labels[3, 0] = label
    changed = {"labels": leaves.labels} if given else {"labels": leaves.labels, "sampled_values": None, "seed": 1}
    with pytest.raises(IndexError, match=rf"labels\[3\] = {label} is outside \[0, 50\)") as caught:
        call(**changed)
    assert isinstance(caught.value, ss.SampledSoftmaxError) and isinstance(caught.value, ValueError)


def test_a_label_that_a_sampler_object_cannot_draw_is_named_at_its_place() -> None:
    sampler = sst.Sampler("fixed_unigram", 50, 20, unigrams=[1.0] * 48, num_reserved_ids=2)
    labels = torch.full((13, 2), 9)
    labels[4, 1] = 1
    with pytest.raises(ValueError, match=r"labels\[4, 1\] = 1"):
        call(labels=labels, num_true=2, sampled_values=None, sampler=sampler)


def test_a_failed_call_takes_no_step() -> None:
    leaves = Leaves(make_problem())
    module = sst.SampledSoftmaxLoss(20, 50)
    with pytest.raises(ValueError, match="inputs has shape"):
        module(leaves.weights, None, leaves.labels, torch.zeros(17))
    assert module.step == 0


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((51, 50), ValueError, "num_sampled = 51 is greater than num_classes = 50"),
        ((5, 50, 51), ValueError, "num_true = 51 is greater"),
        ((5, 50, 1, None, "yes"), TypeError, "remove_accidental_hits = 'yes' is not a bool"),
        ((5, 50, 1, None, True, -4), ValueError, "seed = -4 is less than 0"),
        ((5, 50, 1, None, True, 0, "avg"), ValueError, "reduction = 'avg'"),
    ],
)
def test_module_refuses_when_made(arguments: tuple[Any, ...], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        sst.SampledSoftmaxLoss(*arguments)


def test_operators_check_what_they_are_called_with() -> None:
    leaves = Leaves(make_problem())
    tensors = [leaves.inputs.detach(), leaves.weights.detach(), None, leaves.labels, None, *leaves.sampled_values]
    options = (0, 0, 0.0, None, 1, False)
    loss, log_sum_exp = torch.ops.sampled_softmax.forward(*tensors, *options)
    with pytest.raises(ValueError, match=r"labels has shape \(13, 0\)"):
        torch.ops.sampled_softmax.forward(*tensors[:3], leaves.labels[:, :0], *tensors[4:], *options)
    with pytest.raises(TypeError, match=r"sampled_candidates is torch.int32"):
        torch.ops.sampled_softmax.forward(*tensors[:5], tensors[5].int(), *tensors[6:], *options)
    with pytest.raises(ValueError, match=r"log_sum_exp has shape \(12,\)"):
        torch.ops.sampled_softmax.backward(loss, *tensors, log_sum_exp[1:], *options, [True, True, False])
    with pytest.raises(ValueError, match=r"grad_output has shape \(\)"):
        torch.ops.sampled_softmax.backward(loss.sum(), *tensors, log_sum_exp, *options, [True, True, False])
    with pytest.raises(RuntimeError, match="key 999999999 no longer exists"):
        torch.ops.sampled_softmax.draw(
            leaves.labels, None, None, counted=False, step=0, seed=None, rank=0, sampler=5, key=999999999, unique=True,
            num_sampled=2, num_classes=50, exclude=False, ignore_index=None, double=False,
        )  # fmt: skip
