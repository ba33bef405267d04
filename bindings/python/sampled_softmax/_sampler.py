"""The sampler as an object: a distribution over classes that candidates are drawn from."""

from __future__ import annotations

import itertools
import os
import re
import weakref
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _abi
from ._arrays import LABELS, Array, address, host, integer, integers, wide_integers
from ._call import frame
from ._errors import SampledSoftmaxError
from ._handle import CPU, Config, Engine, Handle
from ._seed import MOST, Steps, new_seed
from ._unigrams import Unigrams, unigram_options

SAMPLERS = {
    "uniform": _abi.SSL_SAMPLER_UNIFORM,
    "log_uniform": _abi.SSL_SAMPLER_LOG_UNIFORM,
    "fixed_unigram": _abi.SSL_SAMPLER_FIXED_UNIGRAM,
    "learned_unigram": _abi.SSL_SAMPLER_LEARNED_UNIGRAM,
    "all": _abi.SSL_SAMPLER_ALL,
}
COUNTS = {"tf": _abi.SSL_COUNTS_TF, "exact": _abi.SSL_COUNTS_EXACT}
GENERATORS = {"xoshiro": _abi.SSL_GENERATOR_XOSHIRO, "philox": _abi.SSL_GENERATOR_PHILOX}

FLOAT32: np.dtype[np.floating] = np.dtype(np.float32)

# Compiled graphs of the frameworks hold numbers, not Python objects.
_keys = itertools.count()
_by_key: weakref.WeakValueDictionary[int, Sampler] = weakref.WeakValueDictionary()


class SampledValues(NamedTuple):
    """Sampled classes and expected counts, in TensorFlow's order."""

    sampled_candidates: NDArray[np.int64]
    """[num_sampled], ascending."""
    true_expected_count: NDArray[np.float32]
    """[N, num_true]: how often each true class was to be expected in the sample."""
    sampled_expected_count: NDArray[np.float32]
    """[num_sampled]: the same for the sampled classes."""


class Sampler:
    """Draws candidates; to be used alone or as ``sampler=`` of a loss.

    Args:
        name: ``"uniform"``, ``"log_uniform"``, ``"fixed_unigram"``,
            ``"learned_unigram"`` or ``"all"``.
        range_max: classes are 0 .. range_max - 1.
        num_sampled: candidates of a draw; at most `range_max` if `unique`, exactly
            that for ``"all"``.
        unique: without replacement.
        counts: ``"tf"``, TensorFlow's expected count, or ``"exact"``, the inclusion
            probability where a closed form exists (uniform: S / C).
        seed, rank: with the step, all that decides a draw (and the counts learned so
            far, if the sampler learns). `rank` tells apart the workers of a
            data-parallel run. A seed of None is taken from the system's entropy.
        vocab_file, distortion, num_reserved_ids, num_shards, shard, unigrams: of
            ``"fixed_unigram"``, as in `fixed_unigram_candidate_sampler`.
        generator: ``"xoshiro"``, whose draws the host makes, or ``"philox"``, with which a
            CUDA device draws for itself what the CPU would draw: for ``"uniform"`` and
            ``"log_uniform"``, without exclusions (no `avoid`, no exclusion of labels), and with
            as many distinct classes as drawing until they have come is good for (uniform:
            at most 3/4 of range_max, or all).

    Attributes:
        step: the number of the next draw; set it to go on where an earlier run ended.

    Raises ValueError, TypeError, and `SampledSoftmaxError` for what the library refuses.
    May be used by several threads at once.
    """

    def __init__(
        self,
        name: str,
        range_max: SupportsIndex,
        num_sampled: SupportsIndex,
        unique: bool = True,
        counts: str = "tf",
        seed: SupportsIndex | None = 0,
        rank: SupportsIndex = 0,
        *,
        vocab_file: str | os.PathLike[str] = "",
        distortion: float = 1.0,
        num_reserved_ids: SupportsIndex = 0,
        num_shards: SupportsIndex = 1,
        shard: SupportsIndex = 0,
        unigrams: ArrayLike = (),
        generator: str = "xoshiro",
    ) -> None:
        if name not in SAMPLERS:
            raise ValueError(f"sampler = {name!r} is none of {', '.join(map(repr, SAMPLERS))}")
        if counts not in COUNTS:
            raise ValueError(f"counts = {counts!r} is neither 'tf' nor 'exact'")
        if generator not in GENERATORS:
            raise ValueError(f"generator = {generator!r} is neither 'xoshiro' nor 'philox'")
        options = unigram_options(vocab_file, distortion, num_reserved_ids, num_shards, shard, unigrams)
        if name != "fixed_unigram" and options != Unigrams():
            raise ValueError(f"sampler = {name!r}: only 'fixed_unigram' takes unigrams and their options")
        self.name = name
        self._steps = Steps()
        self._config = Config(
            num_classes=integer("range_max", range_max),
            num_sampled=integer("num_sampled", num_sampled),
            sampler=SAMPLERS[name],
            sampling=_abi.SSL_SAMPLING_UNIQUE if unique else _abi.SSL_SAMPLING_REPLACEMENT,
            counts=COUNTS[counts],
            seed=new_seed() if seed is None else integer("seed", seed, 0, MOST),
            rank=integer("rank", rank, 0, MOST),
            num_threads=1,
            unigrams=options if name == "fixed_unigram" else None,
            generator=GENERATORS[generator],
        )
        self._handles = {CPU: Handle(self._config)}
        self._register()

    @property
    def range_max(self) -> int:
        """Number of classes."""
        return self._config.num_classes

    @property
    def num_sampled(self) -> int:
        """Candidates of a draw."""
        return self._config.num_sampled

    @property
    def seed(self) -> int:
        """The seed, also where it came from the system's entropy."""
        return self._config.seed

    @property
    def step(self) -> int:
        """The number of the next draw."""
        return self._steps.next

    @step.setter
    def step(self, step: SupportsIndex) -> None:
        self._steps.next = step

    @property
    def learned_counts(self) -> NDArray[np.int64]:
        """[range_max] int64: what a learned unigram sampler has counted so far, from 1
        for each class. Keep a copy of it and assign it later to go on from there."""
        self._must_learn()
        counts = np.empty(self.range_max, dtype=np.int64)
        with frame() as call:
            call.set_candidates(
                _abi.SSL_CANDIDATES_DRAW, _abi.SSL_DTYPE_FLOAT32, 0, 0, 0, learned_counts=address(counts)
            )
            (handle,) = self._handles.values()
            call.sample(handle, with_batch=False)
        return counts

    @learned_counts.setter
    def learned_counts(self, counts: ArrayLike) -> None:
        self._must_learn()
        array = host(wide_integers("learned_counts", counts))
        if array.shape != (self.range_max,):
            raise ValueError(f"learned_counts has shape {array.shape}; ({self.range_max},) is needed")
        ((engine, handle),) = self._handles.items()
        self._handles = {engine: Handle(handle.config, array)}

    def sample(
        self,
        true_classes: ArrayLike | None = None,
        step: SupportsIndex | None = None,
        avoid: ArrayLike | None = None,
    ) -> SampledValues:
        """Draws once.

        Args:
            true_classes: [N, T] integers (or [N]) whose expected counts are wanted; a
                learned unigram sampler counts them after the draw. None: no labels,
                and a true_expected_count of shape [0, 1].
            step: which draw; None takes `self.step` and advances it.
            avoid: ids that must not be drawn, of any shape and order. If fewer than
                num_sampled classes remain, that is an error.
        """
        labels = np.empty((0, 1), np.int64) if true_classes is None else integers("true_classes", true_classes)
        if labels.ndim == 1:
            labels = labels.reshape(-1, 1)
        if labels.ndim != 2:
            raise ValueError(f"true_classes has shape {labels.shape}; [N, T] or [N] is needed")
        return SampledValues(*self.draw("true_classes", labels, step, avoid=avoid))

    def draw(
        self,
        name: str,
        labels: Array,
        step: SupportsIndex | None,
        *,
        avoid: ArrayLike | None = None,
        dtype: np.dtype[np.floating] = FLOAT32,
        ignore_index: int | None = None,
    ) -> tuple[NDArray[np.int64], Array, Array]:
        """`sample` of checked labels called `name`, with counts of `dtype`."""
        number = self._steps.take() if step is None else integer("step", step, 0, MOST)
        return draw(self.handle_on(CPU), name, labels, number, avoid=avoid, dtype=dtype, ignore_index=ignore_index)

    def take_step(self) -> int:
        """Returns `step` and advances it."""
        return self._steps.take()

    def handle_on(self, engine: Engine) -> Handle:
        """The handle, of num_true = 1, that draws where the labels are. What a learned
        unigram sampler has counted moves with it from engine to engine."""
        handle = self._handles.get(engine)
        if handle is None:
            config = self._config._replace(backend=engine.backend, device=engine.device)
            learns = self.name == "learned_unigram"
            handle = Handle(config, self.learned_counts if learns else None)
            self._handles = {**({} if learns else self._handles), engine: handle}
        return handle

    def _register(self) -> None:
        self.key = next(_keys)
        _by_key[self.key] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy counts its own steps, so it is another sampler.
        self.__dict__.update(state)
        self._register()

    def _must_learn(self) -> None:
        if self.name != "learned_unigram":
            raise ValueError(f"sampler = {self.name!r}: only 'learned_unigram' has learned counts")


def sampler_of(key: int) -> Sampler:
    """The sampler whose ``key`` this is. Raises RuntimeError if it is gone."""
    sampler = _by_key.get(key)
    if sampler is None:
        raise RuntimeError(f"the Sampler of key {key} no longer exists in this process; keep a reference to it")
    return sampler


def draw(
    handle: Handle,
    name: str,
    labels: Array,
    step: int,
    *,
    avoid: ArrayLike | None = None,
    dtype: np.dtype[np.floating] = FLOAT32,
    ignore_index: int | None = None,
) -> tuple[NDArray[np.int64], Array, Array]:
    """Ids [S], true counts of the labels' shape, sampled counts [S], by a handle of
    num_true = 1: to it each label is a row, since no count depends on a row's others.

    `name` is what the labels are called in a message.
    """
    labels = host(labels)
    ids = np.empty(handle.config.num_sampled, dtype=np.int64)
    sampled = np.empty(ids.size, dtype=dtype)
    true = np.empty(labels.shape, dtype=dtype)
    avoided = None if avoid is None else host(wide_integers("avoid", avoid))
    with frame() as call:
        call.set_candidates(
            _abi.SSL_CANDIDATES_DRAW,
            _abi.SSL_DTYPE_FLOAT64 if dtype == np.float64 else _abi.SSL_DTYPE_FLOAT32,
            address(ids),
            address(sampled),
            address(true),
            step=step,
            avoid=address(avoided),
            num_avoid=0 if avoided is None else avoided.size,
        )
        call.set_labels(labels.size, LABELS[labels.dtype], address(labels), ignore_index)
        try:
            call.sample(handle, with_batch=True)
        except SampledSoftmaxError as error:
            raise at_its_place(error, name, labels.shape[1]) from None
    return ids, true, sampled


def at_its_place(error: SampledSoftmaxError, name: str, num_true: int) -> SampledSoftmaxError:
    """The error with a label's place in the caller's array; to the library it was flat."""
    found = re.match(r"labels\[(\d+)\]", error.message)
    if found is None:
        return error
    row, column = divmod(int(found[1]), num_true)
    place = f"{name}[{row}]" if num_true == 1 else f"{name}[{row}, {column}]"
    return type(error)(error.status, place + error.message[found.end() :])
