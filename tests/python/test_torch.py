"""The PyTorch binding has the NumPy binding's values and gradients, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from problems import BFLOAT16, make_problem
from torch_problems import Leaves, bits, numpy_results, sst, tensor, torch

F16, F32, F64 = np.float16, np.float32, np.float64
MIXTURES = [
    (F32, F32, F32),
    (F64, F64, F64),
    (F16, F16, F16),
    (BFLOAT16, BFLOAT16, BFLOAT16),
    (F32, F32, BFLOAT16),
    (F16, F32, BFLOAT16),
]


def assert_same(leaves: Leaves, options: dict[str, Any], sparse: bool = False) -> None:
    """Loss and gradients of the same call in both bindings."""
    rows = leaves.problem.inputs.shape[0]
    wide = leaves.problem.inputs.dtype == F64
    shape = rows if options.get("reduction", "none") == "none" else ()
    upstream = np.random.default_rng(5).normal(size=shape).astype(F64 if wide else F32)
    wanted, gradients = numpy_results(leaves.problem, grad_output=upstream, **options)
    if "sample_weights" in options:
        options = {**options, "sample_weights": tensor(options["sample_weights"])}
    loss = leaves.loss(sparse=sparse, **options)
    assert loss.dtype == (torch.float64 if wide else torch.float32)
    np.testing.assert_array_equal(bits(loss), bits(wanted))
    loss.backward(tensor(np.asarray(upstream)))
    for ours, theirs in zip(leaves.gradients(), gradients, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == (torch.bfloat16 if theirs.dtype == BFLOAT16 else tensor(theirs).dtype)
            np.testing.assert_array_equal(bits(ours), bits(theirs))


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("dtypes", MIXTURES, ids=lambda dtypes: "-".join(np.dtype(d).name for d in dtypes))
def test_every_mixture_of_dtypes_equals_numpy(dtypes: tuple[Any, Any, Any], num_true: int, sparse: bool) -> None:
    assert_same(Leaves(make_problem(dtypes=dtypes, num_true=num_true)), {}, sparse)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("removal", [True, False])
def test_every_option_equals_numpy(reduction: str, removal: bool) -> None:
    problem = make_problem(3, num_true=2)
    problem.labels[4] = -7
    weights = np.random.default_rng(1).uniform(0, 2, problem.labels.shape[0]).astype(F32)
    weights[2] = 0
    options: dict[str, Any] = {
        "remove_accidental_hits": removal,
        "reduction": reduction,
        "probability_floor": 1e-3,
        "ignore_index": -7,
        "sample_weights": weights,
        "num_threads": 1,
    }
    assert_same(Leaves(problem), options)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_without_biases(sparse: bool) -> None:
    assert_same(Leaves(make_problem(biased=False)), {"reduction": "mean"}, sparse)


@pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "all"])
def test_a_seeded_draw_is_numpys(sampler: str) -> None:
    problem = make_problem(num_sampled=50 if sampler == "all" else 20)
    assert_same(Leaves(problem), {"sampler": sampler, "seed": 2**64 - 5, "step": 3})


@pytest.mark.parametrize(
    ("name", "options"),
    [("fixed_unigram", {"unigrams": np.arange(50) + 1.0}), ("log_uniform", {"generator": "philox"})],
)
def test_a_sampler_object_draws_with_its_own_seed_and_step(name: str, options: dict[str, Any]) -> None:
    problem = make_problem()
    ours = sst.Sampler(name, 50, 20, seed=7, **options)
    theirs = ss.Sampler(name, 50, 20, seed=7, **options)
    ours.step = theirs.step = 11
    for _ in range(2):
        loss = Leaves(problem).loss(sampler=ours)
        np.testing.assert_array_equal(bits(loss), bits(numpy_results(problem, sampler=theirs)[0]))
    assert ours.step == 13


def apart(leaf: torch.Tensor) -> torch.Tensor:
    room = torch.full((2 * leaf.shape[0], leaf.shape[1] + 3), 99.0)
    room[::2, 1:-2] = leaf
    return room[::2, 1:-2]


LAYOUTS = {
    "rows apart": apart,
    "transposed": lambda leaf: leaf.t().contiguous().t(),
    "columns apart": lambda leaf: leaf.repeat_interleave(2, 1)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_change_a_bit(layout: str) -> None:
    problem = make_problem()
    leaves = Leaves(problem)
    leaves.weights, leaves.inputs = (
        LAYOUTS[layout](leaf.detach()).requires_grad_() for leaf in (leaves.weights, leaves.inputs)
    )
    leaves.labels = leaves.labels.t().contiguous().t().to(torch.int32)
    leaves.biases = leaves.biases.detach().repeat_interleave(2)[::2].requires_grad_()
    assert not leaves.inputs.is_contiguous()
    assert_same(leaves, {"reduction": "mean"})


def test_rows_that_lie_apart_are_not_copied() -> None:
    from sampled_softmax.torch import _tensors

    view = apart(torch.zeros(4, 5))
    same, stride = _tensors.rows(view)
    assert same.data_ptr() == view.data_ptr()
    assert stride == 16
    overlapping = torch.zeros(1, 5).expand(4, 5)
    copy, stride = _tensors.rows(overlapping)
    assert copy.is_contiguous() and stride == 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_labels_of_any_integer_dtype_and_as_a_vector(dtype: torch.dtype) -> None:
    leaves = Leaves(make_problem())
    wanted = leaves.loss()
    leaves.labels = leaves.labels[:, 0].to(dtype)
    assert torch.equal(leaves.loss(), wanted)


def test_gradients_are_computed_for_what_requires_them_alone() -> None:
    leaves = Leaves(make_problem())
    leaves.weights.requires_grad_(False)
    leaves.loss(reduction="sum").backward()
    assert leaves.weights.grad is None
    wanted = numpy_results(leaves.problem, reduction="sum")[1]
    np.testing.assert_array_equal(bits(leaves.inputs.grad), bits(wanted.inputs))
    np.testing.assert_array_equal(bits(leaves.biases.grad), bits(wanted.biases))


def test_no_rows_give_an_empty_loss_and_zero_gradients() -> None:
    problem = make_problem(num_rows=0)
    for sparse in (False, True):
        leaves = Leaves(problem)
        assert leaves.loss().shape == (0,)
        loss = leaves.loss(reduction="mean", sparse=sparse)
        assert loss.item() == 0.0
        loss.backward()
        assert leaves.inputs.grad.shape == (0, 17)
        assert not leaves.weights.grad.to_dense().any()


def test_without_a_seed_pytorchs_generator_decides() -> None:
    leaves = Leaves(make_problem(num_classes=5000))

    def losses() -> list[float]:
        return [leaves.loss(sampler="uniform", reduction="mean").item() for _ in range(3)]

    torch.manual_seed(1)
    first = losses()
    assert len(set(first)) == 3
    torch.manual_seed(1)
    assert losses() == first
    assert losses() != first


def test_activation_checkpointing_draws_the_same_again() -> None:
    from torch.utils.checkpoint import checkpoint

    leaves = Leaves(make_problem(num_classes=5000))
    torch.manual_seed(2)
    plain = leaves.loss(sampler="uniform", reduction="mean")
    plain.backward()
    wanted = leaves.inputs.grad
    leaves.inputs.grad = None
    torch.manual_seed(2)
    again = checkpoint(lambda: leaves.loss(sampler="uniform", reduction="mean"), use_reentrant=False)
    assert torch.equal(again, plain)
    again.backward()
    assert torch.equal(leaves.inputs.grad, wanted)


def test_module_is_the_numpy_class() -> None:
    problem = make_problem()
    leaves = Leaves(problem)
    ours = sst.SampledSoftmaxLoss(20, 50, seed=9, reduction="mean")
    theirs = ss.SampledSoftmaxLoss(20, 50, seed=9, reduction="mean")
    arrays = (problem.weights, problem.biases, problem.labels, problem.inputs)
    tensors = leaves.arrays[:4]
    for _ in range(3):
        np.testing.assert_array_equal(bits(ours(*tensors)), bits(theirs(*arrays)))
    assert ours.step == theirs.step == 3


def test_module_keeps_its_step_in_the_state_dict_and_off_the_gpu() -> None:
    leaves = Leaves(make_problem())
    module = torch.nn.ModuleDict({"loss": sst.SampledSoftmaxLoss(20, 50, seed=9)})
    module["loss"](*leaves.arrays[:4])
    module["loss"].step += 4
    again = torch.nn.ModuleDict({"loss": sst.SampledSoftmaxLoss(20, 50, seed=9)})
    again.load_state_dict(module.state_dict())
    assert again["loss"].step == 5
    assert torch.equal(again["loss"](*leaves.arrays[:4]), module["loss"](*leaves.arrays[:4]))
    assert not list(module.buffers()) and not list(module.parameters())
    assert module.to("meta")["loss"].step == 6


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("name", ["uniform", "log_uniform", "learned_unigram"])
def test_samplers_are_numpys(name: str, unique: bool) -> None:
    # A number of classes of its own, so that no other test has taught the learned counts.
    classes = 70 + unique
    labels = np.random.default_rng(0).integers(0, classes, (6, 2))
    wanted = ss.Sampler(name, classes, 9, unique, seed=3).sample(labels, step=4)
    got = getattr(sst, f"{name}_candidate_sampler")(tensor(labels), 2, 9, unique, classes, seed=3, step=4)
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(bits(ours), bits(theirs))


def test_fixed_unigram_and_all_and_hits_are_numpys() -> None:
    labels = np.random.default_rng(0).integers(2, 40, (6, 2))
    options = {"unigrams": np.arange(38) + 0.5, "num_reserved_ids": 2, "distortion": 0.75, "seed": 3, "step": 2}
    pairs = [
        (module.fixed_unigram_candidate_sampler(true, 2, 9, True, 40, **options),
         module.all_candidate_sampler(true, 2, 40, True),
         module.compute_accidental_hits(true, true[:, 0], 2))
        for module, true in ((ss, labels), (sst, tensor(labels)))
    ]  # fmt: skip
    for theirs, ours in zip(*pairs, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(bits(one), bits(other))


def test_sampler_avoids_and_counts_steps() -> None:
    sampler = sst.Sampler("uniform", 30, 20)
    avoid = torch.arange(10)
    values = sampler.sample(torch.tensor([3, 4]), avoid=avoid)
    assert values.sampled_candidates.tolist() == list(range(10, 30))
    assert sampler.step == 1
    sampler.sample(step=7)
    assert sampler.step == 1


def test_results_do_not_depend_on_threads() -> None:
    leaves = Leaves(make_problem(num_rows=300, num_sampled=200))
    wanted = leaves.loss(num_threads=1)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert torch.equal(leaves.loss(), wanted)
    finally:
        torch.set_num_threads(before)
