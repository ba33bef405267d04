"""One evaluation: options and tensors brought to what the operators take.

All of it is plain Python over shapes and numbers, which torch.compile traces away.
"""

from __future__ import annotations

from typing import Any, NamedTuple, SupportsIndex

import torch
from torch import Tensor

from .. import _abi
from .._arrays import integer
from .._options import check_sampler, reduction_code, sampler_code
from .._sampler import Sampler
from .._seed import MOST
from ._autograd import loss_of
from ._checks import check_batch, check_device, loss_dtype, shape
from ._draw import NO_KEY, UNSEEDED

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32)
_REALS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Options(NamedTuple):
    """Checked options, but for those of drawing."""

    num_sampled: int
    num_classes: int
    num_true: int
    hits: int
    """``SSL_HITS_*``."""
    reduction: int
    """``SSL_REDUCTION_*``."""
    probability_floor: float
    ignore_index: int | None
    num_threads: int
    sparse: bool


class Draw(NamedTuple):
    """What decides a draw, apart from a counter."""

    sampler: int
    """``SSL_SAMPLER_*``."""
    key: int
    """Of a `Sampler`, or `NO_KEY`."""
    seed: int | None
    """The bits of the seed as a signed number, which is what an operator takes."""
    step: int
    rank: int | None
    """None: that of `torch.distributed` when drawing."""
    unique: bool = True


def check_options(
    num_sampled: SupportsIndex,
    num_classes: SupportsIndex,
    num_true: SupportsIndex,
    hits: int,
    reduction: str,
    probability_floor: float,
    ignore_index: SupportsIndex | None,
    num_threads: SupportsIndex,
    sparse: bool,
) -> Options:
    """Raises ValueError and TypeError."""
    return Options(
        num_sampled=integer("num_sampled", num_sampled),
        num_classes=integer("num_classes", num_classes),
        num_true=integer("num_true", num_true),
        hits=hits,
        reduction=reduction_code(reduction),
        probability_floor=float(probability_floor),
        ignore_index=None if ignore_index is None else integer("ignore_index", ignore_index, -(2**63)),
        num_threads=integer("num_threads", num_threads, 0, 2**32 - 1),
        sparse=bool(sparse),
    )


def draw_options(
    sampler: str | Sampler,
    num_sampled: int,
    num_classes: int,
    seed: SupportsIndex | None,
    step: int,
    rank: SupportsIndex | None,
) -> Draw:
    """Raises ValueError and TypeError."""
    number = None if rank is None else integer("rank", rank, 0, 2**63 - 1)
    if isinstance(sampler, Sampler):
        check_sampler(sampler, num_sampled, num_classes)
        if seed is not None:
            raise ValueError(f"seed = {seed}: a Sampler brings its own seed; leave it None")
        if rank is not None:
            raise ValueError(f"rank = {rank}: a Sampler brings its own rank; leave it None")
    if seed is None and step != 0:
        raise ValueError(f"step = {step}: a step picks a draw of a seed, and seed is None")
    if step < 0:
        raise ValueError(f"step = {step} is less than 0")
    if isinstance(sampler, Sampler):
        return Draw(_abi.SSL_SAMPLER_CALLER, sampler.key, None, 0, 0)
    return Draw(sampler_code(sampler), NO_KEY, signed(seed), step, number)


def signed(seed: SupportsIndex | None) -> int | None:
    """The bits of an unsigned 64-bit seed as a signed number."""
    if seed is None:
        return None
    number = integer("seed", seed, 0, MOST)
    return number - 2**64 if number >= 2**63 else number


def evaluate(
    weights: Tensor,
    biases: Tensor | None,
    labels: Tensor,
    inputs: Tensor,
    sample_weights: Tensor | None,
    sampled_values: Any,
    options: Options,
    draw: Draw | None,
    counter: Tensor | None,
) -> Tensor:
    """The loss. One of `sampled_values` and `draw` is given."""
    check_device(inputs=inputs, weights=weights, biases=biases, labels=labels, sample_weights=sample_weights)
    if inputs.device.type not in ("cpu", "cuda", "meta"):
        raise RuntimeError(f"inputs is on {inputs.device}; there are engines for cpu and cuda")
    inputs = autocast(inputs)
    labels = true_classes("labels", labels, options.num_true)
    sample_weights = constant("sample_weights", sample_weights, loss_dtype(inputs))
    check_batch(inputs, weights, biases, labels, sample_weights)
    if weights.shape[0] != options.num_classes:
        raise ValueError(f"weights has shape {shape(weights)}, but num_classes = {options.num_classes}")
    if draw is None:
        candidates = _given(sampled_values, labels, options.num_sampled)
    else:
        candidates = draw_candidates(
            draw,
            labels,
            options.num_sampled,
            options.num_classes,
            counter=counter,
            exclude=options.hits == _abi.SSL_HITS_EXCLUDE,
            ignore_index=options.ignore_index,
            double=inputs.dtype == torch.float64,
        )
    loss, _ = loss_of(
        inputs,
        weights,
        biases,
        labels,
        sample_weights,
        *candidates,
        options.hits,
        options.reduction,
        options.probability_floor,
        options.ignore_index,
        options.num_threads,
        options.sparse,
    )
    return loss


def draw_candidates(
    draw: Draw,
    labels: Tensor,
    num_sampled: int,
    num_classes: int,
    *,
    counter: Tensor | None = None,
    avoid: Tensor | None = None,
    exclude: bool = False,
    ignore_index: int | None = None,
    double: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids [S], true counts [N, T], sampled counts [S]."""
    counted = counter is not None
    if not counted and (draw.seed is None or draw.sampler == _abi.SSL_SAMPLER_LEARNED_UNIGRAM):
        counter = UNSEEDED
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.sampled_softmax.draw(
        labels,
        counter,
        avoid,
        counted=counted,
        step=draw.step,
        seed=draw.seed,
        rank=current_rank() if draw.rank is None else draw.rank,
        sampler=draw.sampler,
        key=draw.key,
        unique=draw.unique,
        num_sampled=num_sampled,
        num_classes=num_classes,
        exclude=exclude,
        ignore_index=ignore_index,
        double=double,
    )
    return result


def current_rank() -> int:
    """This process's rank in `torch.distributed`; 0 without."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def autocast(inputs: Tensor) -> Tensor:
    """Inputs as `torch.nn.functional.linear` takes them under autocast. Weights stay: the
    library reads few of their rows, and a copy of all would cost more than the loss."""
    kind = inputs.device.type
    if inputs.dtype == torch.float32 and kind != "meta" and torch.is_autocast_enabled(kind):
        return inputs.to(torch.get_autocast_dtype(kind))
    return inputs


def true_classes(name: str, labels: Tensor, num_true: int) -> Tensor:
    """[N, num_true] of int64 or int32. Raises ValueError (shape) and TypeError (dtype)."""
    labels = integers(name, labels)
    if labels.dim() == 1 and num_true == 1:
        return labels.unsqueeze(1)
    if labels.dim() != 2 or labels.shape[1] != num_true:
        raise ValueError(
            f"{name} has shape {shape(labels)}; num_true = {num_true} columns are needed, or a vector if num_true is 1"
        )
    return labels


def integers(name: str, tensor: Tensor) -> Tensor:
    """As int32 where they are, else int64."""
    check_device(**{name: tensor})
    if tensor.dtype not in _INTEGERS:
        raise TypeError(f"{name} is {tensor.dtype}; integers are needed")
    return tensor if tensor.dtype in (torch.int64, torch.int32) else tensor.to(torch.int64)


def constant(name: str, tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Real numbers as `dtype`, through which no gradient is to flow."""
    if tensor is None:
        return None
    if tensor.dtype not in _REALS and tensor.dtype not in _INTEGERS:
        raise TypeError(f"{name} is {tensor.dtype}; real numbers are needed")
    if tensor.requires_grad:
        raise RuntimeError(f"{name} requires a gradient, and none is computed for it: pass {name}.detach()")
    return tensor.to(dtype)


def _given(values: Any, labels: Tensor, num_sampled: int) -> tuple[Tensor, Tensor, Tensor]:
    ids, true, sampled = values
    check_device(labels=labels, sampled_candidates=ids, true_expected_count=true, sampled_expected_count=sampled)
    if ids.dim() != 1 or ids.shape[0] != num_sampled:
        raise ValueError(f"sampled_candidates has shape {shape(ids)}; (num_sampled,) = ({num_sampled},) is needed")
    if true.dim() == 1 and labels.shape[1] == 1:
        true = true.unsqueeze(1)
    wide = true.dtype == torch.float64 or sampled.dtype == torch.float64
    dtype = torch.float64 if wide else torch.float32
    true, sampled = constant("true_expected_count", true, dtype), constant("sampled_expected_count", sampled, dtype)
    assert true is not None and sampled is not None
    return integers("sampled_candidates", ids).to(torch.int64), true, sampled
