"""The C++ binding, by a C++ program that checks it from inside."""

from __future__ import annotations

from pathlib import Path

import pytest
from toolchain import SOURCES, Dialect, build, dialects, link_flags, run_linked


@pytest.mark.parametrize("dialect", dialects("c++17", "c++20"), ids=str)
def test_binding_owns_throws_and_grows(dialect: Dialect, library_dir: Path, tmp_path: Path) -> None:
    flags = [*link_flags(library_dir), "-pthread"]
    program = build(dialect, SOURCES / "binding.cpp", tmp_path / "binding", *flags)
    run_linked(program, library_dir)
