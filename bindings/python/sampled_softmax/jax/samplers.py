"""TensorFlow's candidate samplers under their own names, as functions of (seed, step).

As those of `sampled_softmax.samplers`, whose draws these are, bit for bit. They run
under ``jit``; `seed` and all sizes are fixed when a function is traced, `step` may be a
traced scalar. A label out of range, and an expected count of 0, are errors when the draw
runs: a ``jax.errors.JaxRuntimeError``, or a ValueError where JAX runs it at once.
"""

from __future__ import annotations

import functools
import os
from typing import SupportsIndex

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import _abi
from .._arrays import integer
from .._handle import Config, Unigrams
from .._sampler import SAMPLERS, unigram_options
from .._seed import MOST
from . import _operations, _shim
from ._arguments import classes, integers, labels, step_words
from ._calls import Program
from ._results import LearnedSampledValues, SampledValues
from ._words import from_words, to_words


def uniform_candidate_sampler(
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex | jax.Array = 0,
) -> SampledValues:
    """Draws each class with the same probability, 1 / range_max.

    Args:
        true_classes: [N, num_true] integers in [0, range_max); [N] if num_true is 1.
        num_true: true classes a row, at least 1.
        num_sampled: classes to draw; at most range_max if `unique`.
        unique: draw without replacement.
        range_max: number of classes.
        seed: 0 .. 2^64 - 1. It has a default for the sake of the other samplers'
            signature only; None is a ValueError.
        step: which draw of the seed: an integer, or a scalar array, traced or not.

    Returns:
        `SampledValues`: ids [num_sampled], expected counts [N, num_true] and
        [num_sampled].

    Raises ValueError and TypeError for arguments that cannot be meant, among them
    `sampled_softmax.SampledSoftmaxError` for what the library refuses.
    """
    return _draw("uniform", true_classes, num_true, num_sampled, unique, range_max, seed, step)


def log_uniform_candidate_sampler(
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex | jax.Array = 0,
) -> SampledValues:
    """Draws class k with probability ln((k + 2) / (k + 1)) / ln(range_max + 1).

    That is Zipf's law for classes numbered from the most frequent to the least; for
    classes in any other order it is the wrong sampler. Arguments, results and errors
    as `uniform_candidate_sampler`.
    """
    return _draw("log_uniform", true_classes, num_true, num_sampled, unique, range_max, seed, step)


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
    step: SupportsIndex | jax.Array = 0,
) -> SampledValues:
    """Draws class k with probability proportional to unigrams[k] ** distortion.

    The weights and their options are those of
    `sampled_softmax.fixed_unigram_candidate_sampler`; the weights are a NumPy array,
    fixed when a function is traced, and a compiled program holds a digest of them, not
    the weights. Other arguments, results and errors as `uniform_candidate_sampler`;
    OSError if the file cannot be read.
    """
    if isinstance(unigrams, jax.core.Tracer):
        raise TypeError("unigrams is traced; the sampler's table is made when a function is traced: pass a NumPy array")
    options = unigram_options(vocab_file, distortion, num_reserved_ids, num_shards, shard, unigrams, needed=True)
    return _draw("fixed_unigram", true_classes, num_true, num_sampled, unique, range_max, seed, step, options)


def all_candidate_sampler(
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex | jax.Array = 0,
) -> SampledValues:
    """Every class 0 .. num_sampled - 1 once, with expected count 1: the full softmax.

    There is nothing random in it: `unique`, `seed` and `step` are there for the sake
    of the other samplers' signature. Arguments, results and errors as
    `uniform_candidate_sampler`.
    """
    return _draw("all", true_classes, num_true, num_sampled, True, num_sampled, 0, 0)


def learned_unigram_candidate_sampler(
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex | jax.Array = 0,
    learned_counts: ArrayLike | None = None,
) -> LearnedSampledValues:
    """Draws class k with probability proportional to learned_counts[k].

    Args:
        learned_counts: [range_max] integers, at least 1 each: what an earlier call
            returned; None is 1 for every class.
        All others as in `uniform_candidate_sampler`.

    Returns:
        `LearnedSampledValues`: what the other samplers return, and the counts with the
        true classes of this call added, which happens after the draw. So the state is
        the caller's, as state is in JAX; a call takes time in proportion to
        range_max. The first three are ``sampled_values`` of a loss.

    On the CPU only. Raises as `uniform_candidate_sampler`; a count below 1 is an error
    when the draw runs.
    """
    config, true = _config("learned_unigram", true_classes, num_true, num_sampled, unique, range_max, seed, None)
    program = Program(_shim.fields_of(config))
    program.prepare()
    shape = (config.num_classes,)
    counts = jnp.ones(shape, jnp.int32) if learned_counts is None else integers("learned_counts", learned_counts)
    if counts.shape != shape:
        raise ValueError(f"learned_counts has shape {counts.shape}; {shape} is needed")
    return LearnedSampledValues(*_learn(program, true, step_words(step), counts))


def _config(
    name: str,
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None,
    unigrams: Unigrams | None,
) -> tuple[Config, jax.Array]:
    """The sampler and the labels [N, T]."""
    true = labels("true_classes", true_classes, integer("num_true", num_true))
    if seed is None:
        raise ValueError("seed = None: a function of JAX has no randomness but what it is given; pass seed and step")
    config = Config(
        num_classes=classes("range_max", range_max),
        num_sampled=integer("num_sampled", num_sampled),
        num_true=true.shape[1],
        sampler=SAMPLERS[name],
        sampling=_abi.SSL_SAMPLING_UNIQUE if unique else _abi.SSL_SAMPLING_REPLACEMENT,
        seed=integer("seed", seed, 0, MOST),
        num_threads=1,
        unigrams=unigrams,
    )
    return config, true


def _draw(
    name: str,
    true_classes: ArrayLike,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None,
    step: SupportsIndex | jax.Array,
    unigrams: Unigrams | None = None,
) -> SampledValues:
    config, true = _config(name, true_classes, num_true, num_sampled, unique, range_max, seed, unigrams)
    program = Program(_shim.fields_of(config), _shim.name_of_unigrams(config))
    program.prepare()
    return SampledValues(*_sample(program, true, step_words(step)))


@functools.partial(jax.jit, static_argnums=0)
def _sample(program: Program, true: jax.Array, step: jax.Array) -> tuple[jax.Array, ...]:
    ids, true_count, sampled_count = _operations.sample(program, true, step, jnp.float32)
    return from_words(ids), true_count, sampled_count


@functools.partial(jax.jit, static_argnums=0)
def _learn(program: Program, true: jax.Array, step: jax.Array, counts: jax.Array) -> tuple[jax.Array, ...]:
    ids, true_count, sampled_count, learned = _operations.learn(program, true, step, to_words(counts))
    return from_words(ids), true_count, sampled_count, from_words(learned)
