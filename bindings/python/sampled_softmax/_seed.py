"""Seeds and steps: what decides a draw, given by the caller or by this process."""

from __future__ import annotations

import itertools
import os
import threading
from typing import SupportsIndex

from ._arrays import integer

MOST = 2**64 - 1

# One seed for the process and one step for each unseeded draw, rather than a seed for
# each, because a handle belongs to a seed and would have to be made anew every time.
_PROCESS_SEED = int.from_bytes(os.urandom(8), "little")
_unseeded_steps = itertools.count()

# One for all objects that count steps, so that they can be copied and pickled.
_lock = threading.Lock()


def _after_fork_in_child() -> None:
    """The child leaves its parent's sequence of unseeded draws, and does not inherit a
    lock that a thread it does not have may hold."""
    global _unseeded_steps, _lock
    _unseeded_steps = itertools.count(int.from_bytes(os.urandom(6), "little"))
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def lock() -> threading.Lock:
    """To be held while a number is taken and the next one set."""
    return _lock


class Steps:
    """The numbers of an object's draws, one after another, from any thread."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    @property
    def next(self) -> int:
        """The number that `take` will return."""
        return self._next

    @next.setter
    def next(self, step: SupportsIndex) -> None:
        self._next = integer("step", step, 0, MOST)

    def take(self) -> int:
        """Returns a number and goes on to the next."""
        with lock():
            step = self._next
            self._next = step + 1
        return step


def seed_and_step(seed: SupportsIndex | None, step: SupportsIndex) -> tuple[int, int]:
    """What draws: (seed, step) as given, or what no call of this process had before.

    Raises TypeError and ValueError for what is no unsigned 64-bit integer, and
    ValueError for a step without a seed, which would look reproducible and not be.
    """
    number = integer("step", step, 0, MOST)
    if seed is not None:
        return integer("seed", seed, 0, MOST), number
    no_step_without_seed(number)
    return _PROCESS_SEED, next(_unseeded_steps)


def no_step_without_seed(step: SupportsIndex) -> None:
    """Raises ValueError unless the step is the default."""
    if integer("step", step, 0, MOST) != 0:
        raise ValueError(f"step = {step}: a step picks a draw of a seed, and seed is None")


def new_seed() -> int:
    """A seed from the system's entropy."""
    return int.from_bytes(os.urandom(8), "little")
