"""Adapters that are compiled on the user's machine, and the cache they are kept in.

TensorFlow's C++ interface changes with every release, so that a binary serves one
version only: the adapter is compiled at its first use, or by a build command
beforehand, and kept in a folder of the user's.

The folder is the environment's ``SAMPLED_SOFTMAX_CACHE_DIR``, else ``sampled-softmax``
under ``XDG_CACHE_HOME`` or ``~/.cache``. What lies in it is loaded into the process, so
it must belong to this user and be writable by nobody else.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ._library import bind

CACHE_VARIABLE = "SAMPLED_SOFTMAX_CACHE_DIR"
# Compilers by language: the variable that names one, and what is looked for without it.
_COMPILERS = {"c++": ("CXX", ("g++", "clang++", "c++")), "c": ("CC", ("gcc", "clang", "cc"))}
_PACKAGE = Path(__file__).resolve().parent
_COMPILE_SECONDS = 600


class BuildError(RuntimeError):
    """An adapter could not be compiled, stored or loaded; the message says how to go on."""


class Adapter(NamedTuple):
    """What is to be compiled, and against what."""

    framework: str
    """Its name, as in the names of the module and of the folder of sources."""
    version: str
    """Of the installed framework."""
    source: str
    """The translation unit, in the framework's folder."""
    language: str
    """``"c"`` or ``"c++"``."""
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]


def adapter_path(adapter: Adapter, *, rebuild: bool = False) -> Path:
    """The compiled adapter, from the cache or compiled now. Raises `BuildError`.

    Without a compiler a copy that any other one made of the same sources for the same
    framework serves too: an image can be built with a compiler and run without.
    """
    folder = cache_folder()
    stem = f"{adapter.framework}-{adapter.version}-{_digest(adapter)}"
    compiler = find_compiler(adapter.language)
    if compiler is None:
        found = sorted(folder.glob(f"{stem}-*.so"))
        if found and not rebuild:
            return found[0]
        raise BuildError(_no_compiler(adapter, folder))
    path = folder / f"{stem}-{_identity(compiler)}.so"
    if rebuild or not path.is_file():
        _compile(adapter, compiler, path)
    return path


def load_adapter(path: Path) -> ctypes.CDLL:
    """The adapter at `path`, bound to the shared library. Raises `BuildError` where it cannot
    be loaded, and `LibraryError` where it needs another library."""
    try:
        adapter = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise BuildError(f"{path} cannot be loaded: {error}; remove it and it is compiled anew") from error
    bind(adapter)
    return adapter


def command(framework: str, build: Callable[[bool], Path]) -> int:
    """``python -m sampled_softmax.<framework> build``: compiles now and says where.
    Returns the exit status."""
    made = argparse.ArgumentParser(
        prog=f"python -m sampled_softmax.{framework}", description="Compiles the adapter now and says where it is."
    )
    commands = made.add_subparsers(dest="command", required=True)
    builds = commands.add_parser("build", help=f"compile for the installed {framework} into the cache")
    builds.add_argument("--force", action="store_true", help="compile even if the cache has it")
    arguments = made.parse_args()
    try:
        print(build(arguments.force))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def cache_folder() -> Path:
    """The folder, made with mode 0700 if it is not there. Raises `BuildError` where it
    cannot be made, belongs to somebody else or may be written by others."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        folder = Path(named)
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        folder = Path(base) / "sampled-softmax"
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise BuildError(f"the cache folder {folder} cannot be made: {error}; set {CACHE_VARIABLE}") from error
    if status.st_uid != os.geteuid():
        raise BuildError(f"the cache folder {folder} belongs to user {status.st_uid}, not {os.geteuid()}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        raise BuildError(f"the cache folder {folder} has mode {mode:o}: others could put code there; chmod it to 700")
    return folder


def find_compiler(language: str) -> list[str] | None:
    """The words of a compiler's command line, or None where there is none."""
    variable, names = _COMPILERS[language]
    named = shlex.split(os.environ.get(variable) or "")
    for words in [named] if named else [[name] for name in names]:
        found = shutil.which(words[0])
        if found is not None:
            return [found, *words[1:]]
    return None


def _sources() -> tuple[Path, Path]:
    """The folder of the adapters' sources and that of the header: in an installed
    package, else in the source tree this package lies in. Raises `BuildError`."""
    installed = _PACKAGE / "_native"
    if (installed / "native").is_dir():
        return installed, installed / "include"
    root = _PACKAGE.parents[2] if len(_PACKAGE.parents) > 2 else _PACKAGE
    if (root / "bindings" / "native").is_dir():
        return root / "bindings", root / "include"
    raise BuildError(f"the sources of the adapters are neither in {installed} nor in a source tree")


def _digest(adapter: Adapter) -> str:
    """Of all that the binary follows from, but for the compiler."""
    bindings, include = _sources()
    digest = hashlib.sha256(repr((adapter.source, adapter.compile_flags, adapter.link_flags)).encode())
    files = [include / "sampled_softmax.h"]
    for name in ("native", adapter.framework):
        files += sorted(path for path in (bindings / name).iterdir() if path.suffix in (".h", ".c", ".cc"))
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _identity(compiler: list[str]) -> str:
    try:
        done = subprocess.run([*compiler, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{shlex.join(compiler)} does not run: {error}") from error
    return hashlib.sha256(repr(compiler).encode() + done.stdout).hexdigest()[:8]


def _compile(adapter: Adapter, compiler: list[str], path: Path) -> None:
    """Into a temporary file beside `path`, then renamed: another process sees all or nothing."""
    bindings, include = _sources()
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".so")
    os.close(descriptor)
    source = bindings / adapter.framework / adapter.source
    command = [
        *compiler, "-O2", "-shared", "-fPIC", f"-I{include}", *adapter.compile_flags,
        "-o", temporary, os.fspath(source), *adapter.link_flags, "-ldl",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_COMPILE_SECONDS, check=False
        )
        if done.returncode != 0:
            raise BuildError(
                f"the adapter for {adapter.framework} {adapter.version} does not compile:\n"
                f"{shlex.join(command)}\n{done.stderr[-4000:]}"
            )
        os.replace(temporary, path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{shlex.join(command)}: {error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _no_compiler(adapter: Adapter, folder: Path) -> str:
    variable, names = _COMPILERS[adapter.language]
    looked = f"{variable} = {os.environ[variable]!r}" if os.environ.get(variable) else " or ".join(names)
    return (
        f"sampled_softmax.{adapter.framework} is compiled for the installed {adapter.framework} {adapter.version} "
        f"at its first use, and no {adapter.language.upper()} compiler was found ({looked}). Install one, or run "
        f"`python -m sampled_softmax.{adapter.framework} build` where there is one and keep {folder}"
    )
