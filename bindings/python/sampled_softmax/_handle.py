"""Handles of the library, and a cache of them keyed by their configuration."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import threading
import weakref
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _abi
from ._arrays import address
from ._errors import check
from ._library import LIBRARY
from ._unigrams import Unigrams

# A handle of a loss owns a pool of threads, so few are kept.
CACHE_CAPACITY = 16
# Shapes whose workspace size a handle remembers.
_REMEMBERED_SHAPES = 256


class Config(NamedTuple):
    """``ssl_config`` by value: what a handle is, and its key in the cache."""

    num_classes: int
    num_sampled: int
    num_true: int = 1
    sampler: int = _abi.SSL_SAMPLER_UNIFORM
    sampling: int = _abi.SSL_SAMPLING_UNIQUE
    counts: int = _abi.SSL_COUNTS_TF
    hits: int = _abi.SSL_HITS_MASK
    reduction: int = _abi.SSL_REDUCTION_NONE
    seed: int = 0
    rank: int = 0
    probability_floor: float = 0.0
    backend: int = _abi.SSL_BACKEND_CPU
    device: int = 0
    num_threads: int = 0
    unigrams: Unigrams | None = None
    generator: int = _abi.SSL_GENERATOR_XOSHIRO


class Handle:
    """One ``ssl_handle``, destroyed when nothing refers to it any more.

    A call in progress refers to it, so dropping it from the cache is safe. At exit
    the process gives everything back at once: destroying a handle then could race
    with a daemon thread that is still inside a call.
    """

    __slots__ = ("__weakref__", "_finalizer", "_workspace_sizes", "config", "pointer")

    def __init__(self, config: Config, learned_counts: NDArray[np.int64] | None = None) -> None:
        pointer = ctypes.c_void_p()
        fields, alive = _fields(config)
        if learned_counts is not None:
            fields.learned_counts = address(learned_counts)
        check(LIBRARY.ssl_create(fields, pointer))
        del alive
        self.config = config
        self.pointer = pointer
        self._workspace_sizes: dict[tuple[int, ...], tuple[int, int]] = {}
        self._finalizer = weakref.finalize(self, LIBRARY.ssl_destroy, pointer)
        self._finalizer.atexit = False

    def workspace_sizes(self, batch: _abi.ssl_batch) -> tuple[int, int]:
        """Bytes that forward and backward need for this batch."""
        key = (batch.num_rows, batch.dim, batch.inputs_dtype, batch.weights_dtype, batch.biases_dtype)
        sizes = self._workspace_sizes.get(key)
        if sizes is None:
            forward, backward = ctypes.c_size_t(), ctypes.c_size_t()
            check(LIBRARY.ssl_workspace_size(self.pointer, batch, forward, backward))
            if len(self._workspace_sizes) >= _REMEMBERED_SHAPES:
                self._workspace_sizes.clear()
            sizes = self._workspace_sizes[key] = (forward.value, backward.value)
        return sizes


def _fields(config: Config) -> tuple[_abi.ssl_config, object]:
    """The C struct of a configuration, and what must live as long as it does."""
    fields = _abi.ssl_config(
        backend=config.backend,
        device=config.device,
        num_threads=config.num_threads,
        num_classes=config.num_classes,
        num_sampled=config.num_sampled,
        num_true=config.num_true,
        sampler=config.sampler,
        sampling=config.sampling,
        counts=config.counts,
        hits=config.hits,
        reduction=config.reduction,
        seed=config.seed,
        rank=config.rank,
        probability_floor=config.probability_floor,
        generator=config.generator,
    )
    unigrams = config.unigrams
    if unigrams is None:
        return fields, None
    weights = np.frombuffer(unigrams.weights, dtype=np.float64)
    if weights.size:
        fields.unigrams = address(weights)
        fields.num_unigrams = weights.size
    if unigrams.vocab_file:
        fields.vocab_file = os.fsencode(unigrams.vocab_file)
    fields.distortion = unigrams.distortion
    fields.has_distortion = 1
    fields.num_reserved_ids = unigrams.num_reserved_ids
    fields.num_shards = unigrams.num_shards
    fields.shard = unigrams.shard
    return fields, weights


class _Cache:
    """The most recently used handles."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._handles: OrderedDict[Config, Handle] = OrderedDict()

    def get(self, config: Config) -> Handle:
        with self._lock:
            handle = self._handles.get(config)
            if handle is not None:
                self._handles.move_to_end(config)
                return handle
        # Made outside the lock: tables of a large vocabulary take a while. Two threads
        # may both make one; the second finds the first's and drops its own.
        made = Handle(config)
        with self._lock:
            handle = self._handles.setdefault(config, made)
            self._handles.move_to_end(config)
            evicted = [self._handles.popitem(last=False)[1] for _ in range(len(self._handles) - self._capacity)]
        # Destroyed here, outside the lock, if no call is using it.
        del evicted
        return handle

    def __len__(self) -> int:
        return len(self._handles)

    def renew_lock(self) -> None:
        """A fork may have copied the lock while another thread held it."""
        self._lock = threading.Lock()


cache = _Cache(CACHE_CAPACITY)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=cache.renew_lock)


class Engine(NamedTuple):
    """Which engine computes, and on which device."""

    backend: int
    """``SSL_BACKEND_*``."""
    device: int = 0
    """The ordinal of a CUDA device; 0 on the CPU."""


CPU = Engine(_abi.SSL_BACKEND_CPU)

_DEVICE = re.compile(r"cuda(?::(\d{1,4}))?")


def engine_of(device: str) -> Engine | None:
    """The engine for ``device``: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.

    ``"auto"`` is what the environment's ``SAMPLED_SOFTMAX_DEVICE`` says; None, wherever the
    arrays are, if that says nothing. Raises ValueError for a name that is none, and
    `SampledSoftmaxError` where the library has no such engine or cannot use it here.
    """
    if device != "auto":
        return _engine(device, "device")
    named = os.environ.get("SAMPLED_SOFTMAX_DEVICE", "auto")
    return None if named in ("", "auto") else _engine(named, "SAMPLED_SOFTMAX_DEVICE")


@functools.cache
def _engine(name: str, origin: str) -> Engine:
    if name == "cpu":
        return CPU
    found = _DEVICE.fullmatch(name)
    if found is None:
        raise ValueError(f"{origin} = {name!r} is none of 'auto', 'cpu', 'cuda', 'cuda:<number>'")
    engine = Engine(_abi.SSL_BACKEND_CUDA, int(found[1] or 0))
    # The library knows best whether it can, and says why not.
    Handle(Config(num_classes=1, num_sampled=1, backend=engine.backend, device=engine.device))
    return engine
