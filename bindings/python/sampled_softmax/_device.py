"""Arrays in device memory, for callers who have NumPy.

A `DeviceArray` owns memory, or stands for another library's array. It answers the
questions that `_arrays` and `_tensors` ask of a NumPy array, so that one set of checks
serves both, and `__cuda_array_interface__` makes it an array of CuPy, Numba or PyTorch.
"""

from __future__ import annotations

import math
import weakref
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _driver

# CUDA's legacy default stream, by the number that array interfaces have for it.
DEFAULT_STREAM = 1


class _Flags(NamedTuple):
    c_contiguous: bool
    aligned: bool


class DeviceArray:
    """An n-dimensional array on a CUDA device.

    Attributes:
        shape, dtype, strides (in bytes), ndim, size, itemsize, nbytes: as NumPy's.
        device: the device's ordinal.
        pointer: the address of the first element.
    """

    def __init__(
        self,
        pointer: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        device: int,
        owner: object,
        strides: tuple[int, ...] | None = None,
    ) -> None:
        self.pointer = pointer
        self.shape = shape
        self.dtype = dtype
        self.device = device
        self.strides = packed(shape, dtype.itemsize) if strides is None else strides
        self._owner = owner

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    @property
    def flags(self) -> _Flags:
        """``c_contiguous`` and ``aligned``, as NumPy has them."""
        dense = packed(self.shape, self.itemsize)
        in_order = all(
            length == 1 or ours == theirs for length, ours, theirs in zip(self.shape, self.strides, dense, strict=True)
        )
        return _Flags(in_order or self.size == 0, self.pointer % self.itemsize == 0)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device=cuda:{self.device})"

    def __getitem__(self, rows: slice) -> DeviceArray:
        """Some rows that follow one another, in place."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise TypeError(f"DeviceArray[{rows!r}]: only [m:n] is there; use numpy() or another library's array")
        found = range(*rows.indices(self.shape[0]))
        pointer = self.pointer + found.start * self.strides[0]
        return DeviceArray(pointer, (len(found), *self.shape[1:]), self.dtype, self.device, self, self.strides)

    def reshape(self, *shape: int) -> DeviceArray:
        """The same elements by another shape, of which one length may be -1; the array must
        be contiguous."""
        known = math.prod(length for length in shape if length != -1)
        lengths = tuple(self.size // max(known, 1) if length == -1 else length for length in shape)
        if math.prod(lengths) != self.size or not self.flags.c_contiguous:
            raise ValueError(f"an array of shape {self.shape} and strides {self.strides} cannot become {shape}")
        return DeviceArray(self.pointer, lengths, self.dtype, self.device, self)

    def numpy(self) -> NDArray[Any]:
        """A copy in host memory, after the work on the default stream."""
        if self.size == 0:
            return np.empty(self.shape, self.dtype)
        # All bytes between the lowest and the highest, then the elements among them.
        reach = [(length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True)]
        below = -sum(step for step in reach if step < 0)
        raw = np.empty(below + sum(step for step in reach if step > 0) + self.itemsize, np.uint8)
        _driver.copy_out(self.device, raw.ctypes.data, self.pointer - below, raw.nbytes)
        view: NDArray[Any] = np.ndarray(self.shape, self.dtype, raw.data, below, self.strides)
        return view if self.flags.c_contiguous else view.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a device array cannot be read by NumPy without a copy")
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype.kind not in "fiu":
            raise AttributeError(f"__cuda_array_interface__ has no name for {self.dtype}")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None if self.flags.c_contiguous else self.strides,
            "version": 3,
            "stream": DEFAULT_STREAM,
        }


def empty(shape: tuple[int, ...], dtype: Any, device: int) -> DeviceArray:
    """Memory of its own, not initialised."""
    kind = np.dtype(dtype)
    pointer = _driver.allocate(device, math.prod(shape) * kind.itemsize)
    array = DeviceArray(pointer, shape, kind, device, None)
    # At exit the process gives everything back at once, and the driver may be gone before.
    weakref.finalize(array, _driver.free, device, pointer).atexit = False
    return array


def zeros(shape: tuple[int, ...], dtype: Any, device: int) -> DeviceArray:
    """`empty`, of zeros."""
    array = empty(shape, dtype, device)
    _driver.zero(device, array.pointer, array.nbytes)
    return array


def put(array: NDArray[Any], device: int) -> DeviceArray:
    """A copy of a NumPy array."""
    source = np.ascontiguousarray(array).reshape(array.shape)
    copy = empty(source.shape, source.dtype, device)
    _driver.copy_in(device, copy.pointer, source.ctypes.data, source.nbytes)
    return copy


def packed(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides in bytes without gaps."""
    strides = [itemsize] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * shape[axis]
    return tuple(strides)
