"""What a loss is asked for, apart from its arrays: named, bounded, and checked once."""

from __future__ import annotations

from typing import Any, NamedTuple, SupportsIndex

from numpy.typing import ArrayLike

from . import _abi
from ._arrays import integer
from ._handle import Engine, engine_of
from ._sampler import SAMPLERS, Sampler
from ._seed import no_step_without_seed, seed_and_step
from ._update import Update
from .samplers import learned_sampler

REDUCTIONS = {
    "none": _abi.SSL_REDUCTION_NONE,
    "mean": _abi.SSL_REDUCTION_MEAN,
    "sum": _abi.SSL_REDUCTION_SUM,
}


class Options(NamedTuple):
    """Checked options of one evaluation."""

    num_sampled: int
    num_classes: int
    num_true: int
    sampled_values: Any
    """Three arrays in TensorFlow's order, or None to draw."""
    hits: int
    """``SSL_HITS_*``."""
    sampler: int | Sampler
    """``SSL_SAMPLER_*`` for what the loss draws itself, or who draws for it."""
    seed: int
    step: int | None
    """Which draw; None: a sampler object's own count."""
    reduction: int
    """``SSL_REDUCTION_*``."""
    probability_floor: float
    ignore_index: int | None
    sample_weights: ArrayLike | None
    engine: Engine | None
    """None: wherever the arrays are."""
    num_threads: int


class Upstream(NamedTuple):
    """That gradients are wanted, of what, and in which form."""

    grad_output: ArrayLike | None
    dense: bool
    update: Update | None = None
    """What to do with the gradients of weights and biases instead of giving them."""


def check_upstream(grad_output: ArrayLike | None, dense: bool, update: Update | None) -> Upstream:
    """Raises ValueError where a dense gradient is asked for and used up at once."""
    if dense and update is not None:
        raise ValueError("dense = True: an update gives no gradient of weights and biases")
    return Upstream(grad_output, dense, update)


def reduction_code(reduction: str) -> int:
    """``SSL_REDUCTION_*`` of a name. Raises ValueError."""
    code = REDUCTIONS.get(reduction)
    if code is None:
        raise ValueError(f"reduction = {reduction!r} is none of 'none', 'mean', 'sum'")
    return code


def check_sampled_values(values: Any) -> None:
    """Raises TypeError unless this is a list or tuple, ValueError unless of length 3."""
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"sampled_values is a {type(values).__name__}; a list or tuple of three arrays is needed")
    if len(values) != 3:
        raise ValueError(
            f"sampled_values has {len(values)} elements; (sampled_candidates, true_expected_count, "
            f"sampled_expected_count) is needed"
        )


def check_options(
    num_sampled: SupportsIndex,
    num_classes: SupportsIndex,
    num_true: SupportsIndex,
    sampled_values: Any,
    hits: int,
    seed: SupportsIndex | None,
    sampler: str | Sampler,
    reduction: str,
    step: SupportsIndex,
    probability_floor: float,
    ignore_index: SupportsIndex | None,
    sample_weights: ArrayLike | None,
    device: str,
    num_threads: SupportsIndex,
) -> Options:
    """Options of the functional interface, ready for `evaluate`."""
    sampled, classes = integer("num_sampled", num_sampled), integer("num_classes", num_classes)
    number, draw = 0, None
    who: int | Sampler = _abi.SSL_SAMPLER_CALLER
    if sampled_values is not None:
        check_sampled_values(sampled_values)
    elif isinstance(sampler, Sampler):
        check_sampler(sampler, sampled, classes)
        if seed is not None:
            raise ValueError(f"seed = {seed}: a Sampler brings its own seed; leave it None")
        no_step_without_seed(step)
        who = sampler
    else:
        number, draw, who = _named_sampler(sampler, sampled, classes, seed, step)
    # By position, for speed.
    return Options(
        sampled,
        classes,
        integer("num_true", num_true),
        sampled_values,
        hits,
        who,
        number,
        draw,
        reduction_code(reduction),
        float(probability_floor),
        None if ignore_index is None else integer("ignore_index", ignore_index, -(2**63)),
        sample_weights,
        engine_of(device),
        integer("num_threads", num_threads, 0, 2**32 - 1),
    )


def check_sampler(sampler: Sampler, num_sampled: int, num_classes: int) -> None:
    """Raises ValueError unless a sampler object draws what the loss expects."""
    if (sampler.num_sampled, sampler.range_max) != (num_sampled, num_classes):
        raise ValueError(
            f"the sampler draws {sampler.num_sampled} of {sampler.range_max} classes, but "
            f"num_sampled = {num_sampled} and num_classes = {num_classes}"
        )


def check_class_arguments(num_sampled: int, num_classes: int, num_true: int, remove_accidental_hits: bool) -> int:
    """``SSL_HITS_*`` of `remove_accidental_hits` in MindSpore's meaning, for the classes
    that have its constructor. Raises ValueError for sizes that do not go together, and
    TypeError for a flag that is none."""
    for name, value in (("num_sampled", num_sampled), ("num_true", num_true)):
        if value > num_classes:
            raise ValueError(f"{name} = {value} is greater than num_classes = {num_classes}")
    if not isinstance(remove_accidental_hits, bool):
        raise TypeError(f"remove_accidental_hits = {remove_accidental_hits!r} is not a bool")
    return _abi.SSL_HITS_EXCLUDE if remove_accidental_hits else _abi.SSL_HITS_KEEP


def sampler_code(name: str) -> int:
    """``SSL_SAMPLER_*`` of a sampler that needs nothing but its name. Raises ValueError."""
    code = SAMPLERS.get(name)
    if code is None:
        raise ValueError(f"sampler = {name!r} is none of {', '.join(map(repr, SAMPLERS))}, nor a Sampler")
    if code == _abi.SSL_SAMPLER_FIXED_UNIGRAM:
        raise ValueError("sampler = 'fixed_unigram' needs weights: pass Sampler('fixed_unigram', ...)")
    return code


def _named_sampler(
    name: str, num_sampled: int, num_classes: int, seed: SupportsIndex | None, step: SupportsIndex
) -> tuple[int, int, int | Sampler]:
    """Seed, step and who draws."""
    code = sampler_code(name)
    if code == _abi.SSL_SAMPLER_ALL:
        # Nothing in it is random, and one seed makes one handle.
        return 0, 0, code
    number, draw = seed_and_step(seed, step)
    if code == _abi.SSL_SAMPLER_LEARNED_UNIGRAM:
        return number, draw, learned_sampler(num_classes, num_sampled, True, seed)
    return number, draw, code
