"""TensorFlow's candidate samplers under their own names, and its accidental hits.

``tf.random.uniform_candidate_sampler`` and the others, with the same arguments and the
same three results. Three things differ, each on purpose:

* the true classes' expected counts are right for every class, and a label outside the
  range is an error everywhere;
* with a `seed`, a draw is a function of (seed, step) alone, so a run can be resumed;
  without one, every call differs;
* ids come back in ascending order.

All take ``step=0``, which draw of the seed to make, and ``device="auto"``; candidates
are drawn on the host whatever the device.
"""

from __future__ import annotations

import os
from typing import NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _abi
from ._arrays import Array, host, integer, integers, labels
from ._handle import Config, cache, engine_of
from ._sampler import SAMPLERS, SampledValues, Sampler, draw
from ._seed import seed_and_step
from ._unigrams import Unigrams, unigram_options

# Learned samplers are never evicted: their counts are not to be had again.
_learned: dict[tuple[int, int, bool, int | None, int], Sampler] = {}


class AccidentalHits(NamedTuple):
    """Where a sampled class is one of a row's true classes, in TensorFlow's order."""

    indices: NDArray[np.int32]
    """[num_hits]: the row."""
    ids: NDArray[np.int64]
    """[num_hits]: the position in sampled_candidates."""
    weights: NDArray[np.float32]
    """[num_hits]: -FLT_MAX each, to be added to the logit."""


def uniform_candidate_sampler(
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex = 0,
    device: str = "auto",
) -> SampledValues:
    """Draws each class with the same probability, 1 / range_max.

    Args:
        true_classes: [N, num_true] integers in [0, range_max); [N] if num_true is 1.
        num_true: true classes a row, at least 1.
        num_sampled: classes to draw; at most range_max if `unique`.
        unique: draw without replacement.
        range_max: number of classes.
        seed: 0 .. 2^64 - 1, or None for a new draw with every call.
        step: which draw of the seed.

    Returns:
        `SampledValues`: ids [num_sampled] int64, expected counts [N, num_true] and
        [num_sampled] float32.

    Raises ValueError and TypeError for arguments that cannot be meant, among them
    `SampledSoftmaxError` for what the library refuses.
    """
    return _draw("uniform", true_classes, num_true, num_sampled, unique, range_max, seed, step, device)


def log_uniform_candidate_sampler(
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex = 0,
    device: str = "auto",
) -> SampledValues:
    """Draws class k with probability ln((k + 2) / (k + 1)) / ln(range_max + 1).

    That is Zipf's law for classes numbered from the most frequent to the least; for
    classes in any other order it is the wrong sampler. Arguments, results and errors
    as `uniform_candidate_sampler`.
    """
    return _draw("log_uniform", true_classes, num_true, num_sampled, unique, range_max, seed, step, device)


def learned_unigram_candidate_sampler(
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex = 0,
    device: str = "auto",
) -> SampledValues:
    """Draws class k with probability proportional to 1 + how often it was a true class.

    The counts are this process's: one set for each (range_max, num_sampled, unique,
    seed) ever used here, kept to its end, as TensorFlow keeps one for each op. The true
    classes of a call are counted after its draw. To hold the counts yourself, or to
    save and restore them, use ``Sampler("learned_unigram", ...)``. Arguments, results
    and errors as `uniform_candidate_sampler`.
    """
    engine_of(device)
    true = labels("true_classes", true_classes, integer("num_true", num_true))
    _, number = seed_and_step(seed, step)
    sampler = learned_sampler(range_max, num_sampled, unique, seed)
    return SampledValues(*sampler.draw("true_classes", true, number))


def fixed_unigram_candidate_sampler(
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    vocab_file: str | os.PathLike[str] = "",
    distortion: float = 1.0,
    num_reserved_ids: SupportsIndex = 0,
    num_shards: SupportsIndex = 1,
    shard: SupportsIndex = 0,
    unigrams: ArrayLike = (),
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex = 0,
    device: str = "auto",
) -> SampledValues:
    """Draws class k with probability proportional to unigrams[k] ** distortion.

    Args:
        vocab_file: a text file with one class a line and its weight in the last
            comma-separated field; exclusive with `unigrams`.
        distortion: the exponent; 0 makes the sampler uniform.
        num_reserved_ids: classes put before those with weights, with probability 0.
            One of them as a true class is an error, since its expected count is 0
            (TensorFlow returns the 0, whose logarithm makes a loss NaN).
        num_shards, shard: draw from the classes k with k % num_shards == shard.
        unigrams: one weight for each class that is not reserved, finite, >= 0.

    The tables are kept for the next call with the same weights; comparing the weights
    takes time in proportion to their number, which ``Sampler("fixed_unigram", ...)``
    saves. Other arguments, results and errors as `uniform_candidate_sampler`; OSError
    if the file cannot be read.
    """
    options = unigram_options(vocab_file, distortion, num_reserved_ids, num_shards, shard, unigrams, needed=True)
    return _draw("fixed_unigram", true_classes, num_true, num_sampled, unique, range_max, seed, step, device, options)


def all_candidate_sampler(
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex = 0,
    device: str = "auto",
) -> SampledValues:
    """Every class 0 .. num_sampled - 1 once, with expected count 1: the full softmax.

    There is nothing random in it: `unique`, `seed` and `step` are there for the sake
    of the other samplers' signature. Arguments, results and errors as
    `uniform_candidate_sampler`.
    """
    return _draw("all", true_classes, num_true, num_sampled, True, num_sampled, 0, 0, device)


def compute_accidental_hits(
    true_classes: ArrayLike,
    sampled_candidates: ArrayLike,
    num_true: SupportsIndex,
) -> AccidentalHits:
    """Finds the sampled classes that are true classes of a row.

    Args:
        true_classes: [N, num_true] integers; [N] if num_true is 1.
        sampled_candidates: [S] integers, in any order.

    Returns:
        `AccidentalHits`, by rows, then by true classes in a row, then by position.
        Where a class was sampled more than once, every copy is a hit; TensorFlow
        reports only the last of them and so leaves the others in the softmax.
    """
    true = host(labels("true_classes", true_classes, integer("num_true", num_true)))
    sampled = host(integers("sampled_candidates", sampled_candidates))
    if sampled.ndim != 1:
        raise ValueError(f"sampled_candidates has shape {sampled.shape}; a vector is needed")
    order = np.argsort(sampled, kind="stable")
    ascending = sampled[order]
    first = np.searchsorted(ascending, true, side="left").ravel()
    copies = np.searchsorted(ascending, true, side="right").ravel() - first
    # Each true class has its copies at order[first], order[first + 1], ...
    copy = np.arange(copies.sum()) - np.repeat(np.cumsum(copies) - copies, copies)
    rows = np.repeat(np.arange(true.size) // true.shape[1], copies)
    positions = order[np.repeat(first, copies) + copy]
    weights = np.full(positions.shape, np.finfo(np.float32).min, dtype=np.float32)
    return AccidentalHits(rows.astype(np.int32), positions.astype(np.int64), weights)


def learned_sampler(
    range_max: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    seed: SupportsIndex | None,
    rank: SupportsIndex = 0,
) -> Sampler:
    """This process's learned unigram sampler of these arguments."""
    key = (
        integer("range_max", range_max),
        integer("num_sampled", num_sampled),
        bool(unique),
        None if seed is None else integer("seed", seed, 0, 2**64 - 1),
        integer("rank", rank, 0, 2**64 - 1),
    )
    sampler = _learned.get(key)
    if sampler is None:
        # setdefault is atomic: of two threads that get here, the first one's stays.
        sampler = _learned.setdefault(key, Sampler("learned_unigram", *key[:3], seed=key[3], rank=key[4]))
    return sampler


def _draw(
    name: str,
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None,
    step: SupportsIndex,
    device: str,
    unigrams: Unigrams | None = None,
) -> SampledValues:
    engine_of(device)
    true: Array = labels("true_classes", true_classes, integer("num_true", num_true))
    number, draw_of_it = seed_and_step(seed, step)
    config = Config(
        num_classes=integer("range_max", range_max),
        num_sampled=integer("num_sampled", num_sampled),
        sampler=SAMPLERS[name],
        sampling=_abi.SSL_SAMPLING_UNIQUE if unique else _abi.SSL_SAMPLING_REPLACEMENT,
        seed=number,
        num_threads=1,
        unigrams=unigrams,
    )
    return SampledValues(*draw(cache.get(config), "true_classes", true, draw_of_it))
