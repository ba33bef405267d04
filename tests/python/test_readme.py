"""Every example in README.md is a whole program, and runs as it stands."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, run
from toolchain import build, dialects, link_flags, run_linked

README = ROOT / "README.md"

# Blocks that are not programs: shell sessions (the Makefile's own targets) and pictures.
NOT_RUN = {"sh", "text"}
PROGRAMS = {"c", "cpp", "python"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line of README.md it begins at, and its text."""

    language: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.language}-line-{self.line}"


def fenced_blocks(markdown: str) -> list[Block]:
    """The blocks between ``` fences, in order."""
    blocks = []
    start = None
    lines = markdown.splitlines()
    for number, line in enumerate(lines, start=1):
        fence = re.fullmatch(r" {0,3}```+\s*(\S*).*", line)
        if not fence:
            continue
        if start is None:
            start = (fence.group(1), number + 1)
        else:
            language, first = start
            blocks.append(Block(language, first, "\n".join(lines[first - 1 : number - 1]) + "\n"))
            start = None
    assert start is None, f"README.md: the fence before line {start[1]} is not closed"
    return blocks


BLOCKS = fenced_blocks(README.read_text(encoding="utf-8")) if README.is_file() else []


def test_readme_has_examples_in_c_and_python() -> None:
    assert README.is_file(), "README.md is missing"
    languages = {block.language for block in BLOCKS}
    assert languages >= {"c", "python"}, f"README.md has blocks in {sorted(languages)} only"


def test_every_block_is_run_or_is_known_not_to_be() -> None:
    unknown = [str(block) for block in BLOCKS if block.language not in PROGRAMS | NOT_RUN]
    assert unknown == []


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in PROGRAMS], ids=str)
def test_block_runs(block: Block, library_dir: Path, tmp_path: Path) -> None:
    if block.language == "python":
        _run_python(block, library_dir, tmp_path)
    else:
        _build_and_run(block, library_dir, tmp_path)


def _run_python(block: Block, library_dir: Path, folder: Path) -> None:
    # Blank lines in front, so that a traceback gives README.md's line numbers.
    program = folder / "README.py"
    program.write_text("\n" * (block.line - 1) + block.text, encoding="utf-8")
    environment = {
        "PYTHONPATH": str(ROOT / "bindings" / "python"),
        "SAMPLED_SOFTMAX_LIB": str(library_dir / "libsampled_softmax.so"),
    }
    run([sys.executable, program], env=environment, cwd=folder)


def _build_and_run(block: Block, library_dir: Path, folder: Path) -> None:
    source = folder / f"block.{block.language}"
    # Every message of the compiler then names README.md and its line.
    source.write_text(f'#line {block.line} "README.md"\n{block.text}', encoding="utf-8")
    dialect = dialects("c99" if block.language == "c" else "c++17")[0]
    program = build(dialect, source, folder / "block", *link_flags(library_dir))
    run_linked(program, library_dir)
