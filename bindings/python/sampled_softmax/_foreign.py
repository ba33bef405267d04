"""Arrays of other libraries, read where they lie: DLPack and `__cuda_array_interface__`.

Host memory becomes a NumPy view, device memory a `DeviceArray`. Between them the two
protocols cover CuPy, Numba, JAX, PyTorch and TensorFlow. DLPack comes first, since it knows
bfloat16 and has the producer order its stream before ours; the older protocol names a
stream to wait for.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _driver
from ._device import DEFAULT_STREAM, DeviceArray, packed

# DLDeviceType.
_CPU, _CUDA, _CUDA_HOST, _CUDA_MANAGED = 1, 2, 3, 13
# DLDataTypeCode.
_KINDS = {0: "i", 1: "u", 2: "f"}
_BFLOAT = 4


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", ctypes.POINTER(c_int64)),
        ("strides", ctypes.POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("manager", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", _DLTensor),
    )


_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = c_void_p
_capsule_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_capsule_is = ctypes.pythonapi.PyCapsule_IsValid
_capsule_is.restype = ctypes.c_int
_capsule_is.argtypes = (ctypes.py_object, ctypes.c_char_p)


class _Interface(ctypes.Structure):
    """What NumPy's ``__array_struct__`` leads to."""

    _fields_ = (
        ("two", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("kind", ctypes.c_char),
        ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("data", c_void_p),
    )


class _HostMemory:
    """What NumPy needs to make a view of host memory; the view keeps it alive."""

    def __init__(self, pointer: int, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int, owner: object):
        self._owner = owner
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "strides": strides,
            "typestr": f"|V{itemsize}",
            "data": (pointer, True),
        }


def as_array(value: Any) -> NDArray[Any] | DeviceArray:
    """A view of any array, as NumPy's or on a device; anything else as `numpy.asarray`.

    Raises TypeError for dtypes without a NumPy name, BufferError for memory of other kinds
    of device, and whatever the producer raises.
    """
    if isinstance(value, (np.ndarray, DeviceArray)):
        return value
    kind, device = _CPU, 0
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        kind, device = map(int, value.__dlpack_device__())
        if kind in (_CUDA, _CUDA_MANAGED):
            return _of_dlpack(value, device)
        if kind == _CPU and str(getattr(value, "dtype", "")).endswith("bfloat16") and not _is_numpy(value):
            return _of_dlpack(value, None)
        if kind not in (_CPU, _CUDA_HOST):
            raise BufferError(f"an array on DLPack device ({kind}, {device}): CPU and CUDA are known")
    elif hasattr(value, "__cuda_array_interface__"):
        return _of_interface(value)
    return np.asarray(value)


def host_pointer(array: NDArray[Any]) -> int:
    """Where the first element of any NumPy array lies, in a fifth of the time that
    ``__array_interface__`` takes."""
    capsule = array.__array_struct__
    return _Interface.from_address(_capsule_pointer(capsule, None)).data or 0


def _is_numpy(value: Any) -> bool:
    return isinstance(value.dtype, np.dtype)


def _of_dlpack(value: Any, device: int | None) -> NDArray[Any] | DeviceArray:
    """`device`: a CUDA ordinal, or None for host memory."""
    options: dict[str, Any] = {} if device is None else {"stream": DEFAULT_STREAM}
    try:
        capsule = value.__dlpack__(max_version=(1, 1), **options)
    except TypeError:
        # A producer from before DLPack 1.0.
        capsule = value.__dlpack__(**options)
    # Never renamed, so the capsule frees the array when it goes.
    if _capsule_is(capsule, b"dltensor_versioned"):
        managed = _Versioned.from_address(_capsule_pointer(capsule, b"dltensor_versioned"))
        if managed.major != 1:
            raise BufferError(f"an array of DLPack {managed.major}.{managed.minor}; 1.x is known")
        tensor = managed.tensor
    else:
        tensor = _DLTensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    dtype = _dtype(tensor)
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = packed(shape, dtype.itemsize)
    if tensor.strides:
        strides = tuple(step * dtype.itemsize for step in tensor.strides[: tensor.ndim])
    pointer = (tensor.data or 0) + tensor.byte_offset
    if device is not None:
        return DeviceArray(pointer, shape, dtype, device, capsule, strides)
    view: NDArray[Any] = np.asarray(_HostMemory(pointer, shape, strides, dtype.itemsize, capsule)).view(dtype)
    return view


def _dtype(tensor: _DLTensor) -> np.dtype[Any]:
    if tensor.lanes == 1 and tensor.bits % 8 == 0:
        if tensor.code in _KINDS:
            return np.dtype(f"{_KINDS[tensor.code]}{tensor.bits // 8}")
        if (tensor.code, tensor.bits) == (_BFLOAT, 16):
            return _bfloat16()
    raise TypeError(
        f"an array of DLPack dtype (code {tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes); "
        f"real numbers are needed"
    )


def _bfloat16() -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ModuleNotFoundError as error:
        raise TypeError("bfloat16 arrays need the package ml_dtypes: pip install ml_dtypes") from error
    return np.dtype(ml_dtypes.bfloat16)


def _of_interface(value: Any) -> DeviceArray:
    interface = value.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise TypeError("a masked array on a device; masks are not known")
    dtype = np.dtype(interface["typestr"])
    pointer = int(interface["data"][0] or 0)
    shape = tuple(map(int, interface["shape"]))
    device = (_driver.device_of(pointer) if pointer else None) or 0
    stream = interface.get("stream")
    if stream is not None and stream != DEFAULT_STREAM:
        _driver.synchronize(device, int(stream))
    strides = interface.get("strides")
    return DeviceArray(pointer, shape, dtype, device, value, None if strides is None else tuple(map(int, strides)))
