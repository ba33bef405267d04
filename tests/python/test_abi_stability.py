"""What was released stays: programs built against the header of 0.1 work with this library.

`tests/abi/0.1/` holds that header as it was released, and a program that knows no other.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT
from toolchain import INCLUDE, Dialect, build, dialects, link_flags, run, run_linked

RELEASED = ROOT / "tests" / "abi" / "0.1"
OLD = (RELEASED / "sampled_softmax.h").read_text(encoding="utf-8")
NEW = (INCLUDE / "sampled_softmax.h").read_text(encoding="utf-8")

C99 = [dialect for dialect in dialects("c99") if dialect.language == "c"]


def _without_comments(header: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)


def _constants(header: str) -> list[str]:
    return re.findall(r"^#define (SSL_[A-Z0-9_]+) -?\d+$", header, flags=re.MULTILINE)


def _structs(header: str) -> dict[str, list[str]]:
    """Fields of each struct with their types, in order."""
    structs = re.findall(r"typedef struct (ssl_\w+) \{(.*?)\}", _without_comments(header), flags=re.DOTALL)
    return {name: [" ".join(field.split()) for field in body.split(";")[:-1]] for name, body in structs}


def _field(declaration: str) -> str:
    return re.findall(r"\w+", declaration)[-1]


def _declarations(header: str) -> dict[str, str]:
    """Each function's declaration and each type that is no struct, on one line."""
    text = _without_comments(header)
    functions = re.findall(r"^SAMPLED_SOFTMAX_API\s+([^;{]*?\b(ssl_\w+)\s*\([^;]*\));", text, flags=re.MULTILINE)
    types = re.findall(r"^(typedef [^{;]*?\b(ssl_\w+));", text, flags=re.MULTILINE)
    return {name: " ".join(declaration.split()) for declaration, name in functions + types}


def _as_compiled(header: Path, dialect: Dialect, folder: Path) -> dict[str, int]:
    """Sizes, offsets and values of what the old header has, as a compiler sees them in `header`."""
    entries = [(name, name) for name in _constants(OLD) if not name.startswith("SSL_ABI_VERSION_")]
    for struct, fields in _structs(OLD).items():
        entries.append((struct, f"sizeof({struct})"))
        for field in map(_field, fields):
            entries.append((f"{struct}.{field}", f"offsetof({struct}, {field})"))
            entries.append((f"size of {struct}.{field}", f"sizeof((({struct} *)0)->{field})"))
    lines = [f'    printf("{key}=%lld\\n", (long long)({value}));' for key, value in entries]
    source = folder / "layout.c"
    source.write_text(
        "\n".join([f'#include "{header}"', "#include <stdio.h>", "int main(void) {", *lines, "    return 0;", "}", ""]),
        encoding="utf-8",
    )
    printed = run([build(dialect, source, folder / "layout")])
    return {key: int(value) for key, value in (line.split("=") for line in printed.splitlines())}


def test_the_snapshot_is_read_whole() -> None:
    assert len(_constants(OLD)) == 55
    assert {name: len(fields) for name, fields in _structs(OLD).items()} == {
        "ssl_config": 26,
        "ssl_batch": 16,
        "ssl_candidates": 12,
        "ssl_loss": 5,
        "ssl_gradients": 15,
    }
    assert len(_declarations(OLD)) == 11 + 2


@pytest.mark.parametrize("dialect", C99, ids=str)
def test_constants_keep_their_values_and_fields_their_places(dialect: Dialect, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = _as_compiled(RELEASED / "sampled_softmax.h", dialect, tmp_path / "old")
    new = _as_compiled(INCLUDE / "sampled_softmax.h", dialect, tmp_path / "new")
    # A struct may have grown at its end; all else is as it was.
    changed = {
        name: (value, new[name])
        for name, value in old.items()
        if (new[name] < value if name in _structs(OLD) else new[name] != value)
    }
    assert changed == {}


def test_fields_are_appended_only_and_keep_their_types() -> None:
    new = _structs(NEW)
    for struct, fields in _structs(OLD).items():
        assert new[struct][: len(fields)] == fields, struct


def test_functions_and_types_are_declared_as_they_were() -> None:
    new = _declarations(NEW)
    assert {name: new.get(name) for name in _declarations(OLD)} == _declarations(OLD)


@pytest.mark.parametrize("dialect", C99, ids=str)
def test_a_program_of_the_first_release_gets_its_results(dialect: Dialect, library_dir: Path, tmp_path: Path) -> None:
    source = RELEASED / "program.c"
    called = set(re.findall(r"\bssl_\w+(?=\()", source.read_text(encoding="utf-8")))
    assert called == {name for name, text in _declarations(OLD).items() if "(" in text}, "it calls every function"
    program = build(dialect, source, tmp_path / "program", *link_flags(library_dir))
    run_linked(program, library_dir)
