"""The library of XLA handlers: found, bound to the shared library, registered with JAX.

Searched for like the shared library itself: the environment's
``SAMPLED_SOFTMAX_JAX_LIB``, this package's directory (an installed wheel),
``target/release`` of the source tree. The first file found is the one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import struct
from pathlib import Path

import jax

from .. import _abi
from .._errors import check
from .._handle import Config, Unigrams, _fields
from .._library import LibraryError, bind

ENVIRONMENT_VARIABLE = "SAMPLED_SOFTMAX_JAX_LIB"
FILE_NAME = "libsampled_softmax_jax.so"
OLDEST_JAX = (0, 8)

_PACKAGE = Path(__file__).resolve().parents[1]

# Handlers by JAX's name of the platform.
_HANDLERS = {
    "cpu": ("sample", "sample_on_device", "learn", "forward", "backward", "forward_backward"),
    "CUDA": ("sample", "sample_on_device", "forward", "backward", "forward_backward"),
}


def target(name: str) -> str:
    """What a handler is called in JAX's programs, on every platform."""
    return f"sampled_softmax_{name}"


def fields_of(config: Config) -> tuple[int, ...]:
    """``ssl_config`` by value, in the order of `config_of` in bindings/jax/handles.h."""
    return (
        config.num_classes,
        config.num_sampled,
        config.num_true,
        config.sampler,
        config.sampling,
        config.counts,
        config.hits,
        config.reduction,
        config.num_threads,
        *struct.unpack("<2q", struct.pack("<2Q", config.seed, config.rank)),
        *struct.unpack("<q", struct.pack("<d", config.probability_floor)),
        config.generator,
    )


def name_of_unigrams(config: Config) -> str:
    """The name under which programs find a fixed unigram sampler's weights; the weights
    are then known to the handlers of this process. Empty for other samplers."""
    unigrams = config.unigrams
    if unigrams is None:
        return ""
    name = _named.get(unigrams)
    if name is None:
        name = hashlib.sha256(unigrams.weights + repr(unigrams[1:]).encode()).hexdigest()
        fields, alive = _fields(config)
        _SHIM.sampled_softmax_jax_name_unigrams(name.encode(), fields)
        del alive
        _named[unigrams] = name
    return name


def prepare(
    fields: tuple[int, ...],
    unigrams: str,
    backend: int = _abi.SSL_BACKEND_CPU,
    device: int = 0,
    batch: _abi.ssl_batch | None = None,
) -> int:
    """Makes the handle of a program to come, and raises what the library has against its
    configuration. With a batch, returns the bytes of workspace that it needs."""
    size = ctypes.c_size_t()
    check(
        _SHIM.sampled_softmax_jax_prepare(
            (ctypes.c_int64 * len(fields))(*fields), len(fields), unigrams.encode(), backend, device, batch, size
        )
    )
    return size.value


def _find() -> Path:
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named)
    places = [_PACKAGE / FILE_NAME]
    if len(_PACKAGE.parents) > 2 and (_PACKAGE.parents[2] / "include" / "sampled_softmax.h").is_file():
        places.append(_PACKAGE.parents[2] / "target" / "release" / FILE_NAME)
    for place in places:
        if place.is_file():
            return place
    looked = "".join(f"\n  {place}: no such file" for place in places)
    raise LibraryError(
        f"{FILE_NAME}, the handlers that JAX calls, was not found. Looked at:\n"
        f"  {ENVIRONMENT_VARIABLE}: not set{looked}\n"
        f"Build it with `python bindings/jax/build.py`, or set {ENVIRONMENT_VARIABLE} to its path."
    )


def _check_xla(path: Path, built: int) -> None:
    """Raises `LibraryError` where jaxlib is older than the handlers.

    JAX would refuse them itself, but only when it starts its CPU backend, and then that
    would fail, and with it everything else of JAX in this process.
    """
    header = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    found = dict(re.findall(r"^#define XLA_FFI_API_(MAJOR|MINOR) (\d+)$", header.read_text(), re.MULTILINE))
    ours, theirs = (built >> 16, built & 0xFFFF), (int(found["MAJOR"]), int(found["MINOR"]))
    if theirs[0] != ours[0] or theirs < ours:
        raise LibraryError(
            f"{path} was built for version {ours[0]}.{ours[1]} of XLA's interface for foreign functions, and the "
            f"jaxlib of JAX {jax.__version__} has {theirs[0]}.{theirs[1]}: upgrade JAX, or build the handlers for "
            f"this one with `python bindings/jax/build.py`"
        )


def _load() -> ctypes.CDLL:
    if jax.__version_info__ < OLDEST_JAX:
        oldest = ".".join(map(str, OLDEST_JAX))
        raise ImportError(f"sampled_softmax.jax needs JAX {oldest} or later, and this is {jax.__version__}")
    path = _find()
    try:
        shim = ctypes.CDLL(str(path))
        shim.sampled_softmax_jax_xla_version.restype = ctypes.c_uint32
        built = shim.sampled_softmax_jax_xla_version()
    except (OSError, AttributeError) as error:
        raise LibraryError(f"{path} cannot be loaded: {error}") from error
    _check_xla(path, built)
    bind(shim)
    shim.sampled_softmax_jax_name_unigrams.argtypes = (ctypes.c_char_p, ctypes.POINTER(_abi.ssl_config))
    shim.sampled_softmax_jax_name_unigrams.restype = None
    shim.sampled_softmax_jax_prepare.argtypes = (
        ctypes.POINTER(ctypes.c_int64),
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_uint32,
        ctypes.c_int32,
        ctypes.POINTER(_abi.ssl_batch),
        ctypes.POINTER(ctypes.c_size_t),
    )
    for platform, names in _HANDLERS.items():
        for name in names:
            handler = getattr(shim, f"sampled_softmax_{name}_{platform.lower()}")
            jax.ffi.register_ffi_target(target(name), jax.ffi.pycapsule(handler), platform=platform)
    return shim


_named: dict[Unigrams, str] = {}
_SHIM = _load()
