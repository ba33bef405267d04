"""examples/cuda/step.c: the CUDA engine from C, on the emulated driver.

Run with libcuda in LD_LIBRARY_PATH; `make test` does, with the fake one of tests/emu.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from conftest import ROOT, absent, run
from toolchain import Dialect, build, dialects, link_flags

EMULATOR = ROOT / "build" / "emu"
SOURCE = ROOT / "examples" / "cuda" / "step.c"


def _header_folder() -> Path:
    """Where cuda.h is: it comes with PyTorch's wheels."""
    found = sorted((ROOT / "build").glob("*/lib/python*/site-packages/nvidia/*/include/cuda.h"))
    if not found:
        absent("no environment under build/ has cuda.h: make environments")
    return found[0].parent


@pytest.mark.parametrize("dialect", dialects("c99"), ids=str)
def test_step_agrees_with_the_cpu_and_every_replay_draws_anew(
    dialect: Dialect, library_dir: Path, tmp_path: Path
) -> None:
    if not (EMULATOR / "libcuda.so").exists():
        absent("there is no emulated driver: make emu")
    flags = ["-isystem", str(_header_folder()), *link_flags(library_dir), f"-L{EMULATOR}", "-lcuda"]
    program = build(dialect, SOURCE, tmp_path / "step", *flags)
    paths = os.pathsep.join(map(str, (library_dir, EMULATOR)))
    # Strictly, and with device memory out of the program's reach.
    printed = run([program], env={"LD_LIBRARY_PATH": paths, "FAKE_CUDA_STRICT": "1", "FAKE_CUDA_HIDE": "1"})
    first = re.match(r"GPU loss (\S+), CPU loss (\S+), gradients of (\d+) classes\n", printed)
    assert first, printed
    assert float(first[1]) == pytest.approx(float(first[2]), rel=1e-4)
    assert 256 <= int(first[3]) <= 352
    replays = re.findall(r"replay \d: loss (\S+), last sampled class (\d+)", printed)
    assert len(replays) == 3
    # The first replay is the captured step itself, then each draws its own.
    assert replays[0][0] == first[1]
    assert len({last for _, last in replays}) == 3, printed
