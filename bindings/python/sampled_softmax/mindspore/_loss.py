"""The loss as a cell with the constructor of MindSpore's deprecated class."""

from __future__ import annotations

from typing import Any, SupportsIndex

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from .. import _abi
from .._arrays import integer
from .._options import check_class_arguments, check_sampled_values, reduction_code, sampler_code
from .._seed import MOST
from ._custom import Settings, draw_forward_op, forward_op


class Evaluation(nn.Cell):
    """One evaluation of the loss for a step, or for candidates that are given."""

    def __init__(self, settings: Settings, num_true: int) -> None:
        super().__init__()
        biasless = settings._replace(has_biases=False)
        self.settings, self.biasless = settings.tensor(), biasless.tensor()
        self.forward = forward_op(settings, num_true)
        self.forward_biasless = forward_op(biasless, num_true)
        self.draw_forward = draw_forward_op(settings, num_true)
        self.draw_forward_biasless = draw_forward_op(biasless, num_true)
        self.no_biases, self.no_biases_double = Tensor([0], ms.float32), Tensor([0], ms.float64)
        self.reduced = settings.reduction != _abi.SSL_REDUCTION_NONE

    def construct(
        self, weights: Tensor, biases: Any, labels: Tensor, logits: Tensor, step: Tensor, candidates: Any
    ) -> Tensor:
        """As `SampledSoftmaxLoss`; `step` is an int64 scalar."""
        if labels.ndim == 1:
            labels = labels.reshape((-1, 1))
        no_biases = self.no_biases_double if logits.dtype == ms.float64 else self.no_biases
        if candidates is not None:
            ids, true, sampled = candidates
            if biases is None:
                results = self.forward_biasless(logits, weights, no_biases, labels, ids, true, sampled, self.biasless)
            else:
                results = self.forward(logits, weights, biases, labels, ids, true, sampled, self.settings)
        elif biases is None:
            results = self.draw_forward_biasless(logits, weights, no_biases, labels, step, self.biasless)
        else:
            results = self.draw_forward(logits, weights, biases, labels, step, self.settings)
        loss = results[0]
        if self.reduced:
            loss = loss.reshape(())
        return loss


class SampledSoftmaxLoss(nn.Cell):
    """The loss of MindSpore's ``nn.SampledSoftmaxLoss``, on the CPU.

    Removal of accidental hits has MindSpore's meaning: the sampler draws no class that
    is a label of any row of the batch. With `sampled_values` there is no sampler, and
    hits are left out of their own rows instead (MindSpore leaves them in). Where
    num_sampled and the batch's distinct labels are more than num_classes, MindSpore
    stops removing; here that is an error. `reduction` is done (MindSpore's is not).

    Args:
        num_sampled, num_classes, num_true: S, C, T.
        sampled_values: (sampled_candidates [S], true_expected_count [N, T],
            sampled_expected_count [S]), or None to draw with every call.
        remove_accidental_hits: as above.
        seed: with `step`, all that decides a draw. 0 is a seed like any other.
        reduction: ``"none"`` [N], ``"mean"`` or ``"sum"``, both scalar.
        probability_floor: epsilon of -ln(p + epsilon). MindSpore's 1e-20, the default,
            bounds the loss by 46.05 and lets the gradient of such rows vanish; 0 is
            the exact loss.
        sampler: ``"uniform"``, as MindSpore's, ``"log_uniform"``, ``"all"``, or
            ``"learned_unigram"`` (counts of this process).
        rank: tells apart the workers of a data-parallel run that share a seed.
        ignore_index: rows whose labels all equal it have loss 0 and gradient 0.
        num_threads: 0 is the environment's SAMPLED_SOFTMAX_NUM_THREADS, else one for
            each core. The result does not depend on it.

    Attributes:
        step: a Parameter (int64, no gradient): the number of the next draw. It is in
            checkpoints, and so a run resumes with the draws it would have had.

    Inputs:
        weights [C, d], biases [C] or None, labels [N, T] or [N] (int32 or int64), logits
        [N, d], MindSpore's name for the hidden vectors.

    Outputs:
        [N], or a scalar if reduced: float32, float64 for float64 inputs.

    Raises:
        ValueError, TypeError: arguments, shapes and dtypes. RuntimeError: what only the
        values show, such as a label outside [0, C); its message names the place.
        In GRAPH_MODE a cell cannot go on after it, as after any operator that fails.
    """

    def __init__(
        self,
        num_sampled: SupportsIndex,
        num_classes: SupportsIndex,
        num_true: SupportsIndex = 1,
        sampled_values: Any = None,
        remove_accidental_hits: bool = True,
        seed: SupportsIndex = 0,
        reduction: str = "none",
        *,
        probability_floor: float = 1e-20,
        sampler: str = "uniform",
        rank: SupportsIndex = 0,
        ignore_index: SupportsIndex | None = None,
        num_threads: SupportsIndex = 0,
    ) -> None:
        super().__init__()
        sampled, classes = integer("num_sampled", num_sampled), integer("num_classes", num_classes)
        true = integer("num_true", num_true)
        check_class_arguments(sampled, classes, true, remove_accidental_hits)
        settings = Settings(
            num_classes=classes,
            num_sampled=sampled,
            sampler=sampler_code(sampler),
            unique=True,
            exclude_labels=remove_accidental_hits,
            seed=integer("seed", seed, 0, MOST),
            rank=integer("rank", rank, 0, MOST),
            remove_accidental_hits=remove_accidental_hits,
            reduction=reduction_code(reduction),
            probability_floor=float(probability_floor),
            has_ignore_index=ignore_index is not None,
            ignore_index=0 if ignore_index is None else integer("ignore_index", ignore_index, -(2**63)),
            has_biases=True,
            num_threads=integer("num_threads", num_threads, 0, 2**31 - 1),
        )
        self.loss = Evaluation(settings, true)
        self.step = Parameter(Tensor(0, ms.int64), name="step", requires_grad=False)
        self.one = Tensor(1, ms.int64)
        self.candidates = None if sampled_values is None else given(sampled_values, sampled, true)

    def construct(self, weights: Tensor, biases: Any, labels: Tensor, logits: Tensor) -> Tensor:
        """The loss."""
        if self.candidates is None:
            step = ops.assign_add(self.step, self.one) - self.one
            return self.loss(weights, biases, labels, logits, step, None)
        return self.loss(weights, biases, labels, logits, self.one, self.candidates)


def given(values: Any, num_sampled: int, num_true: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the caller sampled: ids as int64, counts of one float dtype."""
    check_sampled_values(values)
    ids, true, sampled = (np.asarray(v.asnumpy() if isinstance(v, Tensor) else v) for v in values)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"sampled_candidates has dtype {ids.dtype}; integers are needed")
    if true.ndim == 1 and num_true == 1:
        true = true.reshape(-1, 1)
    for name, array, shape in (
        ("sampled_candidates", ids, (num_sampled,)),
        ("true_expected_count", true, (len(true), num_true) if true.ndim else (0, num_true)),
        ("sampled_expected_count", sampled, (num_sampled,)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; {shape} is needed")
        if array is not ids and array.dtype.kind not in "fiu":
            raise TypeError(f"{name} has dtype {array.dtype}; real numbers are needed")
    counts = np.float64 if max(true.dtype.itemsize, sampled.dtype.itemsize) > 4 else np.float32
    return Tensor(ids.astype(np.int64)), Tensor(true.astype(counts)), Tensor(sampled.astype(counts))
