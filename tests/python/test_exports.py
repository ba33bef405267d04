"""The shared library offers what the header declares, and asks for little."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from conftest import SONAME, absent, run
from toolchain import INCLUDE, SOURCES, Dialect, build, dialects, link_flags, run_linked

HEADER = (INCLUDE / "sampled_softmax.h").read_text()
FUNCTIONS = set(re.findall(r"^[A-Z_]+_API\s+[\w ]+[ *](ssl_\w+)\(", HEADER, re.MULTILINE))

# What every glibc system has. CUDA is opened at run time only, and there is no C++ inside.
SYSTEM_LIBRARIES = re.compile(r"(libc|libm|libdl|libpthread|librt|libgcc_s|ld-linux[-\w]*)\.so\.\d+")


def test_header_declares_the_functions_of_the_design() -> None:
    names = (
        "create forward backward destroy forward_backward sample workspace_size version"
        " status_string last_error backend_available"
    )
    assert {f"ssl_{name}" for name in names.split()} == FUNCTIONS


def test_exported_symbols_are_the_headers_functions(library_path: Path) -> None:
    lines = run([_binutil("nm"), "-D", "--defined-only", library_path]).splitlines()
    assert {line.split()[-1] for line in lines} == FUNCTIONS


def test_soname_carries_the_major_version(library_path: Path) -> None:
    assert _dynamic_entries(library_path, "SONAME") == [SONAME]


def test_library_needs_only_the_system(library_path: Path) -> None:
    needed = _dynamic_entries(library_path, "NEEDED")
    assert needed, "a library without libc: readelf's output was not understood"
    assert [name for name in needed if not SYSTEM_LIBRARIES.fullmatch(name)] == []


@pytest.mark.parametrize("dialect", dialects("c99", "c++11"), ids=str)
def test_every_function_links_and_answers(dialect: Dialect, library_dir: Path, tmp_path: Path) -> None:
    source = SOURCES / "link_all.c"
    called = set(re.findall(r"\bssl_\w+(?=\()", source.read_text()))
    assert called == FUNCTIONS, "tests/c/link_all.c calls every function of the header"

    program = build(dialect, source, tmp_path / "link_all", *link_flags(library_dir))
    assert SONAME in _dynamic_entries(program, "NEEDED")
    run_linked(program, library_dir)


def _dynamic_entries(binary: Path, kind: str) -> list[str]:
    """The names in brackets of one kind of entry, as `readelf -d` prints them."""
    text = run([_binutil("readelf"), "-d", "-W", binary], env={"LC_ALL": "C"})
    return re.findall(rf"\({kind}\).*\[(.+)\]", text)


def _binutil(name: str) -> str:
    if shutil.which(name) is None:
        absent(f"{name} (binutils) is not installed")
    return name
