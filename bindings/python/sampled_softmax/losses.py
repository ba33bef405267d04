"""Sampled softmax as TensorFlow's function, as MindSpore's class, and with gradients.

For inputs x [N, d], weights w [C, d], biases b [C], labels [N, T] and sampled classes
of expected counts Q,

    z[n, k] = <x[n], w[k]> + b[k] - ln Q(k)
    loss[n] = ln(sum of exp z[n, k] over the T labels and the S sampled classes)
              - mean of z[n, k] over the T labels

Arrays are NumPy's, whatever `numpy.asarray` takes, or those of CuPy, Numba, JAX and
PyTorch, on a CUDA device too (DLPack, `__cuda_array_interface__`). inputs, weights and biases are
float32, float16 or bfloat16 (of the package ml_dtypes), in any mixture, or all float64;
labels are of any integer dtype, [N, T], or [N] where T is 1. Rows may lie apart in
memory; other layouts are copied. The loss is float32, or float64 where the inputs are.
"""

from __future__ import annotations

from typing import Any, SupportsIndex

from numpy.typing import ArrayLike

from . import _abi
from ._arrays import Array, integer
from ._evaluate import evaluate
from ._gradients import Gradients
from ._handle import engine_of
from ._options import (
    Options,
    check_class_arguments,
    check_options,
    check_sampled_values,
    check_sampler,
    check_upstream,
    reduction_code,
    sampler_code,
)
from ._sampler import Sampler
from ._seed import MOST, Steps
from ._update import Update
from .samplers import learned_sampler


def sampled_softmax_loss(
    weights: ArrayLike,
    biases: ArrayLike | None,
    labels: ArrayLike,
    inputs: ArrayLike,
    num_sampled: SupportsIndex,
    num_classes: SupportsIndex,
    num_true: SupportsIndex = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: SupportsIndex | None = None,
    *,
    sampler: str | Sampler = "log_uniform",
    reduction: str = "none",
    step: SupportsIndex = 0,
    probability_floor: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    sample_weights: ArrayLike | None = None,
    device: str = "auto",
    num_threads: SupportsIndex = 0,
) -> Array:
    """The loss of TensorFlow's ``tf.nn.sampled_softmax_loss``.

    Args:
        weights: [C, d]. biases: [C], or None. labels: [N, T]. inputs: [N, d].
        num_sampled, num_classes, num_true: S, C, T.
        sampled_values: (sampled_candidates [S], true_expected_count [N, T],
            sampled_expected_count [S]) as a candidate sampler returns them; None to
            draw.
        remove_accidental_hits: leave out of a row the sampled classes that are among
            its labels, every copy of them.
        seed: 0 .. 2^64 - 1, or None for a new draw with every call.
        sampler: ``"uniform"``, ``"log_uniform"``, ``"learned_unigram"`` (with the
            counts of `learned_unigram_candidate_sampler`), ``"all"`` (the full
            softmax; S = C), or a `Sampler`, which brings its own seed and step.
        reduction: ``"none"`` [N], ``"mean"`` (sum of weight * loss / sum of weights
            over the rows that are not ignored) or ``"sum"``, both scalar.
        step: which draw of the seed; needs a seed.
        probability_floor: epsilon of -ln(p + epsilon); 0 is the exact loss.
        ignore_index: rows whose labels all equal it have loss 0 and gradient 0.
        sample_weights: [N], multiplying the losses; a row of weight 0 adds nothing,
            not even NaN.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:<number>"``, or ``"auto"``: what the
            environment's SAMPLED_SOFTMAX_DEVICE says, else where the arrays are. NumPy
            arrays are copied to a device and the results back; where one of the arrays is
            on it already (`to_device`), the others are copied and the results stay, as
            `DeviceArray`. Either way the call returns when the work is done.
        num_threads: 0 is the environment's SAMPLED_SOFTMAX_NUM_THREADS, else one for
            each core. The result does not depend on it.

    Returns:
        [N] or a scalar, float32; float64 for float64 inputs.

    Raises:
        ValueError: shapes, ranges, unknown names. TypeError: dtypes.
        SampledSoftmaxError: what the library refuses, such as a label outside [0, C);
            it is a ValueError or TypeError too where one fits.
    """
    options = check_options(
        num_sampled, num_classes, num_true, sampled_values, _hits(remove_accidental_hits), seed, sampler, reduction,
        step, probability_floor, ignore_index, sample_weights, device, num_threads,
    )  # fmt: skip
    loss: Array = evaluate(weights, biases, labels, inputs, options, None)
    return loss


def value_and_grad(
    weights: ArrayLike,
    biases: ArrayLike | None,
    labels: ArrayLike,
    inputs: ArrayLike,
    num_sampled: SupportsIndex,
    num_classes: SupportsIndex,
    num_true: SupportsIndex = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: SupportsIndex | None = None,
    *,
    sampler: str | Sampler = "log_uniform",
    reduction: str = "none",
    step: SupportsIndex = 0,
    probability_floor: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    sample_weights: ArrayLike | None = None,
    device: str = "auto",
    num_threads: SupportsIndex = 0,
    grad_output: ArrayLike | None = None,
    dense: bool = False,
    update: Update | None = None,
) -> tuple[Array, Gradients]:
    """`sampled_softmax_loss` and its gradients, in one pass.

    Args:
        grad_output: the gradient of what follows the loss, [N] or, with a reduction,
            a scalar; None means 1.
        dense: give the gradients of weights and biases as arrays of their full shape.
            A dense [C, d] gradient can cost many times the loss itself.
        update: `SGD`, `Adagrad` or `RowAdagrad`: weights and biases are moved in place by
            their gradients, which are not given; d_inputs is of the weights before. Of the
            classes without a gradient nothing is read or written. An error leaves all as
            it was, but for one that a device finds in its data: then rows at fault have
            counted for nothing.
        All others, and what is raised, as in `sampled_softmax_loss`.

    Returns:
        (loss, `Gradients`), each gradient in the dtype of its array. The rows of
        `RowSparse` are unique, so an update is
        ``weights[g.weights.indices] -= rate * g.weights.values``.
    """
    options = check_options(
        num_sampled, num_classes, num_true, sampled_values, _hits(remove_accidental_hits), seed, sampler, reduction,
        step, probability_floor, ignore_index, sample_weights, device, num_threads,
    )  # fmt: skip
    upstream = check_upstream(grad_output, dense, update)
    result: tuple[Array, Gradients] = evaluate(weights, biases, labels, inputs, options, upstream)
    return result


def _hits(remove_accidental_hits: bool) -> int:
    return _abi.SSL_HITS_MASK if remove_accidental_hits else _abi.SSL_HITS_KEEP


class SampledSoftmaxLoss:
    """The loss of MindSpore's ``nn.SampledSoftmaxLoss``.

    Removal of accidental hits has MindSpore's meaning: the sampler draws no class that
    is a label of any row of the batch. With `sampled_values` there is no sampler, and
    hits are left out of their own rows instead (MindSpore leaves them in). Where
    num_sampled and the batch's distinct labels are more than num_classes, MindSpore
    stops removing; here that is an error.

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
        sampler: ``"uniform"``, as MindSpore's, or any other that
            `sampled_softmax_loss` takes; a `Sampler` brings its own seed.
        ignore_index, device, num_threads: as in `sampled_softmax_loss`.

    Attributes:
        step: the number of the next draw. Every call that draws advances it by one;
            set it to go on where an earlier run ended.

    Raises ValueError and TypeError, when made, for what MindSpore raises them.
    May be used by several threads at once.
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
        ignore_index: SupportsIndex | None = None,
        device: str = "auto",
        num_threads: SupportsIndex = 0,
    ) -> None:
        classes = integer("num_classes", num_classes)
        sampled = integer("num_sampled", num_sampled)
        true = integer("num_true", num_true)
        hits = check_class_arguments(sampled, classes, true, remove_accidental_hits)
        number = integer("seed", seed, 0, MOST)
        who: int | Sampler
        if sampled_values is not None:
            check_sampled_values(sampled_values)
        if isinstance(sampler, Sampler):
            check_sampler(sampler, sampled, classes)
            if number:
                raise ValueError(f"seed = {number}: a Sampler brings its own seed; leave it out")
            who = sampler
        else:
            who = sampler_code(sampler)
            if who == _abi.SSL_SAMPLER_LEARNED_UNIGRAM:
                who = learned_sampler(classes, sampled, True, number)
        self._steps = Steps()
        self._options = Options(
            num_sampled=sampled,
            num_classes=classes,
            num_true=true,
            sampled_values=sampled_values,
            hits=hits,
            sampler=who,
            seed=number,
            step=None,
            reduction=reduction_code(reduction),
            probability_floor=float(probability_floor),
            ignore_index=None if ignore_index is None else integer("ignore_index", ignore_index, -(2**63)),
            sample_weights=None,
            engine=engine_of(device),
            num_threads=integer("num_threads", num_threads, 0, 2**32 - 1),
        )

    @property
    def step(self) -> int:
        """The number of the next draw."""
        return self._steps.next

    @step.setter
    def step(self, step: SupportsIndex) -> None:
        self._steps.next = step

    def __call__(self, weights: ArrayLike, bias: ArrayLike | None, labels: ArrayLike, logits: ArrayLike) -> Array:
        """The loss of weights [C, d], bias [C] or None, labels [N, T] and inputs
        ``logits`` [N, d] (MindSpore's name for them): [N], or a scalar if reduced."""
        loss: Array = evaluate(weights, bias, labels, logits, self._next(), None)
        return loss

    def value_and_grad(
        self,
        weights: ArrayLike,
        bias: ArrayLike | None,
        labels: ArrayLike,
        logits: ArrayLike,
        grad_output: ArrayLike | None = None,
        dense: bool = False,
        update: Update | None = None,
    ) -> tuple[Array, Gradients]:
        """The loss and its gradients, as the function `value_and_grad` returns them."""
        result: tuple[Array, Gradients] = evaluate(
            weights, bias, labels, logits, self._next(), check_upstream(grad_output, dense, update)
        )
        return result

    def _next(self) -> Options:
        if self._options.sampled_values is not None:
            return self._options
        return self._options._replace(step=self._steps.take())
