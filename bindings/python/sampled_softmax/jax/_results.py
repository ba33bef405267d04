"""What the functions return: tuples of arrays, which JAX takes for pytrees."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class RowSparse(NamedTuple):
    """A gradient of which only some rows were reached; all others are zero.

    The shapes are fixed, as in all of JAX, and hold the most rows that there can be:
    min(C, S + N T). Behind the last row that was reached, the indices are C and the
    values 0. C is out of range, which JAX's scatters drop; -1 would be the last row.
    """

    indices: jax.Array
    """[capacity] int32, or int64 under ``jax_enable_x64``: the classes, ascending, each
    once, then C."""
    values: jax.Array
    """[capacity, d] of weights, [capacity] of biases: the summed gradient of each."""

    def dense(self, num_classes: int) -> jax.Array:
        """The gradient in full: [C, d] or [C]."""
        zeros = jnp.zeros((num_classes, *self.values.shape[1:]), self.values.dtype)
        return zeros.at[self.indices].add(self.values, mode="drop")


class Gradients(NamedTuple):
    """Gradients, each in the dtype of the array it belongs to."""

    inputs: jax.Array
    """[N, d]."""
    weights: RowSparse | jax.Array
    """Of [C, d]: row-sparse, or dense on request."""
    biases: RowSparse | jax.Array | None
    """Of [C], in the form of `weights` and with its indices; None without biases."""


class SampledValues(NamedTuple):
    """Sampled classes and expected counts, in TensorFlow's order."""

    sampled_candidates: jax.Array
    """[S] int32, or int64 under ``jax_enable_x64``, ascending."""
    true_expected_count: jax.Array
    """[N, T] float32: how often each true class was to be expected in the sample."""
    sampled_expected_count: jax.Array
    """[S] float32: the same for the sampled classes."""


class LearnedSampledValues(NamedTuple):
    """`SampledValues`, of which a slice ``[:3]`` is one, and what was learned."""

    sampled_candidates: jax.Array
    """As in `SampledValues`."""
    true_expected_count: jax.Array
    """As in `SampledValues`."""
    sampled_expected_count: jax.Array
    """As in `SampledValues`."""
    learned_counts: jax.Array
    """[C], of the ids' dtype: for the next draw."""
