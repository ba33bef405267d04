"""The example programs build without a warning, and train: what they print is checked."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from conftest import ROOT
from toolchain import Dialect, build, compile_only, dialects, link_flags, run_linked

EXAMPLES = ROOT / "examples"
NUM_CLASSES = 20_000


@pytest.mark.parametrize("dialect", dialects("c99"), ids=str)
def test_c_example_trains(dialect: Dialect, library_dir: Path, tmp_path: Path) -> None:
    source = EXAMPLES / "c" / "train.c"
    program = build(dialect, source, tmp_path / "train", *link_flags(library_dir))
    expect_training(run_linked(program, library_dir), sampled_below=0.9, full_below=2.0)


@pytest.mark.parametrize("dialect", dialects("c++17"), ids=str)
def test_cpp_example_trains(dialect: Dialect, library_dir: Path, tmp_path: Path) -> None:
    source = EXAMPLES / "cpp" / "train.cpp"
    program = build(dialect, source, tmp_path / "train", *link_flags(library_dir))
    expect_training(run_linked(program, library_dir), sampled_below=0.6, full_below=3.0)


@pytest.mark.parametrize("dialect", dialects("c11", "c17", "c++20"), ids=str)
def test_examples_compile_by_newer_standards(dialect: Dialect) -> None:
    is_c = dialect.language == "c"
    compile_only(dialect, EXAMPLES / ("c/train.c" if is_c else "cpp/train.cpp"))


def expect_training(printed: str, *, sampled_below: float, full_below: float) -> None:
    """The sampled loss falls all the way, and the full one from chance to the given level."""
    losses = re.findall(r"^step +\d+  sampled loss (.+)$", printed, re.MULTILINE)
    sampled = [float(loss) for loss in losses]
    assert len(sampled) >= 4, printed
    assert sampled == sorted(sampled, reverse=True), printed
    assert sampled[-1] < sampled_below, printed

    full = re.search(r"^full softmax, held out: (\S+) -> (\S+)$", printed, re.MULTILINE)
    assert full, printed
    before, after = map(float, full.groups())
    assert before == pytest.approx(math.log(NUM_CLASSES), abs=0.05), printed
    assert after < full_below, printed
