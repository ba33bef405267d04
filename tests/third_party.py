"""What the library is made with: every crate of Cargo.lock, its licence and its part in it.

    python3 tests/third_party.py            writes THIRD_PARTY.md (`make third-party`)
    python3 tests/third_party.py --check    says whether it is up to date, and every licence one that is allowed

Needs `cargo` and the crates, as a build does, and no network beyond that.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "THIRD_PARTY.md"

# Licences that ask for no more than notices, of what is linked into the library.
PERMISSIVE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0",
    "Unlicense", "Zlib",
}  # fmt: skip
# Programs that work on the sources and leave nothing of themselves in the library may ask for more.
ALLOWED = {"library": PERMISSIVE, "build": PERMISSIVE | {"MPL-2.0"}, "tests": PERMISSIVE | {"MPL-2.0"}}

# What `cargo tree` follows from the package for each part, the smallest first.
EDGES = {"library": "normal,no-proc-macro", "build": "normal,build", "tests": "normal,build,dev"}

HEADING = """\
# What the library is made with

Crates by their part: linked into the library; run while it is built; used by the tests. `make third-party` writes
this file from `Cargo.lock`, `tests/python/test_third_party.py` holds it to that. The Python package needs NumPy, and
no other at run time.

| part | crate | version | licence |
|---|---|---|---|
"""


def crates(edges: str) -> dict[tuple[str, str], str]:
    """(name, version) of each crate along these edges, on any machine, and its licence."""
    command = ["cargo", "tree", "--locked", "--edges", edges, "--target", "all", "--prefix", "none"]
    done = subprocess.run([*command, "--format", "{p}|{l}"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {}
    for line in done.stdout.splitlines():
        package, _, licence = line.removesuffix(" (*)").partition("|")
        name, version, *_ = package.split()
        if name != "sampled-softmax":
            found[name, version.removeprefix("v")] = licence.strip()
    return found


def parts() -> list[tuple[str, str, str, str]]:
    """(part, name, version, licence), each crate once, at the part that needs it most."""
    rows, seen = [], set()
    for part, edges in EDGES.items():
        for (name, version), licence in sorted(crates(edges).items()):
            if (name, version) not in seen:
                seen.add((name, version))
                rows.append((part, name, version, licence))
    return rows


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be satisfied; `/` is the old way to write OR."""
    expression = expression.replace("/", " OR ")
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)
    place = 0

    def alternatives() -> bool:
        nonlocal place
        holds = conjunction()
        while place < len(tokens) and tokens[place] == "OR":
            place += 1
            holds = conjunction() or holds
        return holds

    def conjunction() -> bool:
        nonlocal place
        holds = licence()
        while place < len(tokens) and tokens[place] == "AND":
            place += 1
            holds = licence() and holds
        return holds

    def licence() -> bool:
        nonlocal place
        if place == len(tokens):
            return False
        if tokens[place] == "(":
            place += 1
            holds = alternatives()
            place += 1
            return holds
        name = tokens[place]
        place += 1
        if tokens[place : place + 1] == ["WITH"]:
            name = f"{name} WITH {' '.join(tokens[place + 1 : place + 2])}"
            place += 2
        return name in allowed

    return alternatives() and place == len(tokens)


def text(rows: list[tuple[str, str, str, str]]) -> str:
    """The file."""
    return HEADING + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def complaints() -> list[str]:
    """What is wrong with the crates or the file."""
    rows = parts()
    found = [
        f"{name} {version} ({part}): {licence or 'no licence'} is not among {sorted(ALLOWED[part])}"
        for part, name, version, licence in rows
        if not is_allowed(licence, ALLOWED[part])
    ]
    if not FILE.exists() or FILE.read_text(encoding="utf-8") != text(rows):
        found.append(f"{FILE.name} is not what `make third-party` writes")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        sys.exit("\n".join(complaints()) or None)
    FILE.write_text(text(parts()), encoding="utf-8")
