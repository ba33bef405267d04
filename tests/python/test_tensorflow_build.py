"""Compiling the TensorFlow adapter: the command, the cache, and what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from adapters import compiled_environment, import_sampled_softmax_tensorflow, without_compilers
from conftest import ROOT, run
from sampled_softmax._compile import Adapter, BuildError, adapter_path, cache_folder, load_adapter

tf, sst = import_sampled_softmax_tensorflow()

ENVIRONMENT = {"PYTHONPATH": str(ROOT / "bindings" / "python"), "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("SAMPLED_SOFTMAX_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def small_adapter(**changes: object) -> Adapter:
    """The MindSpore adapter, which needs no framework to compile and little time."""
    return Adapter("mindspore", "1.2.3", "sampled_softmax.cc", "c++", ("-std=c++17",), ())._replace(**changes)


def test_command_prints_the_path_of_what_it_made() -> None:
    path = Path(run([sys.executable, "-m", "sampled_softmax.tensorflow", "build"], env=ENVIRONMENT).strip())
    assert path.is_file()
    assert path.parent == cache_folder()
    assert tf.__version__ in path.name
    assert path == sst.build()


def test_cache_is_private_and_a_second_build_compiles_nothing(cache: Path) -> None:
    path = adapter_path(small_adapter())
    assert cache.stat().st_mode & 0o777 == 0o700
    before = path.stat().st_mtime_ns
    assert adapter_path(small_adapter()) == path
    assert path.stat().st_mtime_ns == before
    assert [entry.name for entry in cache.iterdir()] == [path.name]
    assert load_adapter(path).SampledSoftmaxForward


def test_another_version_or_flag_is_another_file(cache: Path) -> None:
    paths = {
        adapter_path(small_adapter()),
        adapter_path(small_adapter(version="1.2.4")),
        adapter_path(small_adapter(compile_flags=("-std=c++17", "-DNOTHING"))),
    }
    assert len(paths) == 3


def test_without_a_compiler_the_error_says_what_to_do(tmp_path: Path) -> None:
    """At the first use, in a process of its own, as a user meets it."""
    environment = {
        **ENVIRONMENT,
        **without_compilers(tmp_path / "bin"),
        "SAMPLED_SOFTMAX_CACHE_DIR": str(tmp_path / "c"),
    }
    script = (
        "import sampled_softmax.tensorflow as sst\n"
        "try: sst.uniform_candidate_sampler([[1]], 1, 2, True, 5)\n"
        "except sst.BuildError as error: print(error)\n"
    )
    message = run([sys.executable, "-c", script], env=environment)
    assert f"tensorflow {tf.__version__}" in message
    assert "no C++ compiler was found (g++ or clang++ or c++)" in message
    assert "python -m sampled_softmax.tensorflow build" in message

    command = [sys.executable, "-m", "sampled_softmax.tensorflow", "build"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no C++ compiler" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_was_built_serves_without_a_compiler(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = adapter_path(small_adapter())
    for name, value in without_compilers(tmp_path / "bin").items():
        monkeypatch.setenv(name, value)
    assert adapter_path(small_adapter()) == path
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        adapter_path(small_adapter(version="9"))


def test_compiler_that_is_named_must_be_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match="CXX = 'no-such-compiler'"):
        adapter_path(small_adapter())


def test_failing_compiler_is_quoted_and_leaves_nothing(cache: Path) -> None:
    with pytest.raises(BuildError, match=r"does not compile(.|\n)*no-such-header\.h"):
        adapter_path(small_adapter(compile_flags=("-std=c++17", "-include", "no-such-header.h")))
    assert list(cache.iterdir()) == []


def test_folder_that_others_may_write_is_refused(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(BuildError, match="mode 777"):
        adapter_path(small_adapter())


def test_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAMPLED_SOFTMAX_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(BuildError, match="set SAMPLED_SOFTMAX_CACHE_DIR"):
        adapter_path(small_adapter())


def test_broken_file_in_the_cache_is_an_error_that_names_it(cache: Path) -> None:
    path = adapter_path(small_adapter())
    path.write_bytes(b"not a library")
    with pytest.raises(BuildError, match=r"cannot be loaded.*remove it"):
        load_adapter(path)
    assert load_adapter(adapter_path(small_adapter(), rebuild=True)).SampledSoftmaxForward


def test_missing_tensorflow_is_an_import_error_that_says_what_to_install() -> None:
    compiled_environment()
    script = "import sys; sys.modules['tensorflow'] = None\nimport sampled_softmax.tensorflow"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ImportError: sampled_softmax.tensorflow needs tensorflow: pip install tensorflow" in done.stderr
