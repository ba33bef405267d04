"""The C structs and scratch memory of one call, kept for the next.

Calls in a steady state allocate nothing here but their results. A frame belongs to
one call at a time; concurrent calls, and a call made by a signal handler in the
middle of another, take one each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from . import _abi
from ._arrays import address
from ._errors import check
from ._handle import Handle
from ._library import LIBRARY
from ._seed import MOST

# From a number of bytes to the address of a workspace.
Allocate = Callable[[int], int]

# Scratch before its first use: a call that needs none still passes a pointer.
_NOTHING: NDArray[np.uint8] = np.empty(1, dtype=np.uint8)


class Scratch:
    """Bytes that only ever grow."""

    __slots__ = ("_bytes", "address", "size")

    def __init__(self) -> None:
        self._drop()

    def _drop(self) -> None:
        self._bytes, self.address, self.size = _NOTHING, address(_NOTHING), 1

    def at_least(self, size: int) -> int:
        """The address of `size` bytes or more; earlier contents are lost on growth."""
        if size > self.size:
            # Dropped first, so that old and new need not fit in memory together.
            self._drop()
            grown = np.empty(size, dtype=np.uint8)
            self._bytes, self.address, self.size = grown, address(grown), size
        return self.address


class Frame:
    """Structs for one call, each with the function that fills it (`_abi.filler`). What an
    earlier call left in them is not to be relied upon."""

    __slots__ = (
        "_fill_candidates", "batch", "candidates", "fill_batch", "fill_gradients", "fill_loss", "fill_update",
        "gradients", "loss", "rows", "update", "workspace",
    )  # fmt: skip

    def __init__(self) -> None:
        self.batch = _abi.ssl_batch()
        self.candidates = _abi.ssl_candidates()
        self.loss = _abi.ssl_loss()
        self.gradients = _abi.ssl_gradients()
        self.update = _abi.ssl_update()
        self.fill_batch = _abi.filler(self.batch)
        self._fill_candidates = _abi.filler(self.candidates)
        self.fill_loss = _abi.filler(self.loss)
        self.fill_gradients = _abi.filler(self.gradients)
        self.fill_update = _abi.filler(self.update)
        self.rows = Scratch()
        self.workspace = Scratch()

    def __enter__(self) -> Frame:
        return self

    def __exit__(self, *_: object) -> None:
        _free.append(self)

    def set_labels(self, num_rows: int, labels_dtype: int, labels: int, ignore_index: int | None) -> None:
        """Fills `batch` for a call that draws and computes nothing."""
        self.fill_batch(
            0, 0, 0, labels_dtype, ignore_index is not None, num_rows, 0, 0, 0, 0, 0, 0, labels, ignore_index or 0, 0
        )

    def set_candidates(
        self,
        source: int,
        counts_dtype: int,
        ids: int,
        sampled_expected_count: int,
        true_expected_count: int,
        step: int = 0,
        avoid: int = 0,
        num_avoid: int = 0,
        learned_counts: int = 0,
    ) -> None:
        """Fills `candidates`; pointers are addresses, and the step is modulo 2^64."""
        self._fill_candidates(
            source, counts_dtype, 0, step & MOST, ids, sampled_expected_count, true_expected_count,
            avoid, num_avoid, 0, learned_counts, 0,
        )  # fmt: skip

    def log_sum_exp(self, num_rows: int, allocate: Allocate | None = None) -> int:
        """Room for what the library keeps of forward, [N] float64; on a device, memory that
        `allocate` keeps until the work on the stream is done."""
        return (allocate or self.rows.at_least)(8 * num_rows)

    def draw(
        self,
        num_sampled: int,
        num_rows: int,
        num_labels: int,
        counts_dtype: int,
        step: int,
        allocate: Allocate | None = None,
    ) -> int:
        """Fills `candidates` for a call that draws, with room for ids [S] and expected
        counts [S] and [N, T] that nobody asked to see; returns that of `log_sum_exp`.
        Elements are 8 bytes at most."""
        start = (allocate or self.rows.at_least)(8 * (num_rows + 2 * num_sampled + num_labels))
        ids = start + 8 * num_rows
        sampled = ids + 8 * num_sampled
        self.set_candidates(_abi.SSL_CANDIDATES_DRAW, counts_dtype, ids, sampled, sampled + 8 * num_sampled, step)
        return start

    def sample(self, handle: Handle, with_batch: bool, stream: int | None = None) -> None:
        """``ssl_sample``."""
        check(LIBRARY.ssl_sample(handle.pointer, self.batch if with_batch else None, self.candidates, stream))

    def forward(self, handle: Handle, stream: int | None = None, allocate: Allocate | None = None) -> None:
        """``ssl_forward``, its workspace from `allocate` on a device."""
        size = handle.workspace_sizes(self.batch)[0]
        workspace = (allocate or self.workspace.at_least)(size)
        check(LIBRARY.ssl_forward(handle.pointer, self.batch, self.candidates, self.loss, workspace, size, stream))

    def backward(self, handle: Handle, stream: int | None = None, allocate: Allocate | None = None) -> None:
        """``ssl_backward``, otherwise as `forward`."""
        self._gradients(LIBRARY.ssl_backward, handle, stream, allocate)

    def forward_backward(self, handle: Handle, stream: int | None = None, allocate: Allocate | None = None) -> None:
        """``ssl_forward_backward``, otherwise as `forward`."""
        self._gradients(LIBRARY.ssl_forward_backward, handle, stream, allocate)

    def _gradients(
        self, function: Callable[..., int], handle: Handle, stream: int | None, allocate: Allocate | None
    ) -> None:
        size = handle.workspace_sizes(self.batch)[1]
        workspace = (allocate or self.workspace.at_least)(size)
        check(function(handle.pointer, self.batch, self.candidates, self.loss, self.gradients, workspace, size, stream))


_free: list[Frame] = []


def frame() -> Frame:
    """A frame, to be used in a ``with`` statement."""
    # list.pop and list.append are atomic, which is all the locking this needs.
    try:
        return _free.pop()
    except IndexError:
        return Frame()
