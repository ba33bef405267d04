"""Whose code is in the library, and on what terms, is written down and stays true."""

from __future__ import annotations

import re
import shutil
import sys

import pytest
from conftest import ROOT, absent

sys.path.insert(0, str(ROOT / "tests"))

from third_party import PERMISSIVE, complaints, is_allowed, notices, parts


def test_every_crate_is_listed_and_its_licence_allowed() -> None:
    if shutil.which("cargo") is None:
        absent("cargo is not installed")
    assert complaints() == []


def test_what_goes_with_a_copy_names_every_crate_in_it_with_its_terms() -> None:
    if shutil.which("cargo") is None:
        absent("cargo is not installed")
    sections = [section.strip() for section in notices().split("-" * 78)[1:]]
    assert [section.partition("\n")[0] for section in sections] == [
        f"{name} {version}" for part, name, version, _ in parts() if part == "library"
    ]
    for section in sections:
        assert re.search("(?i)permission|copyright", section)


@pytest.mark.parametrize(
    "expression",
    ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-2.0) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception"],
)
def test_expressions_that_can_be_satisfied_are_allowed(expression: str) -> None:
    assert is_allowed(expression, PERMISSIVE)


@pytest.mark.parametrize(
    "expression",
    ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-2.0", "GPL-2.0 WITH Classpath-exception-2.0", "MIT MIT"],
)
def test_expressions_that_ask_for_more_are_not(expression: str) -> None:
    assert not is_allowed(expression, PERMISSIVE)


def test_builds_take_the_versions_of_the_lock_file() -> None:
    """`--locked`: what is built is what was tested, not what the registry has today."""
    for file in (ROOT / "Makefile", ROOT / "bindings" / "python" / "hatch_build.py"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if re.search(r"^\t.*\bcargo (build|test|clippy)|\"cargo\", \"build\"", line):
                assert "--locked" in line, f"{file.name}: {line}"
