"""The few functions of the CUDA driver that move NumPy arrays to a device and back.

They come from libcuda by ctypes, opened at the first use: there is nothing to compile and
nothing to install, and where there is no driver only these functions fail. The context is
the device's primary one, which PyTorch, JAX and CuPy use too, and a caller's own context is
current again after every call.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_ubyte, c_uint64, c_void_p
from typing import Any

from . import _abi
from ._errors import EngineError, OutOfMemoryError

LIBRARIES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")

_OUT_OF_MEMORY = 2
# CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
_DEVICE_ORDINAL = 9

_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoD_v2": (c_uint64, c_void_p, c_size_t),
    "cuMemcpyDtoH_v2": (c_void_p, c_uint64, c_size_t),
    "cuMemsetD8_v2": (c_uint64, c_ubyte, c_size_t),
    "cuStreamSynchronize": (c_void_p,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}


@functools.cache
def _driver() -> ctypes.CDLL:
    """libcuda, initialised. Raises `SampledSoftmaxError`."""
    reasons = []
    for name in LIBRARIES:
        try:
            driver = ctypes.CDLL(name)
        except OSError as error:
            reasons.append(str(error))
            continue
        for function, arguments in _FUNCTIONS.items():
            getattr(driver, function).argtypes = arguments
        _check(driver, "cuInit", driver.cuInit(0))
        return driver
    raise EngineError(_abi.SSL_STATUS_NO_BACKEND, f"no CUDA driver: {'; '.join(reasons)}")


def _check(driver: ctypes.CDLL, what: str, result: int) -> None:
    if result == 0:
        return
    text = c_char_p()
    driver.cuGetErrorString(result, byref(text))
    message = f"{what}: {(text.value or b'unknown error').decode()} (CUresult {result})"
    if result == _OUT_OF_MEMORY:
        raise OutOfMemoryError(_abi.SSL_STATUS_DEVICE_MEMORY, message)
    raise EngineError(_abi.SSL_STATUS_DEVICE_LOST, message)


def _call(name: str, *arguments: Any) -> None:
    driver = _driver()
    _check(driver, name, getattr(driver, name)(*arguments))


@functools.cache
def _context(device: int) -> int | None:
    """The device's primary context, kept to the end of the process."""
    number, context = c_int(), c_void_p()
    _call("cuDeviceGet", byref(number), device)
    _call("cuDevicePrimaryCtxRetain", byref(context), number)
    return context.value


@contextlib.contextmanager
def _on(device: int) -> Iterator[None]:
    """Makes the device's context current, and the caller's again."""
    _call("cuCtxPushCurrent_v2", _context(device))
    try:
        yield
    finally:
        _call("cuCtxPopCurrent_v2", byref(c_void_p()))


def allocate(device: int, size: int) -> int:
    """The address of `size` bytes."""
    address = c_uint64()
    with _on(device):
        _call("cuMemAlloc_v2", byref(address), max(size, 1))
    return address.value


def free(device: int, address: int) -> None:
    """Frees what `allocate` gave, after the work that uses it."""
    with _on(device):
        _call("cuMemFree_v2", address)


def copy_in(device: int, to: int, source: int, size: int) -> None:
    """Host to device. Returns when the source may be written again."""
    if size:
        with _on(device):
            _call("cuMemcpyHtoD_v2", to, source, size)


def copy_out(device: int, to: int, source: int, size: int) -> None:
    """Device to host, after the work on the default stream."""
    if size:
        with _on(device):
            _call("cuMemcpyDtoH_v2", to, source, size)


def zero(device: int, address: int, size: int) -> None:
    """Sets bytes to 0, in the order of the default stream."""
    if size:
        with _on(device):
            _call("cuMemsetD8_v2", address, 0, size)


def synchronize(device: int, stream: int | None) -> None:
    """Waits for the work of a stream; None is the default one."""
    with _on(device):
        _call("cuStreamSynchronize", stream)


def device_of(address: int) -> int | None:
    """The ordinal of the device whose memory this is; None where the driver cannot say."""
    lookup = getattr(_driver(), "cuPointerGetAttribute", None)
    if lookup is None:
        return None
    ordinal = c_int(-1)
    result = lookup(byref(ordinal), c_int(_DEVICE_ORDINAL), c_uint64(address))
    return ordinal.value if result == 0 else None
