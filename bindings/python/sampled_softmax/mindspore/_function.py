"""The loss as TensorFlow's function, and the candidate samplers, for MindSpore's tensors.

Functions are for PYNATIVE_MODE and for the top level of a program: they make their cells
when they are called. Within the ``construct`` of a compiled cell use the class.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, SupportsIndex

import mindspore as ms
from mindspore import Tensor, nn

from .. import _abi
from .._arrays import integer
from .._options import check_sampled_values, reduction_code, sampler_code
from .._seed import MOST, seed_and_step
from ._custom import Settings, sample_op
from ._loss import Evaluation, given


class SampledValues(NamedTuple):
    """Sampled classes and expected counts, in TensorFlow's order."""

    sampled_candidates: Tensor
    """[num_sampled] int64, ascending."""
    true_expected_count: Tensor
    """[N, num_true] float32: how often each true class was to be expected in the sample."""
    sampled_expected_count: Tensor
    """[num_sampled] float32: the same for the sampled classes."""


def sampled_softmax_loss(
    weights: Tensor,
    biases: Tensor | None,
    labels: Tensor,
    inputs: Tensor,
    num_sampled: SupportsIndex,
    num_classes: SupportsIndex,
    num_true: SupportsIndex = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: SupportsIndex | None = None,
    *,
    sampler: str = "log_uniform",
    reduction: str = "none",
    step: SupportsIndex = 0,
    rank: SupportsIndex = 0,
    probability_floor: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    num_threads: SupportsIndex = 0,
) -> Tensor:
    """The loss of TensorFlow's ``tf.nn.sampled_softmax_loss``, for MindSpore's tensors.

    Args:
        weights: [C, d]. biases: [C], or None. labels: [N, T] or [N], int32 or int64.
            inputs: [N, d].
        num_sampled, num_classes, num_true: S, C, T.
        sampled_values: (sampled_candidates [S], true_expected_count [N, T],
            sampled_expected_count [S]), or None to draw.
        remove_accidental_hits: leave out of a row the sampled classes that are among
            its labels, every copy of them.
        seed: 0 .. 2^64 - 1, or None for a new draw with every call.
        step: which draw of the seed; needs a seed.
        sampler, reduction, rank, probability_floor, ignore_index, num_threads: as in
            `SampledSoftmaxLoss`.

    Returns:
        [N] or a scalar, float32; float64 for float64 inputs.

    Raises ValueError, TypeError and RuntimeError as `SampledSoftmaxLoss`.
    """
    sampled, classes = integer("num_sampled", num_sampled), integer("num_classes", num_classes)
    true = integer("num_true", num_true)
    code, number, draw, candidates = _abi.SSL_SAMPLER_UNIFORM, 0, 0, None
    if sampled_values is None:
        code = sampler_code(sampler)
        number, draw = seed_and_step(seed, step)
    else:
        check_sampled_values(sampled_values)
        candidates = given(sampled_values, sampled, true)
    settings = Settings(
        num_classes=classes,
        num_sampled=sampled,
        sampler=code,
        unique=True,
        exclude_labels=False,
        seed=number,
        rank=integer("rank", rank, 0, MOST),
        remove_accidental_hits=bool(remove_accidental_hits),
        reduction=reduction_code(reduction),
        probability_floor=float(probability_floor),
        has_ignore_index=ignore_index is not None,
        ignore_index=0 if ignore_index is None else integer("ignore_index", ignore_index, -(2**63)),
        has_biases=True,
        num_threads=integer("num_threads", num_threads, 0, 2**31 - 1),
    )
    return _evaluation(settings, true)(weights, biases, labels, inputs, _step(draw), candidates)


def uniform_candidate_sampler(
    true_classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex = 0,
) -> SampledValues:
    """Draws each class with the same probability, 1 / range_max.

    Args:
        true_classes: [N, num_true] int32 or int64 in [0, range_max).
        num_true: true classes a row, at least 1.
        num_sampled: classes to draw; at most range_max if `unique`.
        unique: draw without replacement.
        range_max: number of classes.
        seed, step: as in `sampled_softmax_loss`.

    Returns:
        `SampledValues`.

    Raises ValueError and TypeError for arguments that cannot be meant, and RuntimeError
    for labels out of range.
    """
    return _sample("uniform", true_classes, num_true, num_sampled, unique, range_max, seed, step)


def log_uniform_candidate_sampler(
    true_classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex = 0,
) -> SampledValues:
    """Draws class k with probability ln((k + 2) / (k + 1)) / ln(range_max + 1).
    Arguments, results and errors as `uniform_candidate_sampler`."""
    return _sample("log_uniform", true_classes, num_true, num_sampled, unique, range_max, seed, step)


def learned_unigram_candidate_sampler(
    true_classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: SupportsIndex = 0,
) -> SampledValues:
    """Draws class k with probability proportional to 1 + how often it was a true class,
    by counts of this process, one set for each combination of the other arguments.
    Arguments, results and errors as `uniform_candidate_sampler`."""
    return _sample("learned_unigram", true_classes, num_true, num_sampled, unique, range_max, seed, step)


def all_candidate_sampler(
    true_classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    seed: SupportsIndex | None = None,
) -> SampledValues:
    """Every class 0 .. num_sampled - 1 once, with expected count 1: the full softmax.
    `unique` and `seed` are there for the sake of the other samplers' signature."""
    return _sample("all", true_classes, num_true, num_sampled, True, num_sampled, 0, 0)


class _Draw(nn.Cell):
    """A sampler on its own."""

    def __init__(self, settings: Settings, num_true: int) -> None:
        super().__init__()
        self.settings = settings.tensor()
        self.sample = sample_op(settings, num_true)

    def construct(self, labels: Tensor, step: Tensor) -> Any:
        """Ids and expected counts."""
        if labels.ndim == 1:
            labels = labels.reshape((-1, 1))
        return self.sample(labels, step, self.settings)


def _sample(
    sampler: str,
    true_classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None,
    step: SupportsIndex,
) -> SampledValues:
    number, draw = seed_and_step(seed, step)
    settings = Settings(
        num_classes=integer("range_max", range_max),
        num_sampled=integer("num_sampled", num_sampled),
        sampler=sampler_code(sampler),
        unique=bool(unique),
        exclude_labels=False,
        seed=number,
        rank=0,
        remove_accidental_hits=False,
        reduction=_abi.SSL_REDUCTION_NONE,
        probability_floor=0.0,
        has_ignore_index=False,
        ignore_index=0,
        has_biases=False,
        num_threads=1,
    )
    return SampledValues(*_draw(settings, integer("num_true", num_true))(true_classes, _step(draw)))


# Cells are kept: in GRAPH_MODE each is compiled at its first call.
_evaluation = functools.lru_cache(maxsize=64)(Evaluation)
_draw = functools.lru_cache(maxsize=64)(_Draw)


def _step(number: int) -> Tensor:
    return Tensor(number - 2**64 if number >= 2**63 else number, ms.int64)
