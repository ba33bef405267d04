"""Device memory for NumPy callers, on the fake driver of tests/emu (or a real one).

Run with libcuda in LD_LIBRARY_PATH; `make test` does, with the fake one.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from conftest import absent
from sampled_softmax import _device, _driver
from sampled_softmax._arrays import row_stride, rows, wide_integers
from sampled_softmax._foreign import as_array

try:
    _driver._driver()
except ss.SampledSoftmaxError as error:
    absent(error.message)


def context() -> int | None:
    current = ctypes.c_void_p()
    assert _driver._driver().cuCtxGetCurrent(ctypes.byref(current)) == 0
    return current.value


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8])
@pytest.mark.parametrize("shape", [(3, 4), (5,), (), (0, 4)])
def test_an_array_comes_back_as_it_went(shape: tuple[int, ...], dtype: Any) -> None:
    array = (np.arange(np.prod(shape, dtype=int)) % 7).reshape(shape).astype(dtype)
    before = context()
    copy = _device.put(array, 0)
    assert (copy.shape, copy.dtype, copy.size, copy.nbytes) == (array.shape, array.dtype, array.size, array.nbytes)
    np.testing.assert_array_equal(copy.numpy(), array)
    np.testing.assert_array_equal(np.asarray(copy), array)
    assert context() == before


def test_zeros_and_first_rows_and_shapes() -> None:
    assert not _device.zeros((3, 2), np.float32, 0).numpy().any()
    array = np.arange(12.0).reshape(4, 3)
    copy = _device.put(array, 0)
    np.testing.assert_array_equal(copy[:2].numpy(), array[:2])
    np.testing.assert_array_equal(copy[1:].numpy(), array[1:])
    np.testing.assert_array_equal(copy.reshape(-1, 1).numpy(), array.reshape(-1, 1))
    with pytest.raises(TypeError, match=r"only \[m:n\]"):
        copy[::2]
    with pytest.raises(ValueError, match="cannot become"):
        copy.reshape(5, -1)


class Foreign:
    """Another library's array on the device: part of ours, by the array interface."""

    def __init__(self, owner: _device.DeviceArray, view: np.ndarray, base: np.ndarray, **changed: Any) -> None:
        self._owner = owner
        offset = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        self.__cuda_array_interface__ = {
            "version": 3, "shape": view.shape, "typestr": view.dtype.str, "strides": view.strides,
            "data": (owner.pointer + offset, False), "stream": None, **changed,
        }  # fmt: skip


VIEWS = {
    "whole": lambda a: a,
    "rows apart": lambda a: a[::2, 1:4],
    "transposed": lambda a: a.T,
    "backwards": lambda a: a[::-1],
}


@pytest.mark.parametrize("view", VIEWS)
def test_strided_arrays_of_another_library_are_read_where_they_lie(view: str) -> None:
    base = np.arange(30, dtype=np.float32).reshape(6, 5)
    part = VIEWS[view](base)
    array = as_array(Foreign(_device.put(base, 0), part, base))
    np.testing.assert_array_equal(array.numpy(), part)
    fitted = rows("inputs", array)
    in_place = view in ("whole", "rows apart")
    assert (fitted.pointer == array.pointer) == in_place
    assert row_stride(fitted) == (10 if view == "rows apart" else 0)
    np.testing.assert_array_equal(fitted.numpy(), part)


def test_integers_are_widened_on_the_device() -> None:
    narrow = _device.put(np.arange(5, dtype=np.int16), 0)
    wide = wide_integers("labels", narrow)
    assert isinstance(wide, ss.DeviceArray) and wide.dtype == np.int64
    np.testing.assert_array_equal(wide.numpy(), np.arange(5))


def test_a_producers_stream_is_waited_for_and_a_mask_is_refused() -> None:
    base = np.ones((2, 2), np.float32)
    owner = _device.put(base, 0)
    for stream in (None, 1, 2):
        np.testing.assert_array_equal(as_array(Foreign(owner, base, base, stream=stream)).numpy(), base)
    with pytest.raises(ss.SampledSoftmaxError, match="cuStreamSynchronize"):
        as_array(Foreign(owner, base, base, stream=0x123450))
    with pytest.raises(TypeError, match="mask"):
        as_array(Foreign(owner, base, base, mask=owner))


def test_our_array_is_one_of_theirs() -> None:
    copy = _device.put(np.arange(6, dtype=np.float32).reshape(2, 3), 0)
    interface = copy.__cuda_array_interface__
    assert interface["shape"] == (2, 3) and interface["typestr"] == "<f4" and interface["version"] == 3
    assert interface["data"] == (copy.pointer, False) and interface["strides"] is None


def test_a_device_that_is_not_there_and_memory_that_is_not_there() -> None:
    with pytest.raises(ss.SampledSoftmaxError, match="cuDeviceGet") as caught:
        _device.put(np.ones(2), 99)
    assert isinstance(caught.value, RuntimeError)
    with pytest.raises(MemoryError, match="cuMemAlloc"):
        _device.empty((1 << 60,), np.float32, 0)


def test_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = []
    free = _driver.free
    monkeypatch.setattr(_driver, "free", lambda device, address: (freed.append(address), free(device, address)))
    array = _device.put(np.ones(8), 0)
    pointer, part = array.pointer, array[:2]
    del array
    assert not freed
    del part
    assert freed == [pointer]
