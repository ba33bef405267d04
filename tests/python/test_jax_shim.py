"""The library of XLA handlers: built, found, and honest about what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run
from jax_problems import SHIM, jax, jax_build, ssj

IMPORT = "import sampled_softmax.jax"


def failing(code: str, **environment: str) -> str:
    """What a Python that cannot run `code` says last."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.strip().rpartition("Error: ")[2]


COMMON = ("sample", "sample_on_device", "forward", "backward", "forward_backward")


def test_only_our_names_are_exported() -> None:
    symbols = {line.split()[-1] for line in run(["nm", "-D", "--defined-only", SHIM]).splitlines()}
    handlers = {f"sampled_softmax_{name}_cpu" for name in ("learn", *COMMON)}
    handlers |= {f"sampled_softmax_{name}_cuda" for name in COMMON}
    assert symbols == handlers | {
        f"sampled_softmax_{name}" for name in ("bind", "jax_xla_version", "jax_name_unigrams", "jax_prepare")
    }


def test_it_needs_neither_a_driver_nor_a_python_nor_a_cpp_library() -> None:
    needed = [line for line in run(["readelf", "-d", SHIM]).splitlines() if "(NEEDED)" in line]
    assert needed
    for line in needed:
        assert any(name in line for name in ("libc.so", "libm.so", "libgcc_s.so", "ld-linux", "libdl", "libpthread"))


def test_without_the_handlers_the_error_says_how_to_build_them(tmp_path: Path, library_path: Path) -> None:
    missing = tmp_path / "nothing.so"
    said = failing(IMPORT, SAMPLED_SOFTMAX_JAX_LIB=str(missing))
    assert str(missing) in said and "cannot be loaded" in said
    # A package outside of the source tree, as an installation is.
    shutil.copytree(ROOT / "bindings" / "python" / "sampled_softmax", tmp_path / "sampled_softmax")
    said = failing(IMPORT, PYTHONPATH=str(tmp_path), SAMPLED_SOFTMAX_LIB=str(library_path), SAMPLED_SOFTMAX_JAX_LIB="")
    assert said.startswith("libsampled_softmax_jax.so, the handlers that JAX calls, was not found")
    assert f"{tmp_path}/sampled_softmax/libsampled_softmax_jax.so: no such file" in said
    assert "python bindings/jax/build.py" in said


def test_a_file_that_is_no_library_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.so"
    wrong.write_text("no library")
    assert f"{wrong} cannot be loaded" in failing(IMPORT, SAMPLED_SOFTMAX_JAX_LIB=str(wrong))


def test_a_jax_that_is_too_old_is_told_before_it_breaks(tmp_path: Path) -> None:
    """Registering newer handlers would keep JAX's CPU backend from starting."""
    header = tmp_path / "xla" / "ffi" / "api" / "c_api.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define XLA_FFI_API_MAJOR 0\n#define XLA_FFI_API_MINOR 1\n")
    older = f"import jax; jax.ffi.include_dir = lambda: {str(tmp_path)!r}; "
    said = failing(older + IMPORT, SAMPLED_SOFTMAX_JAX_LIB=str(SHIM))
    assert "has 0.1: upgrade JAX, or build the handlers for this one" in said
    said = failing(f"import jax; jax.__version_info__ = (0, 7, 2); jax.__version__ = '0.7.2'; {IMPORT}")
    assert said == "sampled_softmax.jax needs JAX 0.8 or later, and this is 0.7.2"


def test_what_was_built_is_built_again_for_older_headers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = tmp_path / jax_build.FILE_NAME
    shutil.copy(SHIM, built)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert jax_build.build(tmp_path) == built
    monkeypatch.setattr(jax_build, "xla_version", lambda include: (0, 0))
    with pytest.raises(jax_build.BuildError, match="no-such-compiler was not found"):
        jax_build.build(tmp_path)


def test_without_jax_the_error_says_what_to_install() -> None:
    said = failing(f"import sys; sys.modules['jax'] = None; {IMPORT}")
    assert said.startswith("sampled_softmax.jax needs JAX: pip install jax")


def test_building_without_a_compiler_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(jax_build.BuildError, match="no C\\+\\+ compiler: no-such-compiler -O2 was not found"):
        jax_build.build(tmp_path)


def test_building_without_headers_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FFI_INCLUDE", str(tmp_path))
    with pytest.raises(jax_build.BuildError, match=r"XLA_FFI_INCLUDE: .* has no xla/ffi/api/ffi\.h"):
        jax_build.build(tmp_path)


def test_a_compiler_that_fails_leaves_nothing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "c++ -no-such-option")
    with pytest.raises(jax_build.BuildError, match="no-such-option"):
        jax_build.build(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_program_without_its_unigrams_says_what_to_make(tmp_path: Path) -> None:
    """A program names its weights; another process, which has not made them, cannot run it."""
    labels, weights = np.zeros((3, 1), int), np.arange(1.0, 11.0)
    checks = [jax.export.DisabledSafetyCheck.custom_call("sampled_softmax_sample")]

    def draw(labels: jax.Array) -> jax.Array:
        return ssj.fixed_unigram_candidate_sampler(labels, 1, 4, True, 10, unigrams=weights, seed=0).sampled_candidates

    exported = jax.export.export(jax.jit(draw), disabled_checks=checks)(labels)
    path = tmp_path / "program"
    path.write_bytes(exported.serialize())
    code = (
        f"import jax, pathlib, numpy as np, sampled_softmax.jax\n"
        f"program = jax.export.deserialize(bytearray(pathlib.Path({str(path)!r}).read_bytes()))\n"
        f"jax.block_until_ready(program.call(np.zeros((3, 1), np.int32)))\n"
    )
    said = failing(code, SAMPLED_SOFTMAX_JAX_LIB=str(SHIM))
    assert "unigram weights that this process does not have" in said
