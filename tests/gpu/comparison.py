"""How far results may lie from float64, by what was multiplied."""

from __future__ import annotations

import torch
from problem import Problem

# Relative to the norm of the right answer. What bounds each: one rounding of every
# probability to 16 bits (gradients in bf16 and f16), the dropped product of the low halves
# (bf16x3), 11-bit operands (tf32), float32 sums of S terms (IEEE).
LOSS = {"bfloat16": 1e-5, "float16": 1e-5, "bf16x3": 3e-5, "tf32": 2e-3, "ieee": 1e-5}
GRADIENT = {"bfloat16": 6e-3, "float16": 1e-3, "bf16x3": 1e-4, "tf32": 3e-3, "ieee": 2e-5}


def arithmetic(problem: Problem, precision: str) -> str:
    """What the engine multiplies with."""
    same = problem.inputs_dtype == problem.weights_dtype
    if precision == "ieee":
        return "ieee"
    if same and problem.inputs_dtype in ("bfloat16", "float16"):
        return problem.inputs_dtype
    return "tf32" if precision == "tf32" else "bf16x3"


def assert_close(
    results: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], used: str, slack: float = 1.0
) -> None:
    """Every result that is there against its float64, and no unwritten element."""
    for name in ("loss", "log_sum_exp", "d_inputs", "d_weights", "d_biases"):
        if name not in results:
            continue
        got, want = results[name].to(torch.float64), expected[name]
        assert got.shape == want.shape, f"{name}: {tuple(got.shape)} is not {tuple(want.shape)}"
        finite = torch.isfinite(want)
        assert torch.equal(torch.nan_to_num(got[~finite]), torch.nan_to_num(want[~finite])), name
        bound = (LOSS if name in ("loss", "log_sum_exp") else GRADIENT)[used] * slack
        error = torch.linalg.vector_norm((got - want)[finite])
        norm = torch.linalg.vector_norm(want[finite])
        assert error <= bound * norm + 1e-30, f"{name}: error {error / norm:.2e} of the norm, allowed {bound:.0e}"
