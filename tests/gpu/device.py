"""Where these tests compute: a GPU, or the emulated device of `make emu`.

The emulated device takes host memory for its own (``FAKE_CUDA_PAGEABLE=1``), so tensors
are PyTorch's CPU tensors there. Streams and graphs go through the driver itself, by
ctypes, which is the same code on both.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_int, c_size_t, c_uint, c_void_p

import torch

EMULATED = not torch.cuda.is_available()
TORCH = torch.device("cpu" if EMULATED else "cuda")

THREAD_LOCAL_CAPTURE = 1


class DriverError(RuntimeError):
    """A driver function did not succeed."""


def _open() -> ctypes.CDLL:
    for name in ("libcuda.so.1", "libcuda.so"):
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            reason = error
    raise RuntimeError(
        f"no CUDA driver ({reason}); without a GPU run these tests as `make test` does, on the emulated one"
    )


_driver = _open()


def call(name: str, *arguments: object) -> None:
    """A driver function; raises `DriverError` with its code."""
    status = getattr(_driver, name)(*arguments)
    if status != 0:
        raise DriverError(f"{name} failed with {status}")


def _enter() -> None:
    """Makes the device's primary context current, as PyTorch does on a GPU."""
    if not EMULATED:
        torch.zeros(1, device=TORCH)
        return
    device, context = c_int(), c_void_p()
    call("cuInit", 0)
    call("cuDeviceGet", byref(device), 0)
    call("cuDevicePrimaryCtxRetain", byref(context), device)
    call("cuCtxPushCurrent_v2", context)
    atexit.register(_driver.cuCtxPopCurrent_v2, byref(context))


_enter()


def compute_capability() -> int:
    """As 90 for 9.0."""
    device, major, minor = c_int(), c_int(), c_int()
    call("cuDeviceGet", byref(device), 0)
    call("cuDeviceGetAttribute", byref(major), 75, device)
    call("cuDeviceGetAttribute", byref(minor), 76, device)
    return major.value * 10 + minor.value


def driver_version() -> str:
    """The CUDA version the driver supports, as ``"13.0"``."""
    version = c_int()
    call("cuDriverGetVersion", byref(version))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


class Stream:
    """A stream of its own, ordered after nothing else."""

    def __init__(self) -> None:
        self.handle = c_void_p()
        nonblocking = 1
        # What PyTorch queued on its own stream (uploads, fills) must be there.
        synchronize()
        call("cuStreamCreate", byref(self.handle), c_uint(nonblocking))

    def synchronize(self) -> None:
        call("cuStreamSynchronize", self.handle)

    def __del__(self) -> None:
        # At the process's end the context is no longer current, and all goes with it.
        if not sys.is_finalizing():
            _driver.cuStreamDestroy_v2(self.handle)


def synchronize() -> None:
    """Waits for everything on the device."""
    call("cuCtxSynchronize")


class Graph:
    """What `work` queued on a stream, to be replayed."""

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        self._stream = stream
        self._graph, self._executable = c_void_p(), c_void_p()
        with _capture(stream, self._graph):
            work()
        call("cuGraphInstantiateWithFlags", byref(self._executable), self._graph, ctypes.c_ulonglong(0))

    def nodes(self) -> int:
        count = c_size_t()
        call("cuGraphGetNodes", self._graph, None, byref(count))
        return count.value

    def replay(self) -> None:
        call("cuGraphLaunch", self._executable, self._stream.handle)
        self._stream.synchronize()

    def __del__(self) -> None:
        if sys.is_finalizing():
            return
        if self._executable:
            _driver.cuGraphExecDestroy(self._executable)
        if self._graph:
            _driver.cuGraphDestroy(self._graph)


@contextmanager
def _capture(stream: Stream, graph: c_void_p) -> Iterator[None]:
    call("cuStreamBeginCapture_v2", stream.handle, THREAD_LOCAL_CAPTURE)
    try:
        yield
    finally:
        call("cuStreamEndCapture", stream.handle, byref(graph))
