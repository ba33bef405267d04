"""TensorFlow's candidate samplers under their own names, with this package's draws.

The arguments and results are those of ``tf.random.uniform_candidate_sampler`` and the
others; what differs is that

* the true classes' expected counts are right for every class, and a label outside the
  range is an error;
* with a `seed`, a draw is a function of (seed, step, rank) alone;
* ids come back in ascending order, and on a GPU they are drawn for the GPU.

`step` and `rank` are those of `sampled_softmax_loss`.
"""

from __future__ import annotations

import os
from typing import Any, SupportsIndex

import tensorflow as tf
from numpy.typing import ArrayLike

from .._arrays import integer
from .._seed import MOST
from .._unigrams import Unigrams, unigram_options
from ._arguments import labels_of
from ._sampling import Draw, SampledValues, draw, seed_of


@tf.autograph.experimental.do_not_convert
def uniform_candidate_sampler(
    true_classes: Any,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    name: str | None = None,
    *,
    step: Any = None,
    rank: SupportsIndex = 0,
) -> SampledValues:
    """Draws each class with the same probability, 1 / range_max.

    Args:
        true_classes: [N, num_true] integers in [0, range_max); [N] if num_true is 1.
        num_true: true classes a row, at least 1.
        num_sampled: classes to draw; at most range_max if `unique`.
        unique: draw without replacement.
        range_max: number of classes.
        seed, step, rank: as in `sampled_softmax_loss`.

    Returns:
        `SampledValues`: ids [num_sampled] int64, expected counts [N, num_true] and
        [num_sampled] float32.

    Raises ValueError and TypeError for arguments that cannot be meant, and
    tf.errors.InvalidArgumentError for labels out of range.
    """
    return _sample("uniform", true_classes, num_true, num_sampled, unique, range_max, seed, name, step, rank)


@tf.autograph.experimental.do_not_convert
def log_uniform_candidate_sampler(
    true_classes: Any,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    name: str | None = None,
    *,
    step: Any = None,
    rank: SupportsIndex = 0,
) -> SampledValues:
    """Draws class k with probability ln((k + 2) / (k + 1)) / ln(range_max + 1): Zipf's
    law for classes numbered from the most frequent to the least. Arguments, results and
    errors as `uniform_candidate_sampler`."""
    return _sample("log_uniform", true_classes, num_true, num_sampled, unique, range_max, seed, name, step, rank)


@tf.autograph.experimental.do_not_convert
def learned_unigram_candidate_sampler(
    true_classes: Any,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    name: str | None = None,
    *,
    step: Any = None,
    rank: SupportsIndex = 0,
) -> SampledValues:
    """Draws class k with probability proportional to 1 + how often it was a true class.

    The counts are this process's, one set for each combination of the integer
    arguments, `unique`, `seed` and `rank`, kept to its end; the true classes of a call
    are counted after its draw. To save and restore the counts, give the loss a
    ``sampled_softmax.Sampler("learned_unigram", ...)`` instead. Arguments, results and
    errors as `uniform_candidate_sampler`.
    """
    return _sample("learned_unigram", true_classes, num_true, num_sampled, unique, range_max, seed, name, step, rank)


@tf.autograph.experimental.do_not_convert
def fixed_unigram_candidate_sampler(
    true_classes: Any,
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
    name: str | None = None,
    *,
    step: Any = None,
    rank: SupportsIndex = 0,
) -> SampledValues:
    """Draws class k with probability proportional to unigrams[k] ** distortion.

    Args:
        vocab_file: a text file with one class a line and its weight in the last
            comma-separated field; exclusive with `unigrams`. Read once.
        distortion: the exponent; 0 makes the sampler uniform.
        num_reserved_ids: classes put before those with weights, with probability 0;
            one of them as a true class is an error, since its expected count is 0.
        num_shards, shard: draw from the classes k with k % num_shards == shard.
        unigrams: one weight for each class that is not reserved, finite, >= 0. They
            become part of the op, so in a loop of eager calls they cost time each call.

    Other arguments, results and errors as `uniform_candidate_sampler`;
    tf.errors.NotFoundError if the file cannot be read.
    """
    options = unigram_options(vocab_file, distortion, num_reserved_ids, num_shards, shard, unigrams, needed=True)
    return _sample(
        "fixed_unigram", true_classes, num_true, num_sampled, unique, range_max, seed, name, step, rank, options
    )


@tf.autograph.experimental.do_not_convert
def all_candidate_sampler(
    true_classes: Any,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    seed: SupportsIndex | None = None,
    name: str | None = None,
) -> SampledValues:
    """Every class 0 .. num_sampled - 1 once, with expected count 1: the full softmax.

    There is nothing random in it: `unique` and `seed` are there for the sake of the
    other samplers' signature. Arguments, results and errors as
    `uniform_candidate_sampler`.
    """
    return _sample("all", true_classes, num_true, num_sampled, True, num_sampled, 0, name, 0, 0)


def _sample(
    sampler: str,
    true_classes: Any,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None,
    name: str | None,
    step: Any,
    rank: SupportsIndex,
    unigrams: Unigrams = Unigrams(),  # noqa: B008 (immutable)
) -> SampledValues:
    who = Draw(
        sampler,
        integer("num_sampled", num_sampled),
        integer("range_max", range_max),
        seed_of(seed),
        step,
        integer("rank", rank, 0, MOST),
        bool(unique),
        unigrams=unigrams,
    )
    with tf.name_scope(name or f"{sampler}_candidate_sampler"):
        labels = labels_of("true_classes", true_classes, integer("num_true", num_true))
        return draw(who, labels, name="true_classes")
