"""Compiles the XLA FFI handlers of `sampled_softmax.jax` into one small shared library.

    python bindings/jax/build.py [DIRECTORY]

writes ``libsampled_softmax_jax.so`` into DIRECTORY, by default ``target/release``, where
`sampled_softmax.jax` looks for it. It needs a C++17 compiler (the environment's ``CXX``,
else c++) and XLA's headers, which come with jaxlib: those of the Python that runs this,
or of the folder that the environment's ``XLA_FFI_INCLUDE`` names. What it makes depends on
no Python version, and runs with that jaxlib and later ones: XLA keeps taking older
versions of its interface for foreign functions, and refuses newer ones. What is to be
given to others is therefore built with the headers of the oldest JAX that it is for.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FILE_NAME = "libsampled_softmax_jax.so"
SOURCE = HERE / "sampled_softmax_jax.cc"


class BuildError(Exception):
    """The library cannot be built here; the message says what is missing."""


def xla_include() -> Path:
    """The folder with ``xla/ffi/api/ffi.h``. Raises `BuildError`."""
    named = os.environ.get("XLA_FFI_INCLUDE")
    if named:
        folder, origin = Path(named), "XLA_FFI_INCLUDE"
    else:
        # Found without importing it, which takes a second and is of no use here.
        found = importlib.util.find_spec("jaxlib")
        if found is None or not found.submodule_search_locations:
            raise BuildError(f"{sys.executable} has no jaxlib, whose headers are needed: install it, or set "
                             f"XLA_FFI_INCLUDE to the folder that has xla/ffi/api/ffi.h")  # fmt: skip
        folder, origin = Path(next(iter(found.submodule_search_locations))) / "include", "jaxlib"
    if not (folder / "xla" / "ffi" / "api" / "ffi.h").is_file():
        raise BuildError(f"{origin}: {folder} has no xla/ffi/api/ffi.h")
    return folder


def xla_version(include: Path) -> tuple[int, int]:
    """The version of XLA's interface for foreign functions that headers declare."""
    text = (include / "xla" / "ffi" / "api" / "c_api.h").read_text()
    found = dict(re.findall(r"^#define XLA_FFI_API_(MAJOR|MINOR) (\d+)$", text, re.MULTILINE))
    return int(found["MAJOR"]), int(found["MINOR"])


def is_current(output: Path, include: Path) -> bool:
    """Whether what lies there came from these sources, and suits these headers."""
    sources = [file for folder in (HERE, HERE.parent / "native") for file in folder.iterdir() if file.is_file()]
    sources.append(ROOT / "include" / "sampled_softmax.h")
    if not output.is_file() or output.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        return False
    packed = ctypes.CDLL(str(output)).sampled_softmax_jax_xla_version()
    return (packed >> 16, packed & 0xFFFF) <= xla_version(include)


def compiler() -> list[str]:
    """The C++ compiler's command. Raises `BuildError`."""
    command = shlex.split(os.environ.get("CXX") or "c++")
    if not command or shutil.which(command[0]) is None:
        raise BuildError(f"no C++ compiler: {shlex.join(command) or 'CXX'} was not found; install one or set CXX")
    return command


def build(directory: Path) -> Path:
    """Compiles into `directory`, unless what lies there will do.

    Returns the library's path. Raises `BuildError`.
    """
    output = directory / FILE_NAME
    include = xla_include()
    if is_current(output, include):
        return output
    command = compiler()
    directory.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: a process that has the old one mapped keeps it.
    partial = output.with_name(f"{FILE_NAME}.{os.getpid()}")
    arguments = ["-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-ffunction-sections"]
    arguments += ["-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", "-isystem", str(include)]
    # The C++ library goes in, as far as it is used, so that the oldest Linux that the
    # wheel is for need not have the one of the compiler; and only our names come out.
    arguments += ["-static-libstdc++", "-Wl,--gc-sections", "-s"]
    arguments += [f"-Wl,--version-script={HERE / 'exports.map'}", str(SOURCE), "-o", str(partial)]
    try:
        done = subprocess.run([*command, *arguments, "-ldl"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"exit status {done.returncode}: {shlex.join([*command, *arguments])}\n{done.stderr}")
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    return output


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "target" / "release")
    try:
        print(build(parser.parse_args().directory))
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
