"""Where the package looks for the shared library, and what it says when it finds none.

Each case imports a copy of the package in a process of its own, laid out as an
installation, a wheel or a source tree would be.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, VERSION

PACKAGE = ROOT / "bindings" / "python" / "sampled_softmax"
FILE_NAME = "libsampled_softmax.so"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package alone in a folder, without a library and outside any source tree."""
    site = tmp_path / "site"
    copy_package(site)
    return site


def copy_package(site: Path) -> None:
    shutil.copytree(PACKAGE, site / "sampled_softmax", ignore=shutil.ignore_patterns("*.so*", "__pycache__"))


def make_source_tree(root: Path) -> Path:
    """The package at its place in a source tree that has nothing built; returns its folder."""
    site = root / "bindings" / "python"
    copy_package(site)
    (root / "include").mkdir()
    (root / "include" / "sampled_softmax.h").touch()
    return site


def importing(
    site: Path, library: str | None = None, statement: str = "print(ss.library_version())"
) -> tuple[int, str]:
    """Exit status and output of importing the package from `site`."""
    environment = {key: value for key, value in os.environ.items() if key not in ("SAMPLED_SOFTMAX_LIB", "PYTHONPATH")}
    if library is not None:
        environment["SAMPLED_SOFTMAX_LIB"] = library
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(site)!r}); import sampled_softmax as ss; {statement}",
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def build_impostor(folder: Path, version: int, left_out: str = "") -> Path:
    """A library with our symbols, but for one, that only knows its version."""
    from sampled_softmax._abi import FUNCTIONS
    from toolchain import dialects

    compiler = next(dialect.compiler for dialect in dialects("c99") if dialect.language == "c")
    bodies = [
        f"unsigned {name}(void) {{ return {version if name == 'ssl_version' else 0}u; }}"
        for name in FUNCTIONS
        if name != left_out
    ]
    source, library = folder / "impostor.c", folder / "impostor.so"
    source.write_text("\n".join(bodies), encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-w", str(source), "-o", str(library)], check=True)
    return library


def test_environment_names_the_library(installed: Path, library_path: Path) -> None:
    status, output = importing(installed, str(library_path))
    assert (status, output.strip()) == (0, VERSION)


def test_library_beside_the_package_is_found(installed: Path, library_path: Path) -> None:
    (installed / "sampled_softmax" / FILE_NAME).symlink_to(library_path)
    assert importing(installed) == (0, f"{VERSION}\n")


def test_release_build_of_the_source_tree_is_found(tmp_path: Path, library_path: Path) -> None:
    site = make_source_tree(tmp_path / "tree")
    release = tmp_path / "tree" / "target" / "release"
    release.mkdir(parents=True)
    (release / FILE_NAME).symlink_to(library_path)
    assert importing(site) == (0, f"{VERSION}\n")


def test_package_directory_comes_before_the_source_tree_and_the_environment_before_both(
    tmp_path: Path, library_path: Path
) -> None:
    site = make_source_tree(tmp_path / "tree")
    release = tmp_path / "tree" / "target" / "release"
    release.mkdir(parents=True)
    (release / FILE_NAME).symlink_to(library_path)
    beside = site / "sampled_softmax" / FILE_NAME
    beside.write_text("not a library", encoding="utf-8")
    status, output = importing(site)
    assert status != 0
    assert f"{beside} cannot be loaded" in output
    assert importing(site, str(library_path)) == (0, f"{VERSION}\n")


def test_failure_names_every_place_that_was_looked_at(installed: Path) -> None:
    status, output = importing(installed)
    assert status != 0
    assert "LibraryError" in output
    assert "SAMPLED_SOFTMAX_LIB: not set" in output
    assert f"{installed / 'sampled_softmax' / FILE_NAME}: no such file" in output
    assert f"target/release: {installed / 'sampled_softmax'} is not in a source tree" in output
    assert "find_library('sampled_softmax')" in output
    assert "cargo build --release" in output


def test_failure_in_a_source_tree_names_its_release_folder(tmp_path: Path) -> None:
    site = make_source_tree(tmp_path)
    status, output = importing(site)
    assert status != 0
    assert f"{tmp_path / 'target' / 'release' / FILE_NAME}: no such file" in output


def test_failure_is_an_import_error(installed: Path) -> None:
    site = str(installed)
    code = (
        f"import sys; sys.path.insert(0, {site!r})\n"
        "try:\n    import sampled_softmax\nexcept ImportError as error:\n    print('caught', error)"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("SAMPLED_SOFTMAX_LIB", "PYTHONPATH")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"caught {FILE_NAME} was not found. Looked at:")


def test_named_library_that_is_missing_is_an_error_even_if_another_is_there(
    installed: Path, library_path: Path, tmp_path: Path
) -> None:
    (installed / "sampled_softmax" / FILE_NAME).symlink_to(library_path)
    missing = tmp_path / "missing.so"
    status, output = importing(installed, str(missing))
    assert status != 0
    assert f"{missing} cannot be loaded" in output


@pytest.mark.parametrize(
    ("version", "acceptable"),
    [(0x000200, True), (0x000205, True), (0x000300, True), (0x000100, False), (0x010200, False)],
)
def test_library_of_the_same_major_and_no_older_minor_is_accepted(
    installed: Path, tmp_path: Path, version: int, acceptable: bool
) -> None:
    status, output = importing(installed, str(build_impostor(tmp_path, version)))
    assert (status == 0) == acceptable, output
    if not acceptable:
        shown = f"{version >> 16}.{version >> 8 & 255}.{version & 255}"
        assert f"its version is {shown}, and this package needs 0.2" in output


def test_library_that_lacks_a_function_is_refused_by_name(installed: Path, tmp_path: Path) -> None:
    status, output = importing(installed, str(build_impostor(tmp_path, 0x000200, left_out="ssl_sample")))
    assert status != 0
    assert "it does not export ssl_sample" in output
