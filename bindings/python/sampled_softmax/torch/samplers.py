"""TensorFlow's candidate samplers on PyTorch's tensors.

As those of the package for NumPy: right expected counts for every class, ascending ids,
and with a seed a draw that is a function of (seed, step, rank) alone. Results lie on the
device of `true_classes`.
"""

from __future__ import annotations

import functools
import os
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .. import _abi
from .. import _sampler as numpy_sampler
from .. import samplers as numpy_samplers
from .._arrays import integer
from .._seed import MOST
from .._unigrams import Unigrams, unigram_options
from ._checks import check_device, shape
from ._evaluate import Draw, current_rank, draw_candidates, draw_options, integers
from ._evaluate import true_classes as true_classes_of


class SampledValues(NamedTuple):
    """Sampled classes and expected counts, in TensorFlow's order."""

    sampled_candidates: Tensor
    """[num_sampled] int64, ascending."""
    true_expected_count: Tensor
    """[N, num_true] float32: how often each true class was to be expected in the sample."""
    sampled_expected_count: Tensor
    """[num_sampled] float32: the same for the sampled classes."""


class AccidentalHits(NamedTuple):
    """Where a sampled class is one of a row's true classes, in TensorFlow's order."""

    indices: Tensor
    """[num_hits] int32: the row."""
    ids: Tensor
    """[num_hits] int64: the position in sampled_candidates."""
    weights: Tensor
    """[num_hits] float32: -FLT_MAX each, to be added to the logit."""


class Sampler(numpy_sampler.Sampler):
    """Draws candidates; to be used alone or as ``sampler=`` of a loss.

    Arguments and attributes are those of `sampled_softmax.Sampler`, but that `rank` of
    None, the default, is this process's rank in `torch.distributed` when the sampler is
    made. Drawing for tensors on a GPU leaves the results there.
    """

    def __init__(
        self,
        name: str,
        range_max: SupportsIndex,
        num_sampled: SupportsIndex,
        unique: bool = True,
        counts: str = "tf",
        seed: SupportsIndex | None = 0,
        rank: SupportsIndex | None = None,
        **unigrams: Any,
    ) -> None:
        own = current_rank() if rank is None else rank
        super().__init__(name, range_max, num_sampled, unique, counts, seed, own, **unigrams)

    def sample(  # type: ignore[override]
        self,
        true_classes: Tensor | None = None,
        step: SupportsIndex | None = None,
        avoid: Tensor | None = None,
    ) -> SampledValues:
        """Draws once.

        Args:
            true_classes: [N, T] integers (or [N]) whose expected counts are wanted; a
                learned unigram sampler counts them after the draw. None: no labels, and
                a true_expected_count of shape [0, 1], on the CPU.
            step: which draw; None takes `self.step` and advances it.
            avoid: ids that must not be drawn, of any shape and order. If fewer than
                num_sampled classes remain, that is an error.
        """
        labels = torch.empty((0, 1), dtype=torch.int64) if true_classes is None else true_classes
        labels = integers("true_classes", labels)
        labels = labels.unsqueeze(1) if labels.dim() == 1 else labels
        if labels.dim() != 2:
            raise ValueError(f"true_classes has shape {shape(labels)}; [N, T] or [N] is needed")
        if avoid is not None:
            avoid = integers("avoid", avoid).flatten().to("cpu", torch.int64)
        # With a seed, which the sampler has its own of, the operator takes the step given.
        draw = Draw(
            _abi.SSL_SAMPLER_CALLER,
            self.key,
            seed=None if step is None else 0,
            step=0 if step is None else integer("step", step, 0, 2**63 - 1),
            rank=0,
        )
        return SampledValues(*draw_candidates(draw, labels, self.num_sampled, self.range_max, avoid=avoid))


def uniform_candidate_sampler(
    true_classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: int = 0,
    rank: SupportsIndex | None = None,
) -> SampledValues:
    """Draws each class with the same probability, 1 / range_max.

    Args:
        true_classes: [N, num_true] integers in [0, range_max); [N] if num_true is 1.
        num_true: true classes a row, at least 1.
        num_sampled: classes to draw; at most range_max if `unique`.
        unique: draw without replacement.
        range_max: number of classes.
        seed: 0 .. 2^64 - 1; None takes a draw from PyTorch's default generator.
        step: which draw of the seed.
        rank: None is this process's rank in `torch.distributed`, 0 without.

    Returns:
        `SampledValues`: ids [num_sampled] int64, expected counts [N, num_true] and
        [num_sampled] float32.

    Raises ValueError and TypeError for arguments that cannot be meant, among them
    `SampledSoftmaxError` for what the library refuses.
    """
    return _draw("uniform", true_classes, num_true, num_sampled, unique, range_max, seed, step, rank)


def log_uniform_candidate_sampler(
    true_classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: int = 0,
    rank: SupportsIndex | None = None,
) -> SampledValues:
    """Draws class k with probability ln((k + 2) / (k + 1)) / ln(range_max + 1).

    That is Zipf's law for classes numbered from the most frequent to the least; for
    classes in any other order it is the wrong sampler. Arguments, results and errors as
    `uniform_candidate_sampler`.
    """
    return _draw("log_uniform", true_classes, num_true, num_sampled, unique, range_max, seed, step, rank)


def learned_unigram_candidate_sampler(
    true_classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None = None,
    *,
    step: int = 0,
    rank: SupportsIndex | None = None,
) -> SampledValues:
    """Draws class k with probability proportional to 1 + how often it was a true class.

    The counts are this process's, one set for each (range_max, num_sampled, unique, seed,
    rank), shared with the NumPy function. To hold the counts yourself use
    ``Sampler("learned_unigram", ...)``. Arguments, results and errors as
    `uniform_candidate_sampler`.
    """
    return _draw("learned_unigram", true_classes, num_true, num_sampled, unique, range_max, seed, step, rank)


def fixed_unigram_candidate_sampler(
    true_classes: Tensor,
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
    step: int = 0,
    rank: SupportsIndex | None = None,
) -> SampledValues:
    """Draws class k with probability proportional to unigrams[k] ** distortion.

    The options of the weights are those of the NumPy function of this name; other
    arguments, results and errors as `uniform_candidate_sampler`. The tables are kept for
    the next call with the same weights; ``Sampler("fixed_unigram", ...)`` saves comparing
    them.
    """
    if seed is None and step != 0:
        raise ValueError(f"step = {step}: a step picks a draw of a seed, and seed is None")
    sampler = _fixed_unigram_sampler(
        integer("range_max", range_max),
        integer("num_sampled", num_sampled),
        bool(unique),
        None if seed is None else integer("seed", seed, 0, MOST),
        current_rank() if rank is None else integer("rank", rank, 0, MOST),
        unigram_options(vocab_file, distortion, num_reserved_ids, num_shards, shard, unigrams, needed=True),
    )
    number = int(torch.randint(2**62, ())) if seed is None else step
    return sampler.sample(true_classes_of("true_classes", true_classes, integer("num_true", num_true)), number)


def all_candidate_sampler(
    true_classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    seed: SupportsIndex | None = None,
    *,
    step: int = 0,
    rank: SupportsIndex | None = None,
) -> SampledValues:
    """Every class 0 .. num_sampled - 1 once, with expected count 1: the full softmax.

    There is nothing random in it: `unique`, `seed`, `step` and `rank` are there for the
    sake of the other samplers' signature. Arguments, results and errors as
    `uniform_candidate_sampler`.
    """
    return _draw("all", true_classes, num_true, num_sampled, True, num_sampled, 0, 0, 0)


def compute_accidental_hits(
    true_classes: Tensor,
    sampled_candidates: Tensor,
    num_true: SupportsIndex,
) -> AccidentalHits:
    """Finds the sampled classes that are true classes of a row.

    true_classes [N, num_true] or [N], sampled_candidates [S] in any order. Computed on the
    host; the results lie where `true_classes` does. As the NumPy function of this name.
    """
    check_device(true_classes=true_classes, sampled_candidates=sampled_candidates)
    hits = numpy_samplers.compute_accidental_hits(
        integers("true_classes", true_classes).numpy(force=True),
        integers("sampled_candidates", sampled_candidates).numpy(force=True),
        num_true,
    )
    return AccidentalHits(*(torch.from_numpy(array).to(true_classes.device) for array in hits))


@functools.lru_cache(maxsize=16)
def _fixed_unigram_sampler(
    range_max: int, num_sampled: int, unique: bool, seed: int | None, rank: int, unigrams: Unigrams
) -> Sampler:
    return Sampler(
        "fixed_unigram",
        range_max,
        num_sampled,
        unique,
        seed=seed,
        rank=rank,
        vocab_file=unigrams.vocab_file,
        distortion=unigrams.distortion,
        num_reserved_ids=unigrams.num_reserved_ids,
        num_shards=unigrams.num_shards,
        shard=unigrams.shard,
        unigrams=np.frombuffer(unigrams.weights, dtype=np.float64),
    )


def _draw(
    name: str,
    classes: Tensor,
    num_true: SupportsIndex,
    num_sampled: SupportsIndex,
    unique: bool,
    range_max: SupportsIndex,
    seed: SupportsIndex | None,
    step: int,
    rank: SupportsIndex | None,
) -> SampledValues:
    labels = true_classes_of("true_classes", classes, integer("num_true", num_true))
    draw = draw_options(name, integer("num_sampled", num_sampled), integer("range_max", range_max), seed, step, rank)
    values = draw_candidates(draw._replace(unique=bool(unique)), labels, num_sampled, range_max)
    return SampledValues(*values)
