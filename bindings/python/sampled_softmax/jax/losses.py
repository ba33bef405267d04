"""Sampled softmax as TensorFlow's function, as MindSpore's class, and with gradients.

The formula, the options and their meaning are those of `sampled_softmax.losses`; what
differs in JAX stands in `sampled_softmax.jax`.
"""

from __future__ import annotations

import functools
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import _abi
from .._arrays import integer
from .._options import Options, check_class_arguments, check_options
from .._sampler import Sampler
from . import _operations
from ._arguments import cast_floats, classes
from ._operations import Loss, Operands
from ._results import Gradients, RowSparse
from ._tensors import make_operands
from ._words import from_words


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
    step: SupportsIndex | jax.Array = 0,
    probability_floor: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    sample_weights: ArrayLike | None = None,
    num_threads: SupportsIndex = 0,
) -> jax.Array:
    """The loss of TensorFlow's ``tf.nn.sampled_softmax_loss``, for ``jax.grad``.

    Args:
        weights: [C, d]. biases: [C], or None. inputs: [N, d]. Each float32, float16 or
            bfloat16, in any mixture, or all float64.
        labels: [N, T] integers in [0, C), or [N] where T is 1.
        num_sampled, num_classes, num_true: S, C, T.
        sampled_values: (sampled_candidates [S], true_expected_count [N, T],
            sampled_expected_count [S]) as a candidate sampler returns them; None to
            draw.
        remove_accidental_hits: leave out of a row the sampled classes that are among
            its labels, every copy of them.
        seed: 0 .. 2^64 - 1; needed if the loss is to draw and anything in it is random.
        sampler: ``"uniform"``, ``"log_uniform"``, ``"all"`` (the full softmax; S = C),
            or a `sampled_softmax.Sampler`, which brings its own seed. Its own count of
            steps is not looked at.
        reduction: ``"none"`` [N], ``"mean"`` (sum of weight * loss / sum of weights
            over the rows that are not ignored) or ``"sum"``, both scalar.
        step: which draw of the seed: an integer, or a scalar array, traced or not.
        probability_floor: epsilon of -ln(p + epsilon); 0 is the exact loss.
        ignore_index: rows whose labels all equal it have loss 0 and gradient 0.
        sample_weights: [N], multiplying the losses; a row of weight 0 adds nothing,
            not even NaN.
        num_threads: on the CPU; 0 is the environment's SAMPLED_SOFTMAX_NUM_THREADS,
            else one for each core. The result does not depend on it.

    Returns:
        [N] or a scalar, float32; float64 for float64 inputs. Its gradient with respect
        to weights and biases is dense; `value_and_grad` has the rows alone.

    Raises:
        ValueError: shapes, ranges, unknown names, a missing seed. TypeError: dtypes.
        `sampled_softmax.SampledSoftmaxError`: what the library refuses when traced.
        jax.errors.JaxRuntimeError or ValueError: when run, what only the numbers show.
    """
    options = _options(
        num_sampled, num_classes, num_true, sampled_values, _hits(remove_accidental_hits), seed, sampler, reduction,
        probability_floor, ignore_index, sample_weights, num_threads,
    )  # fmt: skip
    loss, operands = make_operands(weights, biases, labels, inputs, options, step)
    return _value(loss, operands)


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
    step: SupportsIndex | jax.Array = 0,
    probability_floor: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    sample_weights: ArrayLike | None = None,
    num_threads: SupportsIndex = 0,
    grad_output: ArrayLike | None = None,
    dense: bool = False,
) -> tuple[jax.Array, Gradients]:
    """`sampled_softmax_loss` and its gradients, in one pass.

    Args:
        grad_output: the gradient of what follows the loss, [N] or, with a reduction,
            a scalar; None means 1.
        dense: give the gradients of weights and biases as arrays of their full shape.
            A dense [C, d] gradient can cost many times the loss itself.
        All others, and what is raised, as in `sampled_softmax_loss`.

    Returns:
        (loss, `Gradients`), each gradient in the dtype of its array, neither of them
        differentiable. An update is ``weights.at[g.weights.indices].add(-rate *
        g.weights.values, mode="drop")``: see `RowSparse`. To go on into a model below,
        hand ``g.inputs`` to the function that ``jax.vjp`` gives for it.
    """
    options = _options(
        num_sampled, num_classes, num_true, sampled_values, _hits(remove_accidental_hits), seed, sampler, reduction,
        probability_floor, ignore_index, sample_weights, num_threads,
    )  # fmt: skip
    loss, operands = make_operands(weights, biases, labels, inputs, options, step)
    shape = () if loss.reduced else (operands.inputs.shape[0],)
    upstream = jnp.ones(shape, operands.dtype)
    if grad_output is not None:
        upstream = cast_floats("grad_output", grad_output, operands.dtype, shape)
    value, d_inputs, d_weights, d_biases, words = _value_and_gradients(loss._replace(dense=dense), operands, upstream)
    if dense:
        return value, Gradients(d_inputs, d_weights, None if biases is None else d_biases)
    ids = from_words(words)
    # The library marks the rows behind the last by -1, which JAX would take for C - 1.
    indices = jnp.where(ids < 0, options.num_classes, ids)
    sparse_biases = None if biases is None else RowSparse(indices, d_biases)
    return value, Gradients(d_inputs, RowSparse(indices, d_weights), sparse_biases)


class SampledSoftmaxLoss:
    """The loss of MindSpore's deprecated ``nn.SampledSoftmaxLoss``, as a pure function.

    Constructor and meaning are those of `sampled_softmax.SampledSoftmaxLoss`:
    ``remove_accidental_hits`` keeps every label of the batch out of the sample. In JAX a
    function cannot count its calls, so a call that draws is told its step.

    Args:
        num_sampled, num_classes, num_true: S, C, T.
        sampled_values: (sampled_candidates [S], true_expected_count [N, T],
            sampled_expected_count [S]), or None to draw with every call.
        remove_accidental_hits: as above.
        seed: with the step, all that decides a draw. 0 is a seed like any other.
        reduction: ``"none"`` [N], ``"mean"`` or ``"sum"``, both scalar.
        probability_floor: epsilon of -ln(p + epsilon). MindSpore's 1e-20, the default,
            bounds the loss by 46.05 and lets the gradient of such rows vanish; 0 is
            the exact loss.
        sampler: ``"uniform"``, as MindSpore's, or any other that
            `sampled_softmax_loss` takes; a `Sampler` brings its own seed.
        ignore_index, num_threads: as in `sampled_softmax_loss`.

    Raises ValueError and TypeError, when made, for what MindSpore raises them.
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
        num_threads: SupportsIndex = 0,
    ) -> None:
        hits = check_class_arguments(
            integer("num_sampled", num_sampled),
            integer("num_classes", num_classes),
            integer("num_true", num_true),
            remove_accidental_hits,
        )
        own_seed = isinstance(sampler, Sampler) and integer("seed", seed, 0) == 0
        self._options = _options(
            num_sampled, num_classes, num_true, sampled_values, hits, None if own_seed else seed, sampler, reduction,
            probability_floor, ignore_index, None, num_threads,
        )  # fmt: skip

    def __call__(
        self,
        weights: ArrayLike,
        bias: ArrayLike | None,
        labels: ArrayLike,
        logits: ArrayLike,
        step: SupportsIndex | jax.Array | None = None,
    ) -> jax.Array:
        """The loss of weights [C, d], bias [C] or None, labels [N, T] and inputs
        ``logits`` [N, d] (MindSpore's name for them): [N], or a scalar if reduced.

        `step` says which draw of the seed, and is needed unless there are
        sampled_values: an integer, or a scalar array, traced or not.
        """
        if step is None and self._options.sampled_values is None:
            raise ValueError("step = None: which draw of the seed is to be made must be said with every call")
        loss, operands = make_operands(weights, bias, labels, logits, self._options, 0 if step is None else step)
        return _value(loss, operands)


def _options(
    num_sampled: SupportsIndex,
    num_classes: SupportsIndex,
    num_true: SupportsIndex,
    sampled_values: Any,
    hits: int,
    seed: SupportsIndex | None,
    sampler: str | Sampler,
    reduction: str,
    probability_floor: float,
    ignore_index: SupportsIndex | None,
    sample_weights: ArrayLike | None,
    num_threads: SupportsIndex,
) -> Options:
    """Checked options; `step` has its place among the arrays, and the device is theirs."""
    if sampled_values is None:
        name = sampler.name if isinstance(sampler, Sampler) else sampler
        if name == "learned_unigram":
            raise ValueError(
                "sampler = 'learned_unigram': what it learns would have to outlive a call; draw with "
                "learned_unigram_candidate_sampler, which takes and returns it, and pass sampled_values"
            )
        if seed is None and not isinstance(sampler, Sampler) and name != "all":
            raise ValueError(
                "seed = None: a function of JAX has no randomness but what it is given; pass seed and step"
            )
    return check_options(
        num_sampled, classes("num_classes", num_classes), num_true, sampled_values, hits, seed, sampler, reduction, 0,
        probability_floor, ignore_index, sample_weights, "cpu", num_threads,
    )  # fmt: skip


def _hits(remove_accidental_hits: bool) -> int:
    return _abi.SSL_HITS_MASK if remove_accidental_hits else _abi.SSL_HITS_KEEP


@functools.partial(jax.jit, static_argnums=0)
def _value(loss: Loss, operands: Operands) -> jax.Array:
    value: jax.Array = _differentiable(loss)(*operands)
    return value


@functools.partial(jax.jit, static_argnums=0)
def _value_and_gradients(loss: Loss, operands: Operands, grad_output: jax.Array) -> tuple[jax.Array, ...]:
    return _operations.forward_backward(loss, operands, grad_output)


@functools.lru_cache(maxsize=1024)
def _differentiable(loss: Loss) -> Any:
    """The loss with its gradients of inputs, weights and biases, as a function of the
    operands; made once, so that JAX finds what it has compiled for it."""

    @jax.custom_vjp
    def value(*operands: jax.Array) -> jax.Array:
        return _operations.forward(loss, Operands(*operands))[0]

    def fwd(*primals: Any) -> tuple[jax.Array, Any]:
        operands = Operands(*(primal.value for primal in primals))
        # Of weights that nobody differentiates, the dense gradient is not computed.
        wanted = _Wanted(tuple(primal.perturbed for primal in primals[:3]))
        result, log_sum_exp = _operations.forward(loss, operands)
        return result, (operands, log_sum_exp, wanted)

    def bwd(residuals: Any, grad_output: Any) -> tuple[Any, ...]:
        operands, log_sum_exp, wanted = residuals
        if isinstance(grad_output, jax.custom_derivatives.SymbolicZero):
            return (None,) * len(operands)
        d_inputs, d_weights, d_biases = wanted.flags
        asked = loss._replace(d_inputs=d_inputs, d_weights=d_weights, d_biases=d_biases, dense=True)
        made = _operations.backward(asked, operands, log_sum_exp, grad_output)[:3]
        gradients = [gradient if is_wanted else None for gradient, is_wanted in zip(made, wanted.flags, strict=True)]
        return (*gradients, *(None for _ in operands[3:]))

    value.defvjp(fwd, bwd, symbolic_zeros=True)
    return value


@jax.tree_util.register_static
class _Wanted:
    """Which gradients are, as part of residuals, which hold arrays and trees only."""

    def __init__(self, flags: tuple[bool, ...]) -> None:
        self.flags = flags

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wanted) and self.flags == other.flags

    def __hash__(self) -> int:
        return hash(self.flags)
