"""What the library is made with: every crate of Cargo.lock, its licence and its part in it.

    python3 tests/third_party.py            writes THIRD_PARTY.md (`make third-party`)
    python3 tests/third_party.py --check    says whether it is up to date, and every licence one that is allowed
    python3 tests/third_party.py --notices FILE     what goes with a copy of the library: the crates' own texts

Needs `cargo` and the crates, as a build does, and no network beyond that.
"""

import argparse
import json
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

# The texts of a crate that has several licences, the shortest to satisfy first.
TEXTS = ("license-mit", "license", "copying")

NOTICES = """\
The shared library contains code of these Rust crates, and of Rust's standard library
(copyright The Rust Project contributors; MIT or Apache-2.0, of which MIT is taken), each
under the terms that follow its name.
"""

# What `cargo tree` follows from the package for each part, the smallest first.
EDGES = {"library": "normal,no-proc-macro", "build": "normal,build", "tests": "normal,build,dev"}

HEADING = """\
# What the library is made with

Crates by their part: linked into the library; run while it is built; used by the tests. `make third-party` writes
this file from `Cargo.lock`, `tests/python/test_third_party.py` holds it to that. The terms of those in the library go
with it as `THIRD_PARTY.txt`, in the wheel and where `make install` puts it. The Python package needs NumPy, and no
other at run time.

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


def notices() -> str:
    """The licence of each crate that is linked into the library, as the crate has it.
    Raises FileNotFoundError where one has none."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    folders = {
        (package["name"], package["version"]): Path(package["manifest_path"]).parent
        for package in json.loads(done.stdout)["packages"]
    }
    parts = [NOTICES]
    for (name, version), licence in sorted(crates(EDGES["library"]).items()):
        files = {file.name.lower().partition(".")[0]: file for file in folders[name, version].iterdir()}
        found = next((files[text] for text in TEXTS if text in files), None)
        if found is None:
            raise FileNotFoundError(f"{name} {version} ({licence}) has none of the files {', '.join(TEXTS)}")
        parts.append(f"{name} {version}\n\n{found.read_text(encoding='utf-8').strip()}\n")
    return f"\n{'-' * 78}\n".join(parts)


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
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true")
    group.add_argument("--notices", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.check:
        sys.exit("\n".join(complaints()) or None)
    if options.notices:
        options.notices.write_text(notices(), encoding="utf-8")
    else:
        FILE.write_text(text(parts()), encoding="utf-8")
