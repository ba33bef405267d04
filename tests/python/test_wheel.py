"""The wheel of `make wheel`, installed into an empty environment with NumPy alone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, absent, run

FOLDER = ROOT / "build" / "wheel"
FRAMEWORKS = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow", "keras": "keras", "mindspore": "mindspore"}

# What every Linux with glibc has: no CUDA library may be among them.
SYSTEM = ("libc.", "libm.", "libgcc_s.", "libdl.", "ld-linux", "libpthread.")

LOSS = """
import numpy as np, sampled_softmax as ss
weights = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
loss, gradients = ss.value_and_grad(
    weights, np.zeros(1000, np.float32), np.array([[3], [5]]), weights[:2], num_sampled=20, num_classes=1000, seed=1
)
assert np.isfinite(loss).all() and len(gradients.weights.indices) <= 22
print(ss.__file__, ss.library_version())
"""


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = sorted(FOLDER.glob("*.whl"))
    if len(found) != 1:
        absent(f"{FOLDER} has {len(found)} wheels: run make wheel")
    return found[0]


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel") / "environment"
    run([sys.executable, "-m", "venv", folder])
    interpreter = folder / "bin" / "python"
    pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    run([*pip, wheel], timeout=300)
    return interpreter


def _clean(python: Path) -> dict[str, str]:
    """An environment without a compiler or any variable of ours."""
    return {"PATH": str(python.parent), "HOME": str(python.parent), "LANG": "C.UTF-8"}


def _run(python: Path, code: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-c", code]
    return subprocess.run(
        command, env=_clean(python), cwd=python.parent, capture_output=True, text=True, timeout=120, check=False
    )


def test_serves_any_python_on_any_linux_of_its_age(wheel: Path) -> None:
    assert "-py3-none-manylinux_" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "libsampled_softmax.so",
        "libsampled_softmax_jax.so",
        "py.typed",
        "LICENSE",
        "THIRD_PARTY.txt",
        "_native/include/sampled_softmax.h",
    ):
        assert f"sampled_softmax/{name}" in names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests", "benches"))]


def test_has_the_library_that_was_built(wheel: Path, library_path: Path) -> None:
    assert zipfile.ZipFile(wheel).read("sampled_softmax/libsampled_softmax.so") == library_path.read_bytes()


def test_computes_with_numpy_alone(python: Path) -> None:
    done = _run(python, LOSS)
    assert done.returncode == 0, done.stderr
    assert "site-packages" in done.stdout
    installed = run([python, "-m", "pip", "list", "--format", "freeze"], env={"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    names = {line.split("==")[0].split(" @")[0].lower().replace("-", "_") for line in installed.split()}
    assert names - {"pip", "setuptools", "wheel"} == {"numpy", "sampled_softmax"}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_module_without_its_framework_says_what_to_install(name: str, python: Path) -> None:
    done = _run(python, f"import sampled_softmax.{name}")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("ImportError", "ModuleNotFoundError"))
    assert f"pip install {FRAMEWORKS[name]}" in done.stderr


def test_importing_loads_no_framework(python: Path) -> None:
    done = _run(python, "import sys, sampled_softmax; print(sorted({m.partition('.')[0] for m in sys.modules}))")
    assert done.returncode == 0, done.stderr
    assert not [name for name in FRAMEWORKS if f"'{name}'" in done.stdout]


def test_needs_no_library_beyond_glibc(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    for library in (tmp_path / "sampled_softmax").glob("*.so"):
        needed = run(["readelf", "--dynamic", "--wide", os.fspath(library)])
        names = {line.split("[")[1].rstrip("]") for line in needed.splitlines() if "(NEEDED)" in line}
        assert all(
            name.startswith(("libc.", "libm.", "libgcc_s.", "libdl.", "ld-linux", "libpthread.")) for name in names
        )
