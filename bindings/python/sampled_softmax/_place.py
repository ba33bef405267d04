"""Where a call computes, and so where its arrays are: host memory or a CUDA device.

On a device the call waits for its own result: the callers here have NumPy, and get an
exception for what the CPU engine would raise one for. Who wants neither copies nor waiting
has a framework, whose module does without both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _abi, _device
from ._arrays import Array
from ._device import DeviceArray
from ._handle import CPU, Engine, engine_of
from ._tensors import Tensors


class Host:
    """Host memory: nothing to bring and nothing to wait for."""

    engine = CPU
    status = 0
    allocate = None

    empty: Callable[[tuple[int, ...], Any], Array] = staticmethod(np.empty)
    """An array for a result, not initialised."""
    zeros: Callable[[tuple[int, ...], Any], Array] = staticmethod(np.zeros)
    """An array for a result that is added into."""

    def take(self, name: str, array: Array) -> Array:
        """An argument, where the call computes."""
        return array

    def take_all(self, tensors: Tensors) -> Tensors:
        """`take` of every one."""
        return tensors

    def give(self, array: Array) -> Array:
        """A result, where the caller has the arguments."""
        return array

    def wait(self) -> int:
        """Waits for the results; returns the status that was found in the data."""
        return 0


class OnDevice:
    """A CUDA device, for one call on its default stream."""

    def __init__(self, engine: Engine, returns_numpy: bool) -> None:
        self.engine = engine
        self._returns_numpy = returns_numpy
        self._scratch: list[DeviceArray] = []
        self._status = self.zeros((1,), np.uint32)
        self.status = self._status.pointer

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """As `Host.empty`."""
        return _device.empty(shape, dtype, self.engine.device)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """As `Host.zeros`."""
        return _device.zeros(shape, dtype, self.engine.device)

    def take(self, name: str, array: Any) -> DeviceArray:
        """As `Host.take`. Raises ValueError for an array of another device."""
        if not isinstance(array, DeviceArray):
            return _device.put(array, self.engine.device)
        if array.device != self.engine.device:
            raise ValueError(f"{name} is on cuda:{array.device}, but the call computes on cuda:{self.engine.device}")
        return array

    def take_all(self, tensors: Tensors) -> Tensors:
        """As `Host.take_all`."""
        named = zip(Tensors._fields, tensors, strict=True)
        return Tensors(*(None if array is None else self.take(name, array) for name, array in named))

    def give(self, array: Any) -> Any:
        """As `Host.give`."""
        return array.numpy() if self._returns_numpy else array

    def allocate(self, size: int) -> int:
        """Scratch, for as long as this object lives."""
        self._scratch.append(self.empty((size,), np.uint8))
        return self._scratch[-1].pointer

    def wait(self) -> int:
        """As `Host.wait`."""
        return int(self._status.numpy()[0])


Place = Host | OnDevice

HOST = Host()


def place_of(engine: Engine | None, tensors: Tensors) -> Place:
    """The engine asked for, or with None where the arrays are: a device if one of them is
    on it. Raises ValueError where the CPU is asked for and an array is on a device."""
    if DeviceArray not in map(type, tensors):
        return HOST if engine is None or engine == CPU else OnDevice(engine, returns_numpy=True)
    named: Any = zip(Tensors._fields, tensors, strict=True)
    name, array = next((name, array) for name, array in named if isinstance(array, DeviceArray))
    if engine == CPU:
        raise ValueError(f"device = 'cpu', but {name} is on cuda:{array.device}")
    return OnDevice(engine or Engine(_abi.SSL_BACKEND_CUDA, array.device), returns_numpy=False)


def to_device(array: ArrayLike, device: str = "cuda") -> DeviceArray:
    """Copies an array to a CUDA device, to be given to the functions of this package as
    often as needed: weights that stay there are not copied with every call.

    Args:
        array: whatever `numpy.asarray` takes.
        device: ``"cuda"`` or ``"cuda:<number>"``.

    Raises ValueError for another device, `SampledSoftmaxError` where there is none.
    """
    engine = engine_of(device)
    if engine is None or engine == CPU:
        raise ValueError(f"device = {device!r} is neither 'cuda' nor 'cuda:<number>'")
    return _device.put(np.asarray(array), engine.device)
