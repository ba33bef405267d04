"""The header compiles cleanly wherever an engine may include it, and says what Rust means."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT, run
from toolchain import SOURCES, Dialect, build, compile_only, dialects

# What engines add to -Wall -Wextra; a header that trips one is edited by its users.
STRICTER = ["-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wundef"]
STRICTER_BY_LANGUAGE = {
    "c": ["-Wstrict-prototypes", "-Wmissing-prototypes"],
    "c++": ["-Wold-style-cast"],
}

LAYOUT = ROOT / "tests" / "abi" / "layout.txt"

INCLUDE_ORDERS = {
    "alone": '#include "sampled_softmax.h"\n',
    "twice": '#include "sampled_softmax.h"\n' * 2,
    "behind_the_standard": '#include <string.h>\n#include <math.h>\n#include "sampled_softmax.h"\n',
}


@pytest.mark.parametrize("dialect", dialects(), ids=str)
@pytest.mark.parametrize("order", INCLUDE_ORDERS)
def test_header_compiles_without_warning(order: str, dialect: Dialect, tmp_path: Path) -> None:
    source = tmp_path / "include.c"
    source.write_text(INCLUDE_ORDERS[order])
    compile_only(dialect, source)


@pytest.mark.parametrize("dialect", dialects(), ids=str)
def test_init_clears_every_struct(dialect: Dialect, tmp_path: Path) -> None:
    run([build(dialect, SOURCES / "init.c", tmp_path / "init")])


@pytest.mark.parametrize("dialect", dialects(), ids=str)
def test_header_is_clean_under_stricter_warnings(dialect: Dialect, tmp_path: Path) -> None:
    structs = ("ssl_config", "ssl_batch", "ssl_candidates", "ssl_loss", "ssl_gradients")
    uses = "".join(
        f"void use_{name}({name} *object);\nvoid use_{name}({name} *object) {{ SSL_INIT(*object); }}\n"
        for name in structs
    )
    source = tmp_path / "use.c"
    source.write_text('#include "sampled_softmax.h"\n' + uses)
    compile_only(dialect, source, *STRICTER, *STRICTER_BY_LANGUAGE[dialect.language])


@pytest.mark.parametrize("dialect", dialects("c++17", "c++20"), ids=str)
def test_cpp_binding_compiles_without_warning(dialect: Dialect, tmp_path: Path) -> None:
    source = tmp_path / "include.cpp"
    source.write_text('#include "sampled_softmax.hpp"\n' * 2 + "int main() { return 0; }\n")
    compile_only(dialect, source, *STRICTER, *STRICTER_BY_LANGUAGE["c++"])


@pytest.mark.parametrize("dialect", dialects("c11", "c17", "c++11", "c++17", "c++20"), ids=str)
def test_structs_have_the_committed_layout(dialect: Dialect, tmp_path: Path) -> None:
    """The table that tests/layout.rs compares with Rust, as assertions of the C compiler."""
    keyword = "_Static_assert" if dialect.language == "c" else "static_assert"
    alignment = "_Alignof" if dialect.language == "c" else "alignof"
    lines = ['#include "sampled_softmax.h"']

    def expect(expression: str, value: str) -> None:
        lines.append(f'{keyword}({expression} == {value}, "{expression} is {value}");')

    for name, first, second in layout_rows():
        struct, _, field = name.partition(".")
        if field:
            expect(f"offsetof({struct}, {field})", first)
            expect(f"sizeof((({struct} *)0)->{field})", second)
        else:
            expect(f"sizeof({struct})", first)
            expect(f"{alignment}({struct})", second)
    source = tmp_path / "layout.c"
    source.write_text("\n".join(lines) + "\n")
    compile_only(dialect, source)


def layout_rows() -> list[tuple[str, str, str]]:
    """The rows of tests/abi/layout.txt: name, size or offset, alignment or size."""
    lines = [line for line in LAYOUT.read_text().splitlines() if not line.startswith("#")]
    rows = [tuple(line.split()) for line in lines]
    assert sum("." not in name for name, *_ in rows) == 6, "one row for each of the six structs"
    return rows
