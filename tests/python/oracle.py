"""The loss and its gradients in plain float64 NumPy: what every engine is held to.

The formulas are those at the head of ``include/sampled_softmax.h``. Nothing here is
shared with the library, and nothing is chunked, masked late or fused: an N x (T + S)
matrix of logits, its log-sum-exp, and the derivative written out.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


class Reference(TypedDict):
    """What `reference` returns; every array float64."""

    loss: Float64Array
    """[N], or 0-d with a reduction."""
    d_inputs: Float64Array
    """[N, d]."""
    d_weights: Float64Array
    """[C, d], dense."""
    d_biases: Float64Array
    """[C], dense; also where `biases` is None."""
    log_sum_exp: Float64Array
    """[N]; 0 for ignored rows."""


def reference(
    weights: ArrayLike,
    biases: ArrayLike | None,
    labels: ArrayLike,
    inputs: ArrayLike,
    ids: ArrayLike,
    true_counts: ArrayLike,
    sampled_counts: ArrayLike,
    *,
    remove_accidental_hits: bool = True,
    reduction: str = "none",
    probability_floor: float = 0.0,
    ignore_index: int | None = None,
    sample_weights: ArrayLike | None = None,
    grad_output: ArrayLike | None = None,
) -> Reference:
    """Loss and gradients of sampled softmax, all in float64.

    weights [C, d], biases [C] or None, labels [N, T] or [N], inputs [N, d], ids [S],
    true_counts [N, T] or [N] (anything in ignored rows), sampled_counts [S],
    sample_weights [N], grad_output [N] or scalar with a reduction (None: ones).
    Lower precisions are widened first, so the rounding of the inputs is shared with
    the engine under test and only its arithmetic is judged.
    """
    weights, inputs = _float64(weights), _float64(inputs)
    num_classes, dim = weights.shape
    num_rows = inputs.shape[0]
    biases = np.zeros(num_classes) if biases is None else _float64(biases)
    labels = np.asarray(labels, dtype=np.int64).reshape(num_rows, -1)
    num_true = labels.shape[1]
    ids = np.asarray(ids, dtype=np.int64)
    log_true = _log(_float64(true_counts).reshape(num_rows, num_true))
    log_sampled = _log(_float64(sampled_counts))

    row_loss = np.zeros(num_rows)
    log_sum_exp = np.zeros(num_rows)
    d_logits = np.zeros((num_rows, num_true + ids.size))
    kept = np.ones(num_rows, dtype=bool)
    if ignore_index is not None and num_true > 0:
        kept = ~np.all(labels == ignore_index, axis=1)
    for n in np.flatnonzero(kept):
        true = weights[labels[n]] @ inputs[n] + biases[labels[n]] - log_true[n]
        sampled = weights[ids] @ inputs[n] + biases[ids] - log_sampled
        if remove_accidental_hits:
            sampled[np.isin(ids, labels[n])] = -np.inf
        row_loss[n], log_sum_exp[n], d_logits[n] = _row(true, sampled, probability_floor)

    row_weights = kept * (np.ones(num_rows) if sample_weights is None else _float64(sample_weights))
    loss, coefficients = _reduce(row_loss, row_weights, reduction, grad_output)

    d_inputs = np.zeros((num_rows, dim))
    d_weights = np.zeros((num_classes, dim))
    d_biases = np.zeros(num_classes)
    for n in np.flatnonzero(coefficients != 0):
        classes = np.concatenate([labels[n], ids])
        gradient = coefficients[n] * d_logits[n]
        d_inputs[n] = gradient @ weights[classes]
        np.add.at(d_weights, classes, np.outer(gradient, inputs[n]))
        np.add.at(d_biases, classes, gradient)
    return Reference(
        loss=loss,
        d_inputs=d_inputs,
        d_weights=d_weights,
        d_biases=d_biases,
        log_sum_exp=log_sum_exp,
    )


def _row(true: Float64Array, sampled: Float64Array, floor: float) -> tuple[float, float, Float64Array]:
    """One row's loss, log-sum-exp and d loss / d logits (true first, then sampled).

    With p = softmax(z) and r_t = (1/T) p_t / (p_t + floor), the derivative of
    -mean_t ln(p_t + floor) is p_k sum_t r_t, less r_k on the true columns; without a
    floor r_t = 1/T and this is the softmax gradient p - target.
    """
    num_true = true.size
    logits = np.concatenate([true, sampled])
    highest = np.max(logits)
    if highest == -np.inf:
        # Every class is switched off: the row has no distribution, its loss is that of
        # a true class of probability zero, and no class can take part in a gradient.
        loss = np.inf if floor == 0.0 else -np.log(floor)
        return float(loss), -np.inf, np.zeros(logits.size)
    if not np.isfinite(highest):
        return np.nan, float(highest), np.full(logits.size, np.nan)
    log_sum_exp = highest + np.log(np.sum(np.exp(logits - highest)))
    probability = np.exp(logits - log_sum_exp)
    if floor == 0.0:
        # Subtracting before averaging keeps large logits from cancelling.
        loss = float(np.mean(log_sum_exp - true))
        pull = np.full(num_true, 1.0 / num_true)
    else:
        loss = float(-np.mean(np.log(probability[:num_true] + floor)))
        pull = probability[:num_true] / (probability[:num_true] + floor) / num_true
    gradient = probability * np.sum(pull)
    gradient[:num_true] -= pull
    return loss, float(log_sum_exp), gradient


def _reduce(
    row_loss: Float64Array,
    row_weights: Float64Array,
    reduction: str,
    grad_output: ArrayLike | None,
) -> tuple[Float64Array, Float64Array]:
    """The reduced loss and d(grad_output . loss) / d row_loss."""
    # A row of weight zero adds nothing, not even NaN.
    weighted = np.where(row_weights == 0, 0.0, row_weights * np.where(row_weights == 0, 0.0, row_loss))
    shape = (row_loss.size,) if reduction == "none" else ()
    upstream = np.ones(shape) if grad_output is None else _float64(grad_output).reshape(shape)
    if reduction == "none":
        return weighted, upstream * row_weights
    if reduction == "sum":
        return np.asarray(np.sum(weighted)), upstream * row_weights
    if reduction == "mean":
        total = np.sum(row_weights)
        if total == 0:
            return np.asarray(0.0), np.zeros(row_loss.size)
        return np.asarray(np.sum(weighted) / total), upstream * row_weights / total
    raise ValueError(f"reduction = {reduction!r} is none of 'none', 'mean', 'sum'")


def _float64(values: ArrayLike) -> Float64Array:
    return np.asarray(values).astype(np.float64)


def _log(counts: Float64Array) -> Float64Array:
    """Logarithm that lets the zeros of ignored rows pass without a warning."""
    with np.errstate(divide="ignore"):
        return np.log(counts)
