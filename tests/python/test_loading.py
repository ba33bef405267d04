"""The library loaded and unloaded by name, and two copies of it in one process."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT, absent, run
from toolchain import SOURCES, build, dialects, link_flags, run_linked

DIALECT = dialects("c11")[0]
LIBRARIES = ["-ldl", "-lpthread"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/c/loading.c, linked with no copy of the library."""
    folder = tmp_path_factory.mktemp("loading")
    return build(DIALECT, SOURCES / "loading.c", folder / "loading", *LIBRARIES)


@pytest.fixture(scope="module")
def copy(library_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library under another file name."""
    return Path(shutil.copy(library_path, tmp_path_factory.mktemp("copy") / "libother.so"))


def test_loading_again_and_again_leaves_nothing_behind(program: Path, library_path: Path) -> None:
    assert "done" in run([program, "cycles", "5000", library_path])


def test_threads_may_end_after_the_library_was_closed(program: Path, library_path: Path) -> None:
    assert "done" in run([program, "threads", library_path])


def test_handles_that_were_never_destroyed_outlive_dlclose(program: Path, library_path: Path) -> None:
    assert "done" in run([program, "abandoned", library_path])


@pytest.mark.parametrize("scope", ["0", "1"], ids=["local", "global"])
def test_copies_in_one_process_share_nothing(program: Path, library_path: Path, copy: Path, scope: str) -> None:
    for pair in (library_path, copy), (copy, library_path):
        assert "done" in run([program, "copies", scope, *pair])


@pytest.mark.parametrize("scope", ["0", "1"], ids=["local", "global"])
def test_a_linked_program_may_load_other_copies(
    library_dir: Path, library_path: Path, copy: Path, tmp_path: Path, scope: str
) -> None:
    flags = ["-DLINKED", *link_flags(library_dir), *LIBRARIES]
    linked = build(DIALECT, SOURCES / "loading.c", tmp_path / "linked", *flags)
    another = shutil.copy(library_path, tmp_path / "libthird.so")
    assert "done" in run_linked(linked, library_dir, arguments=["copies", scope, copy, another])


def test_the_library_looks_up_no_symbol_of_its_own(library_path: Path) -> None:
    """Else another copy, loaded first, would answer in its place."""
    if shutil.which("readelf") is None:
        absent("readelf (binutils) is not installed")
    relocations = run(["readelf", "-rW", library_path], env={"LC_ALL": "C"})
    assert "malloc@" in relocations, "readelf's output was not understood"
    assert re.findall(r"\bssl_\w+", relocations) == []


BESIDE_A_COPY = """
import ctypes, sys
import numpy as np
copy = ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
copy.ssl_last_error.restype = ctypes.c_size_t
from sampled_softmax import SampledSoftmaxError, uniform_candidate_sampler as draw
from sampled_softmax._library import LIBRARY

assert LIBRARY._name == sys.argv[2] and LIBRARY._handle != copy._handle
drawn = draw(np.array([[0]]), 1, 5, True, 100, seed=1)
try:
    draw(np.array([[0]]), 1, 5, True, 4, seed=1)
except SampledSoftmaxError as error:
    assert "num_sampled = 5" in str(error), error
else:
    raise AssertionError("five distinct classes of four")
assert copy.ssl_last_error(None, 0) == 0
print(list(drawn[0]))
"""


def test_python_uses_the_library_it_was_told_of(library_path: Path, copy: Path) -> None:
    drawn = set()
    for used, other in (library_path, copy), (copy, library_path):
        environment = {"SAMPLED_SOFTMAX_LIB": str(used), "PYTHONPATH": str(ROOT / "bindings" / "python")}
        drawn.add(run([sys.executable, "-c", BESIDE_A_COPY, other, used], env=environment))
    assert len(drawn) == 1
