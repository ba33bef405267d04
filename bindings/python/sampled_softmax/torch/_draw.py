"""Drawing candidates as an operator, ``torch.ops.sampled_softmax.draw``.

What decides a draw is its (seed, step, rank). The step comes from one of three places:
the caller; a counter, a tensor that the operator advances, so that compiled code advances
it too; or, where there is no seed, PyTorch's default generator on the CPU, so that
`torch.manual_seed` decides and activation checkpointing draws the same again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _abi, _seed
from .._call import frame
from .._errors import SampledSoftmaxError
from .._handle import Config, Handle, cache
from .._sampler import Sampler, at_its_place, sampler_of
from ..samplers import learned_sampler
from ._checks import FLOATS, LABELS, shape
from ._ops import LIBRARY
from ._tensors import address, engine_of, stream_of

# A named sampler needs no key.
NO_KEY = -1

# Draws that nothing among their arguments tells apart advance this one, or the compiler
# would take two of them for one.
UNSEEDED = torch.zeros((), dtype=torch.int64)

LIBRARY.define(
    "draw(Tensor labels, Tensor(a!)? counter, Tensor? avoid, *, bool counted, SymInt step, int? seed, int rank, "
    "int sampler, int key, bool unique, int num_sampled, int num_classes, bool exclude, int? ignore_index, "
    "bool double) -> (Tensor sampled_candidates, Tensor true_expected_count, Tensor sampled_expected_count)",
    # Random; and host code, which Inductor is to leave out of the CUDA graphs it makes.
    # PyTorch before 2.8 has no word for the latter.
    tags=(torch.Tag.nondeterministic_seeded, getattr(torch.Tag, "cudagraph_unsafe", torch.Tag.nondeterministic_seeded)),
)


def draw(
    labels: Tensor,
    counter: Tensor | None,
    avoid: Tensor | None,
    *,
    counted: bool,
    step: int,
    seed: int | None,
    rank: int,
    sampler: int,
    key: int,
    unique: bool,
    num_sampled: int,
    num_classes: int,
    exclude: bool,
    ignore_index: int | None,
    double: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids [S] and expected counts, true [N, T] and sampled [S].

    labels [N, T]. counter: int64, one element, on the CPU; advanced, and the step itself if
    `counted`. avoid: ids not to be drawn, int64 on the CPU; `exclude` adds the labels.
    seed: the bits of an unsigned one. key: of a `Sampler`, whose own seed and rank count,
    and without a seed its own step.
    """
    _check(labels, counter, avoid)
    engine = engine_of(labels)
    who: Sampler | None = None
    if key != NO_KEY:
        who = sampler_of(key)
    elif sampler == _abi.SSL_SAMPLER_LEARNED_UNIGRAM:
        who = learned_sampler(num_classes, num_sampled, unique, None if seed is None else seed & _seed.MOST, rank)
    number = _count(counter)
    if not counted:
        number = _step(step, seed, who if key != NO_KEY else None)
    if who is not None:
        avoid = _avoided(avoid, labels, ignore_index) if exclude else avoid
        return _draw(who.handle_on(engine), labels, number, ignore_index, double, avoid, flat=True)
    config = Config(
        num_classes=num_classes,
        num_sampled=num_sampled,
        num_true=labels.shape[1],
        sampler=sampler,
        sampling=_abi.SSL_SAMPLING_UNIQUE if unique else _abi.SSL_SAMPLING_REPLACEMENT,
        hits=_abi.SSL_HITS_EXCLUDE if exclude else _abi.SSL_HITS_MASK,
        seed=(seed or 0) & _seed.MOST,
        rank=rank,
        backend=engine.backend,
        device=engine.device,
        num_threads=1,
    )
    return _draw(cache.get(config), labels, number, ignore_index, double, avoid)


def _count(counter: Tensor | None) -> int:
    if counter is None:
        return 0
    with _seed.lock():
        number = int(counter)
        counter += 1
    return number


def _step(step: int, seed: int | None, sampler: Sampler | None) -> int:
    if seed is not None:
        return step
    if sampler is not None:
        return sampler.take_step()
    return int(torch.randint(2**62, (), dtype=torch.int64))


def _draw(
    handle: Handle,
    labels: Tensor,
    step: int,
    ignore_index: int | None,
    double: bool,
    avoid: Tensor | None,
    *,
    flat: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """`flat`: to the handle each label is a row, since no count depends on a row's others."""
    labels = labels.contiguous()
    outputs = _outputs(labels, handle.config.num_sampled, double)
    ids, true, sampled = outputs
    with frame() as call:
        num_rows = labels.numel() if flat else labels.shape[0]
        call.set_labels(num_rows, LABELS[labels.dtype], labels.data_ptr(), ignore_index)
        call.set_candidates(
            _abi.SSL_CANDIDATES_DRAW,
            FLOATS[sampled.dtype],
            ids.data_ptr(),
            sampled.data_ptr(),
            true.data_ptr(),
            step=step,
            avoid=address(avoid),
            num_avoid=0 if avoid is None else avoid.numel(),
        )
        try:
            call.sample(handle, with_batch=True, stream=stream_of(labels))
        except SampledSoftmaxError as error:
            raise (at_its_place(error, "labels", labels.shape[1]) if flat else error) from None
    return outputs


def _avoided(avoid: Tensor | None, labels: Tensor, ignore_index: int | None) -> Tensor:
    """With the labels, since a `Sampler` was made for any loss. The library reads what to
    avoid in host memory, so on a GPU this waits for them."""
    named = labels.flatten().to("cpu", torch.int64)
    named = named if ignore_index is None else named[named != ignore_index]
    return named if avoid is None else torch.cat([named, avoid])


def _outputs(labels: Tensor, num_sampled: int, double: bool) -> tuple[Tensor, Tensor, Tensor]:
    dtype = torch.float64 if double else torch.float32
    return (
        labels.new_empty((num_sampled,), dtype=torch.int64),
        labels.new_empty(labels.shape, dtype=dtype),
        labels.new_empty((num_sampled,), dtype=dtype),
    )


def _check(labels: Tensor, counter: Tensor | None, avoid: Tensor | None) -> None:
    if labels.dim() != 2 or labels.shape[1] < 1:
        raise ValueError(f"labels has shape {shape(labels)}; [N, T] is needed")
    if labels.dtype not in LABELS:
        raise TypeError(f"labels is {labels.dtype}; int64 or int32 is needed")
    if counter is not None and (counter.dtype != torch.int64 or counter.numel() != 1 or not counter.is_cpu):
        raise TypeError(f"counter is {counter.dtype} of shape {shape(counter)}; one int64 on the CPU is needed")
    if avoid is not None and (avoid.dtype != torch.int64 or not avoid.is_cpu or not avoid.is_contiguous()):
        raise TypeError(f"avoid is {avoid.dtype} on {avoid.device}; contiguous int64 on the CPU is needed")


def _fake(
    labels: Tensor, counter: Tensor | None, avoid: Tensor | None, *, num_sampled: int, double: bool, **_: object
) -> tuple[Tensor, Tensor, Tensor]:
    _check(labels, None, None)
    return _outputs(labels, num_sampled, double)


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("draw", draw, _device)
torch.library.register_fake("sampled_softmax::draw", _fake, lib=LIBRARY)
