"""Arrays checked and brought into a layout that the C interface can express.

NumPy's, and those of other libraries in host or device memory (`_foreign`). An array that
already fits is used as it lies, with a row stride; any other is copied once, on a device by
way of the host. Whoever calls keeps the returned array alive until the library is done.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _abi
from ._device import DeviceArray, put
from ._foreign import as_array, host_pointer

# In host memory or on a device; what is read of it here, both have.
Array = NDArray[Any]

_byte_of: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer
_address_of = ctypes.addressof

FLOATS: dict[Any, int] = {
    np.dtype(np.float32): _abi.SSL_DTYPE_FLOAT32,
    np.dtype(np.float16): _abi.SSL_DTYPE_FLOAT16,
    np.dtype(np.float64): _abi.SSL_DTYPE_FLOAT64,
}

LABELS: dict[Any, int] = {
    np.dtype(np.int64): _abi.SSL_LABELS_INT64,
    np.dtype(np.int32): _abi.SSL_LABELS_INT32,
}


def rows(name: str, value: ArrayLike) -> Array:
    """A matrix of floats, [n, d] with d >= 1, of a dtype in `FLOATS`.

    Rows may lie apart (a slice of columns, every second row); a matrix whose elements
    do not follow one another in a row, or whose rows overlap or run backwards, is
    copied. Raises TypeError (dtype) and ValueError (shape).
    """
    array: Any = as_array(value)
    if array.dtype not in FLOATS:
        array = _other_float(name, array)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; a matrix is needed")
    if array.shape[1] < 1:
        raise ValueError(f"{name} has shape {array.shape}; rows need at least one element")
    flags = array.flags
    if not flags.c_contiguous and flags.aligned:
        stride, rest = divmod(array.strides[0], array.itemsize)
        in_row = array.strides[1] == array.itemsize or array.shape[1] == 1
        if in_row and rest == 0 and stride >= array.shape[1]:
            return array  # type: ignore[no-any-return]
    return _contiguous(array)


def row_stride(array: Array) -> int:
    """Elements from row to row of what `rows` returned; 0 where there is no gap to step over."""
    return 0 if array.flags.c_contiguous else array.strides[0] // array.itemsize


def floats(name: str, value: ArrayLike, length: int) -> Array:
    """A contiguous vector of `length` floats, of a dtype in `FLOATS`."""
    array: Any = as_array(value)
    if array.dtype not in FLOATS:
        array = _other_float(name, array)
    if array.shape != (length,):
        raise ValueError(f"{name} has shape {array.shape}; ({length},) is needed")
    return _contiguous(array)


def cast_floats(name: str, value: ArrayLike, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Real numbers of any dtype as a contiguous array of `dtype` and exactly `shape`."""
    array: Any = as_array(value)
    if array.dtype.kind not in "fiu" and not is_bfloat16(array.dtype):
        raise TypeError(f"{name} has dtype {array.dtype}; real numbers are needed")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; {shape} is needed")
    return _contiguous(array if array.dtype == dtype else _on_host(lambda held: held.astype(dtype), array))


def integers(name: str, value: ArrayLike) -> Array:
    """Integers as a contiguous int64 or int32 array: narrow dtypes are widened, and
    unsigned ones must fit int64."""
    array: Any = as_array(value)
    if array.dtype not in LABELS:
        array = _on_host(lambda held: _other_integer(name, held), array)
    return _contiguous(array)


def wide_integers(name: str, value: ArrayLike) -> Array:
    """`integers` as int64."""
    array = integers(name, value)
    return array if array.dtype == np.int64 else _on_host(lambda held: held.astype(np.int64), array)  # type: ignore[no-any-return]


def labels(name: str, value: ArrayLike, num_true: int) -> Array:
    """[N, num_true] integers, int32 or int64; [N] is taken as [N, 1] if num_true is 1."""
    array = integers(name, value)
    if array.ndim == 1 and num_true == 1:
        return array.reshape(-1, 1)
    if array.ndim != 2 or array.shape[1] != num_true:
        raise ValueError(
            f"{name} has shape {array.shape}; num_true = {num_true} columns are needed, or a vector if num_true is 1"
        )
    return array


def integer(name: str, value: SupportsIndex, least: int = 1, most: int = 2**63 - 1) -> int:
    """A Python int within bounds. Raises TypeError and ValueError."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} = {value!r} is not an integer") from None
    if not least <= number <= most:
        bound = f"less than {least}" if number < least else f"greater than {most}"
        raise ValueError(f"{name} = {number} is {bound}")
    return number


def address(array: Array | None) -> int:
    """Where the first element lies; 0, which is NULL, for None."""
    if array is None:
        return 0
    try:
        # The fastest way there is, but only for arrays of NumPy's own dtypes that are
        # writable, contiguous and not empty.
        return _address_of(_byte_of(array))
    except (TypeError, ValueError, BufferError):
        return array.pointer if isinstance(array, DeviceArray) else host_pointer(array)


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether this is the dtype that ``ml_dtypes`` registers.

    Told by its name, so that ml_dtypes is needed only by those who use bfloat16.
    """
    return dtype.name == "bfloat16" and dtype.itemsize == 2


def host(array: Array) -> Array:
    """An array that is or was on a device, as NumPy's."""
    return array.numpy() if isinstance(array, DeviceArray) else array


def _on_host(change: Callable[[Array], Array], array: Any) -> Any:
    """What `change` makes of a NumPy array, where `array` is."""
    if isinstance(array, DeviceArray):
        return put(change(array.numpy()), array.device)
    return change(array)


def _contiguous(array: Any) -> Array:
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array  # type: ignore[no-any-return]
    return _on_host(lambda held: np.array(held, order="C"), array)  # type: ignore[no-any-return]


def _other_float(name: str, array: Array) -> Array:
    if is_bfloat16(array.dtype):
        FLOATS[array.dtype] = _abi.SSL_DTYPE_BFLOAT16
        return array
    native = array.dtype.newbyteorder("=")
    if native in FLOATS:
        return _on_host(lambda held: held.astype(native), array)  # type: ignore[no-any-return]
    raise TypeError(f"{name} has dtype {array.dtype}; float32, float16, bfloat16 (of ml_dtypes) or float64 is needed")


def _other_integer(name: str, array: Array) -> Array:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "iu":
        # NumPy makes an empty list float64; there is nothing in it to misread.
        if array.size == 0 and array.dtype == np.float64:
            return array.astype(np.int64)
        raise TypeError(f"{name} has dtype {array.dtype}; integers are needed")
    if kind == "u" and size == 8:
        beyond = np.flatnonzero(array > np.iinfo(np.int64).max)
        if beyond.size:
            where = tuple(int(i) for i in np.unravel_index(beyond[0], array.shape))
            raise ValueError(f"{name}[{', '.join(map(str, where))}] = {array[where]} does not fit int64")
    wide = size == 8 or (kind == "u" and size == 4)
    return array.astype(np.int64 if wide else np.int32)
