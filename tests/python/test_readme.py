"""Every example in README.md is a whole program, and runs as it stands: those of a
framework in an environment that has it, with the wheel of `make wheel` where there is one."""

from __future__ import annotations

import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, absent, run
from toolchain import build, dialects, link_flags, run_linked

README = ROOT / "README.md"

# Blocks that are not programs: shell sessions (the Makefile's own targets) and pictures.
NOT_RUN = {"sh", "text"}
PROGRAMS = {"c", "cpp", "python"}

# The environment under build/ that has what a program imports from this package.
ENVIRONMENTS = {
    "sampled_softmax.torch": ".venv-frameworks",
    "sampled_softmax.jax": ".venv-frameworks",
    "sampled_softmax.keras": ".venv-frameworks",
    "sampled_softmax.tensorflow": ".venv",
    "sampled_softmax.mindspore": ".venv-mindspore",
}


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


@pytest.fixture(scope="module")
def package(library_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as the wheel installs it."""
    wheels = sorted((ROOT / "build" / "wheel").glob("*.whl"))
    if len(wheels) != 1:
        absent(f"build/wheel has {len(wheels)} wheels: run make wheel")
    folder = tmp_path_factory.mktemp("package")
    zipfile.ZipFile(wheels[0]).extractall(folder)
    return folder


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("c", "cpp")], ids=str)
def test_native_block_runs(block: Block, library_dir: Path, tmp_path: Path) -> None:
    _build_and_run(block, library_dir, tmp_path)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_python_block_runs(block: Block, package: Path, tmp_path: Path) -> None:
    # Blank lines in front, so that a traceback gives README.md's line numbers.
    program = tmp_path / "README.py"
    program.write_text("\n" * (block.line - 1) + block.text, encoding="utf-8")
    environment = {"PYTHONPATH": str(package), "SAMPLED_SOFTMAX_LIB": "", "SAMPLED_SOFTMAX_JAX_LIB": ""}
    run([_interpreter(block), program], env=environment, cwd=tmp_path, timeout=300)


def _interpreter(block: Block) -> Path:
    """The Python that has the framework a block is for; this one for NumPy."""
    for module, environment in ENVIRONMENTS.items():
        if f"from {module} import" in block.text:
            python = ROOT / "build" / environment / "bin" / "python"
            if not python.is_file():
                absent(f"there is no build/{environment}: make environments")
            return python
    return Path(sys.executable)


def _build_and_run(block: Block, library_dir: Path, folder: Path) -> None:
    source = folder / f"block.{block.language}"
    # Every message of the compiler then names README.md and its line.
    source.write_text(f'#line {block.line} "README.md"\n{block.text}', encoding="utf-8")
    dialect = dialects("c99" if block.language == "c" else "c++17")[0]
    program = build(dialect, source, folder / "block", *link_flags(library_dir))
    run_linked(program, library_dir)
