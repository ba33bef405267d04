"""Sampled softmax on PyTorch's tensors, as TensorFlow's function and MindSpore's class.

inputs, weights and biases are float32, float16 or bfloat16, in any mixture, or all
float64 (CPU only); labels are integers. Rows of inputs and weights may lie apart in
memory; other layouts are copied. The loss is float32, or float64 where the inputs are.
"""

from __future__ import annotations

from typing import Any, SupportsIndex

import torch
from torch import Tensor

from .. import _abi
from .._arrays import integer
from .._options import check_class_arguments, check_sampled_values
from .._sampler import Sampler
from .._seed import MOST
from ._evaluate import check_options, draw_options, evaluate


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
    sampler: str | Sampler = "log_uniform",
    reduction: str = "none",
    step: int = 0,
    rank: SupportsIndex | None = None,
    probability_floor: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    sample_weights: Tensor | None = None,
    sparse: bool = False,
    num_threads: SupportsIndex = 0,
) -> Tensor:
    """The loss of TensorFlow's ``tf.nn.sampled_softmax_loss``, differentiable once.

    Args:
        weights: [C, d]. biases: [C], or None. labels: [N, T], or [N] where T is 1.
            inputs: [N, d]. All on one device, a CPU or a GPU.
        num_sampled, num_classes, num_true: S, C, T.
        sampled_values: (sampled_candidates [S], true_expected_count [N, T],
            sampled_expected_count [S]) as a candidate sampler returns them; None to draw.
        remove_accidental_hits: leave out of a row the sampled classes that are among
            its labels, every copy of them.
        seed: 0 .. 2^64 - 1; None takes a draw from PyTorch's default generator, so that
            `torch.manual_seed` decides.
        sampler: ``"uniform"``, ``"log_uniform"``, ``"learned_unigram"``, ``"all"`` (the
            full softmax; S = C), or a `Sampler`, which brings its own seed, step and rank.
        reduction: ``"none"`` [N], ``"mean"`` (sum of weight * loss / sum of weights over
            the rows that are not ignored) or ``"sum"``, both scalar.
        step: which draw of the seed; needs a seed.
        rank: tells apart the workers of a data-parallel run that share a seed; None is
            this process's rank in `torch.distributed`, 0 without.
        probability_floor: epsilon of -ln(p + epsilon); 0 is the exact loss.
        ignore_index: rows whose labels all equal it have loss 0 and gradient 0.
        sample_weights: [N], multiplying the losses; no gradient flows to them.
        sparse: give weights and biases gradients as sparse COO tensors of the rows that
            were reached, for `torch.optim.SparseAdam`, `SGD` and `Adagrad`. A dense [C, d]
            gradient, the default, works with every optimizer and can cost many times the
            loss itself. The indices are unique and ascend where the host knows their
            number: on the CPU, outside of compiled code. Elsewhere the tensor is not
            coalesced; it ends in rows of zeros for a class that it has already.
        num_threads: of the CPU; 0 is the environment's SAMPLED_SOFTMAX_NUM_THREADS, else
            `torch.get_num_threads()`. The result does not depend on it.

    Under autocast, float32 inputs are rounded to its dtype as `torch.nn.functional.linear`
    does; weights are read as they are, and the loss is float32.

    Returns:
        [N] or a scalar, float32; float64 for float64 inputs.

    Raises:
        ValueError: shapes, ranges, unknown names. TypeError: dtypes. RuntimeError: two
            devices, or a second derivative.
        SampledSoftmaxError: what the library refuses; for a label outside [0, C) it is an
            IndexError too. On a GPU such a row's loss is NaN and its gradient 0, and
            `torch.autograd.set_detect_anomaly` makes it an error.
    """
    options = check_options(
        num_sampled, num_classes, num_true,
        _abi.SSL_HITS_MASK if remove_accidental_hits else _abi.SSL_HITS_KEEP,
        reduction, probability_floor, ignore_index, num_threads, sparse,
    )  # fmt: skip
    if sampled_values is None:
        draw = draw_options(sampler, options.num_sampled, options.num_classes, seed, step, rank)
    else:
        check_sampled_values(sampled_values)
        draw = None
    return evaluate(weights, biases, labels, inputs, sample_weights, sampled_values, options, draw, None)


class SampledSoftmaxLoss(torch.nn.Module):
    """The loss of MindSpore's ``nn.SampledSoftmaxLoss`` as a module without parameters.

    Removal of accidental hits has MindSpore's meaning: the sampler draws no class that is
    a label of any row of the batch. With `sampled_values` there is no sampler, and hits
    are left out of their own rows instead.

    Args:
        num_sampled, num_classes, num_true: S, C, T.
        sampled_values: (sampled_candidates [S], true_expected_count [N, T],
            sampled_expected_count [S]), or None to draw with every call.
        remove_accidental_hits: as above.
        seed: with `step` and `rank`, all that decides a draw. 0 is a seed like any other.
        reduction: ``"none"`` [N], ``"mean"`` or ``"sum"``, both scalar.
        probability_floor: epsilon of -ln(p + epsilon). MindSpore's 1e-20, the default,
            bounds the loss by 46.05 and lets the gradient of such rows vanish; 0 is the
            exact loss.
        sampler, rank, ignore_index, sparse, num_threads: as in `sampled_softmax_loss`;
            `sampler` is ``"uniform"`` unless given.

    Attributes:
        step: the number of the next draw, part of the module's state_dict. Every call that
            draws advances it by one, in compiled code too.

    Activation checkpointing calls a module twice, and the second call is another draw:
    keep the loss outside of it, or use `sampled_softmax_loss` with a step.

    Raises, when made, ValueError and TypeError.
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
        sampler: str | Sampler = "uniform",
        rank: SupportsIndex | None = None,
        ignore_index: SupportsIndex | None = None,
        sparse: bool = False,
        num_threads: SupportsIndex = 0,
    ) -> None:
        super().__init__()
        hits = check_class_arguments(
            integer("num_sampled", num_sampled),
            integer("num_classes", num_classes),
            integer("num_true", num_true),
            remove_accidental_hits,
        )
        self._options = check_options(
            num_sampled, num_classes, num_true, hits, reduction, probability_floor, ignore_index, num_threads, sparse
        )
        options = self._options
        self._sampled_values = sampled_values
        self._draw = None
        if sampled_values is not None:
            check_sampled_values(sampled_values)
        else:
            own_seed = isinstance(sampler, Sampler)
            if own_seed and integer("seed", seed, 0, MOST):
                raise ValueError(f"seed = {seed}: a Sampler brings its own seed; leave it out")
            self._draw = draw_options(
                sampler, options.num_sampled, options.num_classes, None if own_seed else seed, 0, rank
            )
        # The operator knows a Sampler by a number only.
        self._sampler = sampler
        # Not a buffer: it stays on the CPU when the module moves, and no data-parallel
        # wrapper sets it to another rank's.
        self._counter = torch.zeros((), dtype=torch.int64)

    @property
    def step(self) -> int:
        """The number of the next draw."""
        return int(self._counter)

    @step.setter
    def step(self, step: SupportsIndex) -> None:
        self._counter.fill_(integer("step", step, 0, 2**63 - 1))

    def forward(self, weights: Tensor, bias: Tensor | None, labels: Tensor, logits: Tensor) -> Tensor:
        """The loss of weights [C, d], bias [C] or None, labels [N, T] and inputs ``logits``
        [N, d] (MindSpore's name for them): [N], or a scalar if reduced."""
        return evaluate(
            weights, bias, labels, logits, None, self._sampled_values, self._options, self._draw, self._counter
        )

    def get_extra_state(self) -> dict[str, int]:
        """What `state_dict` keeps."""
        return {"step": self.step}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """What `load_state_dict` sets."""
        self.step = state["step"]

    def extra_repr(self) -> str:
        """The sizes."""
        options = self._options
        return f"num_sampled={options.num_sampled}, num_classes={options.num_classes}, num_true={options.num_true}"
