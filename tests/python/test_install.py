"""`make install`: what it puts where, and programs that find it by pkg-config and CMake."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SONAME, VERSION, absent, run

CONSUMER = ROOT / "tests" / "c" / "consumer"
INSTALL = ROOT / "bindings" / "c" / "install.sh"


def _tool(name: str) -> Path:
    """A program of this environment's own, as requirements.txt installs it."""
    path = Path(sys.executable).parent / name
    if not path.is_file():
        absent(f"{path} is not installed")
    return path


@pytest.fixture(scope="module")
def prefix(library_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix that was moved after the installation: nothing may remember the old place."""
    folder = tmp_path_factory.mktemp("install")
    run(["sh", INSTALL, library_path, folder / "first"])
    return (folder / "first").rename(folder / "moved with a space")


def test_library_has_its_links(prefix: Path, library_path: Path) -> None:
    library = prefix / "lib" / "libsampled_softmax.so"
    assert os.readlink(library) == SONAME
    assert os.readlink(prefix / "lib" / SONAME).startswith(f"{SONAME}.")
    assert library.read_bytes() == library_path.read_bytes()


def test_headers_are_the_trees(prefix: Path) -> None:
    for source in (ROOT / "include" / "sampled_softmax.h", ROOT / "bindings" / "cpp" / "sampled_softmax.hpp"):
        assert (prefix / "include" / source.name).read_bytes() == source.read_bytes()


def test_destdir_is_put_before_the_prefix(library_path: Path, tmp_path: Path) -> None:
    run(["sh", INSTALL, library_path, "/opt/somewhere"], env={"DESTDIR": str(tmp_path)})
    assert (tmp_path / "opt" / "somewhere" / "lib" / SONAME).exists()


def test_installing_again_replaces(library_path: Path, tmp_path: Path) -> None:
    for _ in range(2):
        run(["sh", INSTALL, library_path, tmp_path])
    names = sorted(path.name for path in (tmp_path / "lib").iterdir())
    assert names == ["cmake", "libsampled_softmax.so", SONAME, f"libsampled_softmax.so.{VERSION}", "pkgconfig"]


@pytest.mark.parametrize(("arguments", "says"), [(["relative"], "absolute"), ([], "usage")])
def test_bad_arguments_install_nothing(arguments: list[str], says: str, library_path: Path, tmp_path: Path) -> None:
    command = ["sh", str(INSTALL), str(library_path), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert not any(tmp_path.iterdir())


def test_program_by_pkg_config(prefix: Path, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        absent("no C compiler")
    environment = {"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    pkgconf = _tool("pkgconf")
    flags = shlex.split(run([pkgconf, "--cflags", "--libs", "sampled_softmax"], env=environment))
    program = tmp_path / "consumer"
    run([compiler, "-std=c99", CONSUMER / "main.c", "-o", program, *flags, "-lm"])
    assert run([program], env={"LD_LIBRARY_PATH": str(prefix / "lib")}) == "loss 1.098612\n"
    version = run([pkgconf, "--modversion", "sampled_softmax"], env=environment).strip()
    assert f'version = "{version}"' in (ROOT / "Cargo.toml").read_text()


def test_project_by_cmake(prefix: Path, tmp_path: Path) -> None:
    cmake = _tool("cmake")
    run([cmake, "-S", CONSUMER, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}"])
    run([cmake, "--build", tmp_path])
    # CMake puts the library's folder into what it links: no LD_LIBRARY_PATH.
    assert run([tmp_path / "consumer_c"]) == "loss 1.098612\n"
    assert "11" in run([tmp_path / "consumer_cpp"])


def test_cmake_refuses_a_version_that_is_not_there(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.15)\nproject(p NONE)\nfind_package(sampled_softmax 0.9 REQUIRED)\n"
    )
    command = [_tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "0.9" in done.stderr
