"""Sampled softmax as TensorFlow's function, and as a module with MindSpore's arguments."""

from __future__ import annotations

from typing import Any, NamedTuple, SupportsIndex

import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import variable_accessed

from .._arrays import integer
from .._options import (
    REDUCTIONS,
    check_class_arguments,
    check_sampled_values,
    check_sampler,
    reduction_code,
    sampler_code,
)
from .._sampler import Sampler
from .._seed import MOST
from ._arguments import Tensors, tensors_of
from ._ops import ops
from ._sampling import Draw, SampledValues, draw, draw_by_object, given, seed_of

_NAMES = {code: name for name, code in REDUCTIONS.items()}


class _Options(NamedTuple):
    """What a loss is asked for, checked."""

    num_sampled: int
    num_classes: int
    num_true: int
    sampled_values: Any
    who: Draw | Sampler | None
    """None: with `sampled_values` there is nobody to draw."""
    remove_accidental_hits: bool
    exclude_labels: bool
    reduction: str
    probability_floor: float
    ignore_index: int | None
    num_threads: int


@tf.autograph.experimental.do_not_convert
def sampled_softmax_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: SupportsIndex,
    num_classes: SupportsIndex,
    num_true: SupportsIndex = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: SupportsIndex | None = None,
    name: str | None = "sampled_softmax_loss",
    *,
    sampler: str | Sampler = "log_uniform",
    reduction: str = "none",
    step: Any = None,
    rank: SupportsIndex = 0,
    probability_floor: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    sample_weights: Any = None,
    num_threads: SupportsIndex = 0,
) -> tf.Tensor:
    """``tf.nn.sampled_softmax_loss``, with its arguments in its order.

    Args:
        weights: [C, d], or a list of tensors that are its parts along the first axis.
            biases: [C], or None. labels: [N, T] (or [N] if T is 1) of any integer
            dtype. inputs: [N, d].
        num_sampled, num_classes, num_true: S, C, T.
        sampled_values: (sampled_candidates [S], true_expected_count [N, T],
            sampled_expected_count [S]) as a candidate sampler returns them; None to
            draw.
        remove_accidental_hits: leave out of a row the sampled classes that are among
            its labels, every copy of them.
        seed: 0 .. 2^64 - 1, or None for draws that no other process makes.
        name: of the loss's name scope.
        sampler: ``"uniform"``, ``"log_uniform"``, ``"learned_unigram"`` (counts of
            this process), ``"all"`` (the full softmax; S = C), or a
            `sampled_softmax.Sampler`, which brings its own seed and step, draws in
            Python and so cannot be part of a graph that is saved.
        reduction: ``"none"``, ``"mean"`` (sum of weight * loss / sum of weights over
            the rows that are not ignored) or ``"sum"``.
        step: which draw of the seed: an integer, a scalar tensor or a variable. None:
            the next one of the seed in this process, as TensorFlow's samplers go on.
        rank: tells apart the replicas of a data-parallel run that share a seed.
        probability_floor: epsilon of -ln(p + epsilon); 0 is the exact loss.
        ignore_index: rows whose labels all equal it have loss 0 and gradient 0.
        sample_weights: [N], multiplying the losses; a row of weight 0 adds nothing,
            not even NaN. No gradient flows to them.
        num_threads: of the CPU engine; 0 is the environment's
            SAMPLED_SOFTMAX_NUM_THREADS, else one for each core. The result does not
            depend on it.

    Returns:
        [N], or a scalar if reduced: float32, float64 for float64 inputs (TensorFlow's
        has the dtype of inputs). Gradients of weights and biases are IndexedSlices
        with unique ascending rows; a second derivative is a LookupError.

    Raises:
        ValueError: shapes, ranges, unknown names. TypeError: dtypes.
        tf.errors.InvalidArgumentError: what only the values show, such as a label
        outside [0, C), and shapes that were unknown when a graph was traced. On a GPU
        a label out of range gives its row the loss NaN and the gradient 0 instead.
    """
    options = _options(
        num_sampled, num_classes, num_true, sampled_values, sampler, reduction, probability_floor, ignore_index,
        num_threads,
    )  # fmt: skip
    options = options._replace(remove_accidental_hits=bool(remove_accidental_hits))
    if isinstance(options.who, Sampler):
        if seed is not None or step is not None:
            raise ValueError("seed, step: a Sampler brings its own; leave them None")
    elif options.who is not None:
        drawing = options.who._replace(seed=seed_of(seed), step=step, rank=integer("rank", rank, 0, MOST))
        options = options._replace(who=drawing)
    with tf.name_scope(name or "sampled_softmax_loss"):
        return _evaluate(weights, biases, labels, inputs, sample_weights, options)


class SampledSoftmaxLoss(tf.Module):
    """The loss of MindSpore's ``nn.SampledSoftmaxLoss`` as a ``tf.Module``.

    Removal of accidental hits has MindSpore's meaning: the sampler draws no class that
    is a label of any row of the batch. With `sampled_values` there is no sampler, and
    hits are left out of their own rows instead.

    Args:
        num_sampled, num_classes, num_true: S, C, T.
        sampled_values: (sampled_candidates [S], true_expected_count [N, T],
            sampled_expected_count [S]), or None to draw with every call.
        remove_accidental_hits: as above.
        seed: with `step`, all that decides a draw.
        reduction: ``"none"`` [N], ``"mean"`` or ``"sum"``, both scalar.
        probability_floor: epsilon of -ln(p + epsilon). MindSpore's 1e-20, the default,
            bounds the loss by 46.05 and lets the gradient of such rows vanish; 0 is
            the exact loss.
        sampler, rank, ignore_index, num_threads: as in `sampled_softmax_loss`.

    Attributes:
        step: a ``tf.Variable`` (int64, not trainable): the number of the next draw.
            Checkpoints save it, and so a run resumes with the draws it would have had.

    Raises ValueError and TypeError, when made, for arguments that cannot be meant.
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
        rank: SupportsIndex = 0,
        ignore_index: SupportsIndex | None = None,
        num_threads: SupportsIndex = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        options = _options(
            num_sampled, num_classes, num_true, sampled_values, sampler, reduction, probability_floor, ignore_index,
            num_threads,
        )  # fmt: skip
        check_class_arguments(options.num_sampled, options.num_classes, options.num_true, remove_accidental_hits)
        number = integer("seed", seed, 0, MOST)
        who = options.who
        if isinstance(who, Sampler) and number:
            raise ValueError(f"seed = {number}: a Sampler brings its own seed; leave it out")
        if isinstance(who, Draw):
            who = who._replace(seed=number, rank=integer("rank", rank, 0, MOST), exclude_labels=remove_accidental_hits)
        self._settings = options._replace(
            who=who, remove_accidental_hits=remove_accidental_hits, exclude_labels=remove_accidental_hits
        )
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")

    @tf.autograph.experimental.do_not_convert
    def __call__(self, weights: Any, bias: Any, labels: Any, logits: Any, sample_weights: Any = None) -> tf.Tensor:
        """The loss of weights [C, d], bias [C] or None, labels [N, T] and inputs
        ``logits`` [N, d] (MindSpore's name for them): [N], or a scalar if reduced."""
        options = self._settings
        if isinstance(options.who, Draw):
            step = self.step.assign_add(1, read_value=True) - 1
            options = options._replace(who=options.who._replace(step=step))
        with self.name_scope:
            return _evaluate(weights, bias, labels, logits, sample_weights, options)


def _options(
    num_sampled: SupportsIndex,
    num_classes: SupportsIndex,
    num_true: SupportsIndex,
    sampled_values: Any,
    sampler: str | Sampler,
    reduction: str,
    probability_floor: float,
    ignore_index: SupportsIndex | None,
    num_threads: SupportsIndex,
) -> _Options:
    sampled, classes = integer("num_sampled", num_sampled), integer("num_classes", num_classes)
    ignored = None if ignore_index is None else integer("ignore_index", ignore_index, -(2**63), 2**63 - 1)
    who: Draw | Sampler | None = None
    if sampled_values is not None:
        check_sampled_values(sampled_values)
    elif isinstance(sampler, Sampler):
        check_sampler(sampler, sampled, classes)
        who = sampler
    else:
        sampler_code(sampler)
        who = Draw(sampler, sampled, classes, seed=None, ignore_index=ignored)
    return _Options(
        num_sampled=sampled,
        num_classes=classes,
        num_true=integer("num_true", num_true),
        sampled_values=sampled_values,
        who=who,
        remove_accidental_hits=True,
        exclude_labels=False,
        reduction=_NAMES[reduction_code(reduction)],
        probability_floor=float(probability_floor),
        ignore_index=ignored,
        num_threads=integer("num_threads", num_threads, 0, 2**31 - 1),
    )


def _evaluate(weights: Any, biases: Any, labels: Any, inputs: Any, sample_weights: Any, options: _Options) -> tf.Tensor:
    tensors = tensors_of(weights, biases, labels, inputs, sample_weights, options.num_classes, options.num_true)
    candidates = _candidates(tensors, options)
    ignored = options.ignore_index
    if isinstance(tensors.weights, tf.Variable):
        tensors, candidates = _gathered(tensors, candidates, ignored)
        ignored = None if ignored is None else -1
    loss, _ = ops().sampled_softmax_forward(
        inputs=tensors.inputs,
        weights=tensors.weights,
        biases=tensors.biases,
        labels=tensors.labels,
        ids=candidates.sampled_candidates,
        true_expected_count=candidates.true_expected_count,
        sampled_expected_count=candidates.sampled_expected_count,
        sample_weights=tensors.sample_weights,
        Tloss=tensors.counts_dtype,
        remove_accidental_hits=options.remove_accidental_hits,
        reduction=options.reduction,
        probability_floor=repr(options.probability_floor),
        has_ignore_index=ignored is not None,
        ignore_index=ignored or 0,
        num_threads=options.num_threads,
    )
    return loss


def _gathered(tensors: Tensors, candidates: SampledValues, ignore_index: int | None) -> tuple[Tensors, SampledValues]:
    """The same loss in terms of the rows that it needs, taken from the variables in place."""
    variables = [tensors.weights, *tensors.biases]
    for variable in variables:
        variable_accessed(variable)
    weights, biases, _, labels, ids = ops().sampled_softmax_gather(
        weights=variables[0].handle,
        biases=[variable.handle for variable in variables[1:]],
        labels=tensors.labels,
        ids=candidates.sampled_candidates,
        Tweights=variables[0].dtype,
        Tbiases=variables[-1].dtype,
        num_weights=1,
        has_ignore_index=ignore_index is not None,
        ignore_index=ignore_index or 0,
    )
    tensors = tensors._replace(weights=weights[0], biases=list(biases), labels=labels)
    return tensors, candidates._replace(sampled_candidates=ids)


def _candidates(tensors: Tensors, options: _Options) -> SampledValues:
    if options.sampled_values is not None:
        return given(options.sampled_values, tensors.labels, options.num_sampled)
    if isinstance(options.who, Sampler):
        return draw_by_object(options.who, tensors, options.exclude_labels, options.ignore_index)
    assert options.who is not None
    return draw(options.who, tensors.labels, tensors.counts_dtype)
