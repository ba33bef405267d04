"""The C and C++ compilers of this machine, and one way to call them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, absent, run

INCLUDE = ROOT / "include"
BINDING = ROOT / "bindings" / "cpp"
SOURCES = ROOT / "tests" / "c"

STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wmissing-field-initializers"]

# By language, the compilers that are looked for; the last stands where none is found.
COMPILERS = {"c": ("gcc", "clang", "cc"), "c++": ("g++", "clang++", "c++")}
STANDARDS = {"c": ("c99", "c11", "c17"), "c++": ("c++11", "c++17", "c++20")}


@dataclass(frozen=True)
class Dialect:
    """A compiler and the language standard it is asked for."""

    compiler: str
    language: str
    standard: str

    def __str__(self) -> str:
        return f"{self.compiler}-{self.standard}"


def dialects(*standards: str) -> list[Dialect]:
    """Each wanted standard (default: all) with each compiler that is installed.

    Where a language has no compiler its dialects are kept, so that their tests are
    reported as not run instead of never existing.
    """
    found = []
    for language, (*names, fallback) in COMPILERS.items():
        present = [name for name in names if shutil.which(name)] or [fallback]
        found += [
            Dialect(compiler, language, standard)
            for compiler in present
            for standard in STANDARDS[language]
            if not standards or standard in standards
        ]
    return found


def compile_only(dialect: Dialect, source: Path, *flags: str) -> None:
    """Check `source` against the header without a warning, and produce nothing."""
    _compile(dialect, [*flags, "-fsyntax-only", str(source)])


def build(dialect: Dialect, source: Path, program: Path, *flags: str) -> Path:
    """Compile and link `source` into `program`; `flags` come last, where libraries belong."""
    _compile(dialect, ["-O2", str(source), "-o", str(program), *flags])
    return program


def link_flags(library_dir: Path) -> list[str]:
    """Flags that link a program with the library under test."""
    return [f"-L{library_dir}", "-lsampled_softmax", "-lm"]


def run_linked(program: Path, library_dir: Path, timeout: float = 120.0, arguments: Sequence[str | Path] = ()) -> str:
    """Run a linked program with the library under test and return what it printed."""
    return run([program, *arguments], env={"LD_LIBRARY_PATH": str(library_dir)}, timeout=timeout)


def _compile(dialect: Dialect, arguments: list[str]) -> None:
    if shutil.which(dialect.compiler) is None:
        absent(f"no compiler for {dialect.language}: {', '.join(COMPILERS[dialect.language])}")
    run(
        [
            dialect.compiler,
            "-x",
            dialect.language,
            f"-std={dialect.standard}",
            *STRICT,
            f"-I{INCLUDE}",
            f"-I{BINDING}",
            *arguments,
        ]
    )
