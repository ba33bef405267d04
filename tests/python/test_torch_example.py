"""The example for PyTorch trains, and agrees with plain PyTorch on the same candidates."""

from __future__ import annotations

import re
import sys

from conftest import ROOT, run
from torch_problems import torch

STEPS = 120


def test_language_model_trains_as_plain_pytorch_does() -> None:
    assert torch.__version__
    printed = run(
        [sys.executable, "-W", "ignore", "-m", "examples.torch.language_model", "--steps", str(STEPS)],
        # More threads than free cores make PyTorch's wait for one another.
        env={"PYTHONPATH": str(ROOT / "bindings" / "python"), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        timeout=300,
    )
    for name in ("library", "plain"):
        found = re.search(rf"^{name} +loss (\S+) -> (\S+), held-out perplexity (\S+) -> (\S+),", printed, re.MULTILINE)
        assert found, printed
        first, last, before, after = (float(number.replace(",", "")) for number in found.groups())
        assert last < 0.7 * first, printed
        assert after < before / 20, printed
    difference = re.search(r"largest difference of a batch's loss: (\S+)", printed)
    assert difference and float(difference[1]) <= 1e-4, printed
