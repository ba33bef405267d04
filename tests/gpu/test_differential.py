"""Loss and gradients against PyTorch in float64, over shapes, types and options."""

from __future__ import annotations

import pytest
import torch
from comparison import arithmetic, assert_close
from device import EMULATED, Stream
from engine import Call, Engine
from problem import Problem

SMALL = [
    # rows, dim, classes, sampled, num_true
    (1, 1, 2, 1, 1),
    (5, 3, 17, 7, 1),
    (33, 64, 300, 65, 1),
    (64, 72, 500, 130, 2),
    (77, 128, 400, 200, 3),
    (40, 200, 256, 96, 1),
    (70, 256, 300, 64, 1),
    (50, 264, 300, 96, 1),
    (37, 513, 128, 61, 2),
]
LARGE = [
    (2560, 512, 50_000, 2048, 1),
    (4096, 128, 100_000, 4096, 1),
    (8192, 64, 200_000, 1024, 2),
    (64, 1024, 100_000, 8192, 1),
    (1000, 255, 60_000, 3000, 1),
]
SHAPES = SMALL if EMULATED else SMALL + LARGE
TYPES = [("float32", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16"), ("bfloat16", "float32")]


def run_all(problem: Problem, precision: str = "default", **options: object) -> dict[str, torch.Tensor]:
    """Forward then backward, and both in one call, which must agree; the former's results."""
    expected, used = problem.solve(), arithmetic(problem, precision)
    stream = Stream()
    with Engine(problem, precision) as engine:
        separate = Call(engine, problem, stream, **options)
        separate.queue_forward()
        separate.queue_backward()
        fused = Call(engine, problem, stream, **options)
        fused.queue_forward_backward()
        results = separate.results()
        assert int(results["device_status"]) == 0
        assert_close(results, expected, used)
        assert_close(fused.results(), expected, used)
    return results


@pytest.mark.parametrize("types", TYPES, ids="-".join)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_types(shape: tuple[int, ...], types: tuple[str, str]) -> None:
    run_all(Problem(*shape, inputs_dtype=types[0], weights_dtype=types[1], seed=sum(shape)))


@pytest.mark.parametrize("precision", ["tf32", "ieee"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_precisions(shape: tuple[int, ...], precision: str) -> None:
    run_all(Problem(*shape, seed=sum(shape)), precision)


@pytest.mark.parametrize("dim", [64, 300])
@pytest.mark.parametrize(
    "options",
    [
        {"reduction": "mean"},
        {"reduction": "sum", "weighted": True},
        {"reduction": "mean", "weighted": True, "ignore_index": -100},
        {"floor": 1e-3, "num_true": 2},
        {"mask_hits": False},
        {"unique": False},
        {"biases_dtype": None},
        {"biases_dtype": "bfloat16", "inputs_gap": 3, "weights_gap": 5},
        {"labels_dtype": torch.int32, "counts_dtype": torch.float64},
        {"scale": 8.0},
    ],
    ids=str,
)
def test_options(options: dict[str, object], dim: int) -> None:
    run_all(Problem(50, dim, 200, 80, **{"seed": dim} | options))


@pytest.mark.parametrize("dim", [128, 300])
@pytest.mark.parametrize("types", TYPES, ids="-".join)
def test_logits_far_apart(types: tuple[str, str], dim: int) -> None:
    """Of standard deviation 64: exponentials taken from a label's logit overflow in some rows of every tile."""
    run_all(Problem(150, dim, 400, 100, inputs_dtype=types[0], weights_dtype=types[1], scale=8.0, seed=dim))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dense_gradients_are_added(dtype: torch.dtype) -> None:
    problem = Problem(40, 96, 120, 50, seed=5)
    expected = problem.solve()
    with Engine(problem) as engine:
        call = Call(engine, problem, Stream(), dense=True, gradient_dtype=dtype)
        call.queue_forward_backward()
        once = call.results()
        call.queue_backward()
        twice = call.results()
    rounding = {torch.float32: 1.0, torch.float16: 10.0, torch.bfloat16: 60.0}[dtype]
    assert_close(once, expected, "bf16x3", rounding)
    for name in ("d_weights", "d_biases"):
        assert_close({name: twice[name]}, {name: 2 * expected[name]}, "bf16x3", rounding)


@pytest.mark.parametrize("dim", [96, 300])
def test_weights_move_by_row_wise_adagrad(dim: int) -> None:
    rate = 0.5
    problem = Problem(60, dim, 300, 70, reduction="mean", seed=11)
    expected = problem.solve()
    with Engine(problem) as engine:
        call = Call(engine, problem, Stream(), rate=rate)
        call.queue_forward_backward()
        results = call.results()
    assert_close(results, expected, "bf16x3")
    for name in ("weights", "biases"):
        gradient = expected[f"d_{name}"]
        size = (gradient**2).mean(dim=-1, keepdim=True).sqrt() if name == "weights" else gradient.abs()
        moved = problem.tensors[name].double() - torch.where(size > 0, rate * gradient / size.clamp(min=1e-30), 0.0)
        # Gradients of biases are moved by their signs alone.
        torch.testing.assert_close(results[name].double(), moved, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dim", [128, 300])
def test_repeats_bit_for_bit(dim: int) -> None:
    problem = Problem(90, dim, 500, 300, num_true=2, unique=False, scale=3.0, seed=9)
    runs = []
    with Engine(problem) as engine:
        for _ in range(3):
            call = Call(engine, problem, Stream())
            call.queue_forward_backward()
            runs.append(call.results())
    for name, value in runs[0].items():
        assert all(torch.equal(value, run[name]) for run in runs[1:]), name


def test_no_rows() -> None:
    problem = Problem(0, 16, 50, 20, reduction="mean")
    with Engine(problem) as engine:
        call = Call(engine, problem, Stream())
        call.queue_forward_backward()
        results = call.results()
    assert results["loss"].item() == 0
    assert not results["d_weights"].any()
