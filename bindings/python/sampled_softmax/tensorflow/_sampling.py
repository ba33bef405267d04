"""Who draws the candidates of a loss: an op, or a sampler object of this package."""

from __future__ import annotations

from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import tensorflow as tf

from .._arrays import integer
from .._sampler import Sampler
from .._seed import MOST, new_seed
from .._unigrams import Unigrams
from ._arguments import Tensors, real
from ._ops import ops

# Of draws that nobody seeds; what tells them apart is the step.
_PROCESS_SEED = new_seed()


class SampledValues(NamedTuple):
    """Sampled classes and expected counts, in TensorFlow's order."""

    sampled_candidates: tf.Tensor
    """[num_sampled] int64, ascending where they were drawn here."""
    true_expected_count: tf.Tensor
    """[N, num_true] floats: how often each true class was to be expected in the sample."""
    sampled_expected_count: tf.Tensor
    """[num_sampled] floats: the same for the sampled classes."""


class Draw(NamedTuple):
    """A draw by one of the samplers that are ops."""

    sampler: str
    num_sampled: int
    num_classes: int
    seed: int | None
    """None: this process's own seed."""
    step: Any = None
    """An integer, a tensor or a variable; None: the next of the seed in this process."""
    rank: int = 0
    unique: bool = True
    exclude_labels: bool = False
    ignore_index: int | None = None
    unigrams: Unigrams = Unigrams()


def draw(who: Draw, labels: tf.Tensor, dtype: tf.DType = tf.float32, name: str = "labels") -> SampledValues:
    """The candidates for labels [N, T], expected counts of `dtype`; `name` is what the
    labels are called in a message."""
    seed = _PROCESS_SEED if who.seed is None else who.seed
    unigrams = who.unigrams
    return SampledValues(
        *ops().sampled_softmax_sample(
            labels=labels,
            step=_step(who, seed),
            Tcounts=dtype,
            num_sampled=who.num_sampled,
            num_classes=who.num_classes,
            sampler=who.sampler,
            unique=who.unique,
            exclude_labels=who.exclude_labels,
            seed=signed(seed),
            rank=signed(who.rank),
            has_ignore_index=who.ignore_index is not None,
            ignore_index=who.ignore_index or 0,
            unigrams=unigrams.weights,
            vocab_file=unigrams.vocab_file,
            distortion=repr(unigrams.distortion),
            num_reserved_ids=unigrams.num_reserved_ids,
            num_shards=unigrams.num_shards,
            shard=unigrams.shard,
            labels_name=name,
        )
    )


def draw_by_object(sampler: Sampler, tensors: Tensors, exclude_labels: bool, ignore_index: int | None) -> SampledValues:
    """The candidates that a `Sampler` of the NumPy package draws, in Python also where the
    graph is compiled: it keeps its own count of steps and what it has learned."""
    dtype = tensors.counts_dtype

    def drawn(labels: np.ndarray) -> tuple[np.ndarray, ...]:
        avoid = None
        if exclude_labels:
            avoid = labels if ignore_index is None else labels[labels != ignore_index]
        return sampler.draw(
            "labels", labels, None, avoid=avoid, dtype=np.dtype(dtype.as_numpy_dtype), ignore_index=ignore_index
        )

    ids, true, sampled = tf.numpy_function(drawn, [tensors.labels], (tf.int64, dtype, dtype))
    ids.set_shape((sampler.num_sampled,))
    true.set_shape(tensors.labels.shape)
    sampled.set_shape((sampler.num_sampled,))
    return SampledValues(ids, true, sampled)


def given(values: Any, labels: tf.Tensor, num_sampled: int) -> SampledValues:
    """What the caller sampled, ids as int64 and counts of one dtype."""
    sampled_candidates, true_expected_count, sampled_expected_count = values
    ids = tf.convert_to_tensor(sampled_candidates, name="sampled_candidates")
    if not ids.dtype.is_integer:
        raise TypeError(f"sampled_candidates has dtype {ids.dtype.name}; integers are needed")
    if not ids.shape.is_compatible_with((num_sampled,)):
        raise ValueError(f"sampled_candidates has shape {ids.shape}; (num_sampled,) = ({num_sampled},) is needed")
    true, sampled = tf.convert_to_tensor(true_expected_count), tf.convert_to_tensor(sampled_expected_count)
    double = max(true.dtype.size, sampled.dtype.size) > 4
    dtype = tf.float64 if double else tf.float32
    if true.shape.rank == 1 and labels.shape[1] == 1:
        true = tf.expand_dims(true, 1)
    return SampledValues(
        tf.cast(ids, tf.int64),
        real("true_expected_count", true, dtype, tuple(labels.shape)),
        real("sampled_expected_count", sampled, dtype, (num_sampled,)),
    )


def seed_of(seed: SupportsIndex | None) -> int | None:
    """A seed, checked."""
    return None if seed is None else integer("seed", seed, 0, MOST)


def signed(number: int) -> int:
    """The bits of an unsigned 64-bit integer as TensorFlow's int64."""
    return number - 2**64 if number >= 2**63 else number


def _step(who: Draw, seed: int) -> Any:
    if who.sampler == "all":
        return tf.constant(0, tf.int64)
    if who.step is None:
        return ops().sampled_softmax_next_step(seed=signed(seed), rank=signed(who.rank), entropy=who.seed is None)
    if who.seed is None:
        raise ValueError("step: a step picks a draw of a seed, and seed is None")
    if isinstance(who.step, (int, np.integer)):
        return tf.constant(signed(integer("step", who.step, 0, MOST)), tf.int64)
    step = tf.convert_to_tensor(who.step, name="step")
    if not step.dtype.is_integer:
        raise TypeError(f"step has dtype {step.dtype.name}; an integer is needed")
    if not step.shape.is_compatible_with(()):
        raise ValueError(f"step has shape {step.shape}; a scalar is needed")
    return tf.cast(step, tf.int64)
