"""libabigail's `abidiff` on today's header and that of 0.1: nothing but fields and functions at the end may differ.

A library is made of each header, with functions that do nothing but have debug information of C: a description of
the ABI that depends on no Rust compiler. `test_exports.py` and `layout.rs` tie the header to the real library.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, absent, run
from test_abi_stability import NEW, OLD, _declarations

# What `abidiff` says of a struct that has grown at its end, and of the functions that take it.
GROWN = re.compile(
    r"""
    (Functions|Variables)\ changes\ summary:\ 0\ Removed,.*
    | \d+\ functions?\ with\ some\ indirect\ sub-type\ changes?:
    | \[C\]\ 'function\ .*'\ at\ .*\ has\ some\ indirect\ sub-type\ changes:
    | parameter\ \d+\ of\ type\ 'const\ ssl_\w+\*'\ has\ sub-type\ changes:
    | in\ pointed\ to\ type\ 'const\ ssl_\w+':
    | in\ unqualified\ underlying\ type\ 'struct\ ssl_\w+'\ at\ .*:
    | type\ size\ changed\ from\ \d+\ to\ \d+\ \(in\ bits\)
    | \d+\ data\ member\ insertions?:
    | '.*',\ at\ offset\ \d+\ \(in\ bits\)\ at\ .*
    """,
    re.VERBOSE,
)


def _library(header: str, name: str, folder: Path) -> Path:
    """A shared library of the functions that `header` declares."""
    (folder / f"{name}.h").write_text(header, encoding="utf-8")
    functions = [text for text in _declarations(header).values() if not text.startswith("typedef")]
    # An opaque struct must be one for the compiler to describe it.
    lines = [f'#include "{name}.h"', "#include <stdlib.h>", "struct ssl_handle { int nothing; };"]
    lines += [f"{function} {{ abort(); }}" for function in functions]
    (folder / f"{name}.c").write_text("\n".join(lines) + "\n", encoding="utf-8")
    library = folder / f"{name}.so"
    compiler = shutil.which("gcc") or shutil.which("cc") or absent("no C compiler")
    run([compiler, "-g", "-O0", "-w", "-shared", "-fPIC", folder / f"{name}.c", "-o", library])
    return library


def _complaints(header: str, folder: Path) -> list[str]:
    """What `abidiff` finds changed from 0.1 to `header`, but for what has been appended."""
    if shutil.which("abidiff") is None:
        absent("abidiff (Debian's abigail-tools) is not installed", "abidiff")
    old, new = _library(OLD, "old", folder), _library(header, "new", folder)
    done = subprocess.run(
        ["abidiff", "--no-added-syms", old, new], capture_output=True, text=True, check=False, timeout=120
    )
    # 1 and 2: it could not do its work; 8: a function is gone.
    assert not done.returncode & 3, done.stdout + done.stderr
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return [line for line in lines if not GROWN.fullmatch(line)]


def test_nothing_but_fields_and_functions_at_the_end_has_changed(tmp_path: Path) -> None:
    assert _complaints(NEW, tmp_path) == []


def test_what_is_appended_is_no_change(tmp_path: Path) -> None:
    grown = OLD.replace("} ssl_config;", "    uint64_t appended;\n} ssl_config;")
    assert _complaints(grown, tmp_path) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    int32_t device;", "    uint32_t device;"),
        ("    uint64_t seed;", "    uint64_t inserted;\n    uint64_t seed;"),
        ("    int64_t dim;\n", ""),
        ("    uint64_t rank;", "    double rank;"),
        ("size_t *backward);", "uint32_t *backward);"),
        ("ssl_status ssl_destroy(struct ssl_handle *handle);", "void ssl_destroy(struct ssl_handle *handle);"),
        ("uint32_t ssl_version(void);", "uint32_t ssl_versions(void);"),
    ],
)
def test_every_other_change_is_found(before: str, after: str, tmp_path: Path) -> None:
    assert OLD.count(before) == 1
    assert _complaints(OLD.replace(before, after), tmp_path) != []


def test_continuous_integration_installs_abidiff_where_it_can() -> None:
    assert "abigail-tools" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
