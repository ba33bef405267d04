"""The C structs and constants of ``sampled_softmax.h``, and the functions' types.

The header is the manual of every field. Zero is the default of each, which is what
ctypes fills in; only ``struct_size`` must be set, and `CStruct` does it.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from functools import partial
from typing import Any

# The version of the header that this file mirrors.
SSL_ABI_VERSION_MAJOR = 0
SSL_ABI_VERSION_MINOR = 2
SSL_ABI_VERSION_PATCH = 0

SSL_STATUS_OK = 0
SSL_STATUS_INVALID_VALUE = 1000
SSL_STATUS_NULL_POINTER = 1001
SSL_STATUS_STRUCT_SIZE = 1002
SSL_STATUS_SHAPE = 1003
SSL_STATUS_DTYPE = 1004
SSL_STATUS_ALIGNMENT = 1005
SSL_STATUS_WORKSPACE = 1006
SSL_STATUS_LABEL_RANGE = 1007
SSL_STATUS_EXPECTED_COUNT = 1008
SSL_STATUS_OVERLAP = 1009
SSL_STATUS_NO_BACKEND = 2001
SSL_STATUS_ARCHITECTURE = 2002
SSL_STATUS_GRAPH_CAPTURE = 2003
SSL_STATUS_HOST_MEMORY = 3001
SSL_STATUS_DEVICE_MEMORY = 3002
SSL_STATUS_FILE = 3003
SSL_STATUS_LAUNCH = 4001
SSL_STATUS_DEVICE_LOST = 4002
SSL_STATUS_PANIC = 9001

SSL_BACKEND_CPU = 0
SSL_BACKEND_CUDA = 1

SSL_DTYPE_FLOAT32 = 0
SSL_DTYPE_FLOAT16 = 1
SSL_DTYPE_BFLOAT16 = 2
SSL_DTYPE_FLOAT64 = 3

SSL_LABELS_INT64 = 0
SSL_LABELS_INT32 = 1

SSL_SAMPLER_UNIFORM = 0
SSL_SAMPLER_LOG_UNIFORM = 1
SSL_SAMPLER_FIXED_UNIGRAM = 2
SSL_SAMPLER_LEARNED_UNIGRAM = 3
SSL_SAMPLER_ALL = 4
SSL_SAMPLER_CALLER = 5

SSL_SAMPLING_UNIQUE = 0
SSL_SAMPLING_REPLACEMENT = 1

SSL_GENERATOR_XOSHIRO = 0
SSL_GENERATOR_PHILOX = 1

SSL_COUNTS_TF = 0
SSL_COUNTS_EXACT = 1

SSL_HITS_MASK = 0
SSL_HITS_KEEP = 1
SSL_HITS_EXCLUDE = 2

SSL_REDUCTION_NONE = 0
SSL_REDUCTION_MEAN = 1
SSL_REDUCTION_SUM = 2

SSL_PRECISION_DEFAULT = 0
SSL_PRECISION_TF32 = 1
SSL_PRECISION_IEEE = 2
SSL_PRECISION_BF16X3 = 3

SSL_CANDIDATES_DRAW = 0
SSL_CANDIDATES_GIVEN = 1

SSL_GRADIENTS_SPARSE = 0
SSL_GRADIENTS_DENSE = 1
SSL_GRADIENTS_UPDATE = 2

SSL_UPDATE_SGD = 0
SSL_UPDATE_ADAGRAD = 1
SSL_UPDATE_ROW_ADAGRAD = 2


class CStruct(ctypes.Structure):
    """A struct that knows its own size, as the library asks of every one."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(self), **fields)


def filler(target: CStruct) -> Callable[..., None]:
    """A function that sets every field behind ``struct_size``, in the header's order; pointers
    are addresses, and NULL is 0. It takes a third of the time that the fields one by one do."""
    # ctypes and struct have the same codes, but for the pointer that ctypes makes of bytes.
    codes = "".join(kind._type_ for _, kind in target._fields_).replace("z", "P")  # type: ignore[misc]
    return partial(struct.Struct(codes).pack_into, target, 0, ctypes.sizeof(target))


class ssl_config(CStruct):
    """What ``ssl_create`` makes."""

    _fields_ = [
        ("struct_size", c_uint32),
        ("backend", c_uint32),
        ("device", c_int32),
        ("num_threads", c_uint32),
        ("num_classes", c_int64),
        ("num_sampled", c_int64),
        ("num_true", c_int64),
        ("sampler", c_uint32),
        ("sampling", c_uint32),
        ("counts", c_uint32),
        ("hits", c_uint32),
        ("reduction", c_uint32),
        ("reserved", c_uint32),
        ("seed", c_uint64),
        ("rank", c_uint64),
        ("probability_floor", c_double),
        ("unigrams", c_void_p),
        ("num_unigrams", c_int64),
        ("vocab_file", c_char_p),
        ("distortion", c_double),
        ("has_distortion", c_uint32),
        ("shard", c_uint32),
        ("num_shards", c_uint32),
        ("precision", c_uint32),
        ("num_reserved_ids", c_int64),
        ("learned_counts", c_void_p),
        ("generator", c_uint32),
        ("reserved_too", c_uint32),
    ]


class ssl_batch(CStruct):
    """What a loss is computed of."""

    _fields_ = [
        ("struct_size", c_uint32),
        ("inputs_dtype", c_uint32),
        ("weights_dtype", c_uint32),
        ("biases_dtype", c_uint32),
        ("labels_dtype", c_uint32),
        ("has_ignore_index", c_uint32),
        ("num_rows", c_int64),
        ("dim", c_int64),
        ("inputs", c_void_p),
        ("inputs_stride", c_int64),
        ("weights", c_void_p),
        ("weights_stride", c_int64),
        ("biases", c_void_p),
        ("labels", c_void_p),
        ("ignore_index", c_int64),
        ("sample_weights", c_void_p),
    ]


class ssl_candidates(CStruct):
    """The sampled classes and how often each was to be expected."""

    _fields_ = [
        ("struct_size", c_uint32),
        ("source", c_uint32),
        ("counts_dtype", c_uint32),
        ("reserved", c_uint32),
        ("step", c_uint64),
        ("ids", c_void_p),
        ("sampled_expected_count", c_void_p),
        ("true_expected_count", c_void_p),
        ("avoid", c_void_p),
        ("num_avoid", c_int64),
        ("num_tries", c_void_p),
        ("learned_counts", c_void_p),
        ("step_pointer", c_void_p),
    ]


class ssl_loss(CStruct):
    """The loss and what backward needs of it."""

    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_void_p),
        ("log_sum_exp", c_void_p),
        ("device_status", c_void_p),
    ]


class ssl_gradients(CStruct):
    """The gradients and the upstream gradient."""

    _fields_ = [
        ("struct_size", c_uint32),
        ("layout", c_uint32),
        ("d_inputs_dtype", c_uint32),
        ("d_weights_dtype", c_uint32),
        ("d_biases_dtype", c_uint32),
        ("reserved", c_uint32),
        ("grad_output", c_void_p),
        ("d_inputs", c_void_p),
        ("d_inputs_stride", c_int64),
        ("d_weights", c_void_p),
        ("d_weights_stride", c_int64),
        ("d_biases", c_void_p),
        ("row_ids", c_void_p),
        ("num_rows", c_void_p),
        ("row_capacity", c_int64),
        ("update", c_void_p),
    ]


class ssl_update(CStruct):
    """A step of an optimizer, taken where the gradient is made."""

    _fields_ = [
        ("struct_size", c_uint32),
        ("rule", c_uint32),
        ("learning_rate", c_double),
        ("learning_rate_pointer", c_void_p),
        ("epsilon", c_double),
        ("weight_decay", c_double),
        ("weights", c_void_p),
        ("biases", c_void_p),
        ("weights_state", c_void_p),
        ("weights_state_stride", c_int64),
        ("biases_state", c_void_p),
    ]


STRUCTS = (ssl_config, ssl_batch, ssl_candidates, ssl_loss, ssl_gradients, ssl_update)

_HANDLE = c_void_p
_STREAM = c_void_p
_BATCH = POINTER(ssl_batch)
_CANDIDATES = POINTER(ssl_candidates)
_LOSS = POINTER(ssl_loss)
_GRADIENTS = POINTER(ssl_gradients)

# Every exported function: its argument types, then its result.
FUNCTIONS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "ssl_create": ((POINTER(ssl_config), POINTER(_HANDLE)), c_int32),
    "ssl_forward": ((_HANDLE, _BATCH, _CANDIDATES, _LOSS, c_void_p, c_size_t, _STREAM), c_int32),
    "ssl_backward": ((_HANDLE, _BATCH, _CANDIDATES, _LOSS, _GRADIENTS, c_void_p, c_size_t, _STREAM), c_int32),
    "ssl_forward_backward": (
        (_HANDLE, _BATCH, _CANDIDATES, _LOSS, _GRADIENTS, c_void_p, c_size_t, _STREAM),
        c_int32,
    ),
    "ssl_sample": ((_HANDLE, _BATCH, _CANDIDATES, _STREAM), c_int32),
    "ssl_workspace_size": ((_HANDLE, _BATCH, POINTER(c_size_t), POINTER(c_size_t)), c_int32),
    "ssl_destroy": ((_HANDLE,), c_int32),
    "ssl_version": ((), c_uint32),
    "ssl_status_string": ((c_int32,), c_char_p),
    "ssl_last_error": ((c_char_p, c_size_t), c_size_t),
    "ssl_backend_available": ((c_uint32,), c_int32),
}
