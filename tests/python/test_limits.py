"""tests/c/limits.c: threads, address space and descriptors that the system refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from toolchain import SOURCES, Dialect, build, dialects, link_flags, run_linked


@pytest.mark.parametrize("dialect", dialects("c11"), ids=str)
def test_what_the_system_refuses_is_a_status(dialect: Dialect, library_dir: Path, tmp_path: Path) -> None:
    program = build(dialect, SOURCES / "limits.c", tmp_path / "limits", *link_flags(library_dir), "-pthread", "-ldl")
    run_linked(program, library_dir)
