"""Finds the shared library, checks its version and types its functions.

Order: the environment's ``SAMPLED_SOFTMAX_LIB``, this package's directory (an
installed wheel), ``target/release`` of the source tree this package lies in, the
system. The first file found is the one: if it cannot be used that is an error, not a
reason to look further, since silently running another build helps nobody.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from pathlib import Path

from . import _abi

ENVIRONMENT_VARIABLE = "SAMPLED_SOFTMAX_LIB"

_PACKAGE = Path(__file__).resolve().parent


class LibraryError(ImportError):
    """The shared library was not found or cannot be used.

    The message names every place that was looked at, and what was wrong there.
    """


def file_name() -> str:
    """What the library's file is called on this platform."""
    if sys.platform == "win32":
        return "sampled_softmax.dll"
    if sys.platform == "darwin":
        return "libsampled_softmax.dylib"
    return "libsampled_softmax.so"


def load() -> ctypes.CDLL:
    """The library, its functions typed. Raises `LibraryError`."""
    looked: list[str] = []
    path = _find(looked)
    if path is None:
        raise LibraryError(_report(f"{file_name()} was not found", looked))
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        looked.append(f"{path}: {error}")
        raise LibraryError(_report(f"{path} cannot be loaded", looked)) from error
    try:
        _declare(library)
        _check_version(library)
    except LibraryError as error:
        looked.append(f"{path}: {error}")
        raise LibraryError(_report(f"{path} cannot be used", looked)) from error
    return library


def version(library: ctypes.CDLL) -> tuple[int, int, int]:
    """Major, minor and patch of a loaded library."""
    packed = library.ssl_version()
    return packed >> 16, packed >> 8 & 0xFF, packed & 0xFF


def bind(adapter: ctypes.CDLL) -> None:
    """Has a framework's adapter (bindings/native) call this library. Raises `LibraryError`."""
    message = ctypes.create_string_buffer(1024)
    adapter.sampled_softmax_bind.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
    if not adapter.sampled_softmax_bind(os.fsencode(LIBRARY._name), message, len(message)):
        raise LibraryError(f"{adapter._name} cannot use the library: {message.value.decode(errors='replace')}")


def _find(looked: list[str]) -> str | None:
    """Where the library is; notes in `looked` each place where it is not."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        # Named on purpose: nothing else will do, and the loader will say why not.
        return named
    looked.append(f"{ENVIRONMENT_VARIABLE}: not set")

    for directory in (_PACKAGE, *_build_directories(looked)):
        file = directory / file_name()
        if file.is_file():
            return str(file)
        looked.append(f"{file}: no such file")

    system = ctypes.util.find_library("sampled_softmax")
    if system is None:
        looked.append("the system (ctypes.util.find_library('sampled_softmax')): nothing")
    return system


def _build_directories(looked: list[str]) -> list[Path]:
    """``target/release`` of the source tree, if this package lies in one."""
    if len(_PACKAGE.parents) > 2:
        root = _PACKAGE.parents[2]
        if (root / "include" / "sampled_softmax.h").is_file():
            return [root / "target" / "release"]
    looked.append(f"target/release: {_PACKAGE} is not in a source tree")
    return []


def _declare(library: ctypes.CDLL) -> None:
    for name, (arguments, result) in _abi.FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise LibraryError(f"it does not export {name}") from error
        function.argtypes = arguments
        function.restype = result


def _check_version(library: ctypes.CDLL) -> None:
    """Fields and functions are only appended within a major version, so a library as
    new as this package or newer serves, and an older one may lack something."""
    major, minor, patch = version(library)
    wanted = (_abi.SSL_ABI_VERSION_MAJOR, _abi.SSL_ABI_VERSION_MINOR)
    if major != wanted[0] or minor < wanted[1]:
        raise LibraryError(
            f"its version is {major}.{minor}.{patch}, and this package needs "
            f"{wanted[0]}.{wanted[1]} or a later {wanted[0]}.x"
        )


def _report(problem: str, looked: list[str]) -> str:
    places = "".join(f"\n  {place}" for place in looked)
    return (
        f"{problem}. Looked at:{places}\n"
        f"Build it with `cargo build --release`, or set {ENVIRONMENT_VARIABLE} to its path."
    )


LIBRARY = load()
