"""Arrays of other libraries through DLPack and array interfaces, in host memory."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import sampled_softmax as ss
from problems import make_problem
from sampled_softmax._foreign import _DLTensor, _Versioned, as_array

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)

CODES = {"i": 0, "u": 1, "f": 2, "V": 4}


class Producer:
    """A library that hands an array over by DLPack: old (before 1.0) or versioned."""

    def __init__(self, array: np.ndarray, versioned: bool, **changed: Any) -> None:
        self.array = array
        self.dtype = f"producer.{array.dtype.name}"
        self._versioned = versioned
        steps = [step // array.itemsize for step in array.strides]
        self._shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self._strides = (ctypes.c_int64 * array.ndim)(*steps)
        kind = "V" if array.dtype.name == "bfloat16" else array.dtype.kind
        fields = {
            "data": array.ctypes.data, "device_type": 1, "ndim": array.ndim, "code": CODES[kind],
            "bits": 8 * array.itemsize, "lanes": 1, "shape": self._shape, "strides": self._strides, "byte_offset": 0,
        }  # fmt: skip
        self._tensor = _DLTensor(**{**fields, **changed})
        self._managed = _Versioned(major=1, minor=1, tensor=self._tensor)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **options: Any) -> Any:
        if not self._versioned:
            if options:
                raise TypeError("unexpected keyword")
            return _new_capsule(ctypes.addressof(self._tensor), b"dltensor", None)
        assert options == {"max_version": (1, 1)}
        return _new_capsule(ctypes.addressof(self._managed), b"dltensor_versioned", None)


@pytest.mark.parametrize("versioned", [False, True], ids=["old", "versioned"])
@pytest.mark.parametrize("layout", [lambda a: a, lambda a: a[::2], lambda a: a.T, lambda a: a[:, 1:3]])
def test_bfloat16_comes_through_dlpack_where_it_lies(layout: Any, versioned: bool) -> None:
    array = layout(np.arange(24).reshape(6, 4).astype(ml_dtypes.bfloat16))
    view = as_array(Producer(array, versioned))
    np.testing.assert_array_equal(view.view(np.int16), array.view(np.int16))
    assert view.dtype == array.dtype
    assert view.ctypes.data == array.ctypes.data and view.strides == array.strides


def test_dlpack_without_strides_is_contiguous_and_offsets_count() -> None:
    array = np.arange(12).astype(ml_dtypes.bfloat16)
    no_strides = ctypes.POINTER(ctypes.c_int64)()
    producer = Producer(array[:10].reshape(2, 5), True, strides=no_strides, byte_offset=4)
    np.testing.assert_array_equal(as_array(producer).astype(int), np.arange(2, 12).reshape(2, 5))


def test_a_view_keeps_its_producer_alive() -> None:
    freed = []
    destroy = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: freed.append(1))
    producer = Producer(np.ones((2, 2), ml_dtypes.bfloat16), False)
    address = ctypes.addressof(producer._tensor)
    producer.__class__ = type(
        "Owned",
        (Producer,),
        {"__dlpack__": lambda self: _new_capsule(address, b"dltensor", ctypes.cast(destroy, ctypes.c_void_p))},
    )
    view = as_array(producer)
    row = view[1:]
    del view
    gc.collect()
    assert not freed
    del row
    gc.collect()
    assert freed == [1]


@pytest.mark.parametrize(("changed", "message"), [({"code": 5}, "code 5"), ({"lanes": 4}, "4 lanes")])
def test_dtypes_that_are_no_real_numbers_are_refused(changed: dict[str, int], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        as_array(Producer(np.ones(4, ml_dtypes.bfloat16), True, **changed))


def test_other_devices_are_refused() -> None:
    class Elsewhere(Producer):
        def __dlpack_device__(self) -> tuple[int, int]:
            return 7, 2

    with pytest.raises(BufferError, match=r"\(7, 2\)"):
        as_array(Elsewhere(np.ones(4, np.float32), True))


def test_the_loss_takes_arrays_of_another_library() -> None:
    dtype = np.dtype(ml_dtypes.bfloat16)
    problem = make_problem(dtypes=(dtype, dtype, dtype))
    wanted = ss.value_and_grad(*problem.arrays, sampled_values=problem.sampled_values)
    weights, biases, labels, inputs, *sizes = problem.arrays
    loss, gradients = ss.value_and_grad(
        Producer(weights, True), Producer(biases, True), labels, Producer(inputs, False), *sizes,
        sampled_values=problem.sampled_values,
    )  # fmt: skip
    np.testing.assert_array_equal(loss, wanted[0])
    np.testing.assert_array_equal(gradients.weights.values, wanted[1].weights.values)
    assert gradients.inputs.dtype == dtype
