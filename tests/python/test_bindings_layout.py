"""The ctypes mirror of the header is the header: sizes, offsets, constants, functions.

A C program generated from the mirror's own field names prints what the compiler says of
each; a field that C lacks does not compile, and one that ctypes lacks shows in the size.
"""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path
from typing import Any

import pytest
from sampled_softmax import _abi
from toolchain import INCLUDE, Dialect, build, dialects, run

HEADER = (INCLUDE / "sampled_softmax.h").read_text(encoding="utf-8")
CONSTANTS = sorted(name for name in vars(_abi) if name.startswith("SSL_"))


@pytest.fixture(scope="module")
def seen_by_c(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Sizes, offsets and constants as the C compiler has them."""
    folder = tmp_path_factory.mktemp("layout")
    source = folder / "layout.c"
    source.write_text(_program(), encoding="utf-8")
    c99: Dialect = next(dialect for dialect in dialects("c99") if dialect.language == "c")
    return json.loads(run([build(c99, source, folder / "layout")]))


def _program() -> str:
    entries = []
    for struct in _abi.STRUCTS:
        name = struct.__name__
        entries.append((name, f"sizeof({name})"))
        for field, *_ in struct._fields_:
            entries.append((f"{name}.{field}", f"offsetof({name}, {field})"))
            entries.append((f"sizeof {name}.{field}", f"sizeof((({name} *)0)->{field})"))
    entries += [(constant, constant) for constant in CONSTANTS]
    lines = [f'    printf("\\"{key}\\": %lld,\\n", (long long)({value}));' for key, value in entries]
    return "\n".join(
        [
            "#include <stdio.h>",
            '#include "sampled_softmax.h"',
            "int main(void) {",
            '    printf("{");',
            *lines,
            '    printf("\\"end\\": 0}");',
            "    return 0;",
            "}",
            "",
        ]
    )


@pytest.mark.parametrize("struct", _abi.STRUCTS, ids=lambda struct: struct.__name__)
def test_struct_has_the_layout_of_c(struct: type[ctypes.Structure], seen_by_c: dict[str, Any]) -> None:
    name = struct.__name__
    assert ctypes.sizeof(struct) == seen_by_c[name]
    for field, *_ in struct._fields_:
        descriptor = getattr(struct, field)
        assert descriptor.offset == seen_by_c[f"{name}.{field}"], field
        assert descriptor.size == seen_by_c[f"sizeof {name}.{field}"], field


def test_new_struct_knows_its_size_and_is_zero_elsewhere() -> None:
    for struct in _abi.STRUCTS:
        raw = bytes(struct())
        assert int.from_bytes(raw[:4], "little") == ctypes.sizeof(struct) == len(raw)
        assert not any(raw[4:])


@pytest.mark.parametrize("struct", _abi.STRUCTS, ids=lambda struct: struct.__name__)
def test_filler_sets_the_fields_in_order(struct: type[_abi.CStruct]) -> None:
    one_by_one, at_once = struct(), struct()
    fill = _abi.filler(at_once)
    # All bits of a field, so that one packed too narrow or in another's place shows.
    fields = struct._fields_[1:]
    values = [0.1 * n if kind is ctypes.c_double else _widest(kind) - n for n, (_, kind) in enumerate(fields)]
    for (name, _), value in zip(fields, values, strict=True):
        setattr(one_by_one, name, value)
    fill(*values)
    assert bytes(at_once) == bytes(one_by_one)
    fill(*(0 for _ in values))
    assert bytes(at_once) == bytes(struct())


def _widest(kind: type[ctypes._SimpleCData]) -> int:
    """The largest number of an integer's or pointer's type."""
    signed = kind in (ctypes.c_int32, ctypes.c_int64)
    return (1 << (8 * ctypes.sizeof(kind) - signed)) - 1


def test_constants_have_the_values_of_c(seen_by_c: dict[str, Any]) -> None:
    assert {name: getattr(_abi, name) for name in CONSTANTS} == {name: seen_by_c[name] for name in CONSTANTS}


def test_every_constant_of_the_header_is_mirrored() -> None:
    in_header = set(re.findall(r"^#define (SSL_[A-Z0-9_]+) -?\d+$", HEADER, flags=re.MULTILINE))
    assert in_header == set(CONSTANTS)


def test_every_function_of_the_header_is_declared_with_as_many_arguments() -> None:
    declarations = re.findall(r"^SAMPLED_SOFTMAX_API\n([^;]*?)\b(ssl_\w+)\(([^;]*?)\);", HEADER, flags=re.MULTILINE)
    in_header = {
        name: 0 if arguments.strip() == "void" else arguments.count(",") + 1 for _, name, arguments in declarations
    }
    assert in_header == {name: len(arguments) for name, (arguments, _) in _abi.FUNCTIONS.items()}


def test_package_under_test_is_that_of_this_source_tree() -> None:
    assert Path(_abi.__file__).is_relative_to(INCLUDE.parent)
