"""A status of the library as a Python exception of the kind that NumPy users expect."""

from __future__ import annotations

import ctypes

from . import _abi
from ._library import LIBRARY


class SampledSoftmaxError(Exception):
    """The library refused or failed a call.

    Attributes:
        status: the ``SSL_STATUS_*`` number; ``status // 1000`` is its category
            (1 bad argument, 2 unsupported, 3 resource, 4 device, 9 internal).
        message: the library's own words, naming the argument and the numbers.

    What is raised is also a built-in exception where one fits: ValueError for bad
    arguments (IndexError too for labels out of range), TypeError for bad dtypes,
    MemoryError, OSError for unreadable files, and RuntimeError for everything else.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} [status {self.status}: {status_string(self.status)}]"

    def __reduce__(self) -> tuple[type[SampledSoftmaxError], tuple[int, str]]:
        return type(self), (self.status, self.message)


class ArgumentError(SampledSoftmaxError, ValueError):
    """An argument's value, shape or range."""


class LabelRangeError(ArgumentError, IndexError):
    """A label or candidate outside the classes; IndexError is what PyTorch raises."""


class DtypeError(SampledSoftmaxError, TypeError):
    """An argument's dtype, or a combination of dtypes."""


class OutOfMemoryError(SampledSoftmaxError, MemoryError):
    """Host or device memory ran out."""


class FileError(SampledSoftmaxError, OSError):
    """A file could not be read."""


class EngineError(SampledSoftmaxError, RuntimeError):
    """A backend that is not there, a device that failed, a defect of the library."""


_BY_STATUS: dict[int, type[SampledSoftmaxError]] = {
    _abi.SSL_STATUS_LABEL_RANGE: LabelRangeError,
    _abi.SSL_STATUS_DTYPE: DtypeError,
    _abi.SSL_STATUS_HOST_MEMORY: OutOfMemoryError,
    _abi.SSL_STATUS_DEVICE_MEMORY: OutOfMemoryError,
    _abi.SSL_STATUS_FILE: FileError,
}


def status_string(status: int) -> str:
    """A status in words, also one that the library does not know."""
    return str(LIBRARY.ssl_status_string(status), "utf-8")


def error_of(status: int, message: str | None = None) -> SampledSoftmaxError:
    """The exception for a status; its message is that of the call on this thread that
    just returned it, unless one is given."""
    fallback = ArgumentError if status // 1000 == 1 else EngineError
    return _BY_STATUS.get(status, fallback)(status, _last_message() if message is None else message)


def check(status: int) -> None:
    """Raises unless `status` is success."""
    if status:
        raise error_of(status)


def _last_message() -> str:
    size = LIBRARY.ssl_last_error(None, 0) + 1
    buffer = ctypes.create_string_buffer(size)
    LIBRARY.ssl_last_error(buffer, size)
    return buffer.value.decode()
