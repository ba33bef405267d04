"""One training step, by the library and as plain JAX would have it.

Both draw the same candidates and make the same row-sparse updates; they differ in the
loss and its gradients, and in nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from sampled_softmax.jax import RowSparse, SampledValues, log_uniform_candidate_sampler, value_and_grad

from . import towers
from .towers import Model, Query

Gradients = tuple[jax.Array, Query, RowSparse, RowSparse, RowSparse]


def by_the_library(model: Model, histories: jax.Array, labels: jax.Array, drawn: SampledValues) -> Gradients:
    """The loss and the gradients of query tower, seen, items and biases."""
    num_items = model.items.shape[0]
    rows = towers.look_up(model.seen, histories)
    vectors, pull_back = jax.vjp(towers.queries, model.query, rows)
    loss, gradients = value_and_grad(
        model.items,
        model.biases,
        labels,
        vectors,
        num_sampled=drawn.sampled_candidates.size,
        num_classes=num_items,
        sampled_values=drawn,
        reduction="mean",
    )
    d_query, d_rows = pull_back(gradients.inputs)
    seen = towers.sum_rows(histories.ravel(), d_rows.reshape(-1, d_rows.shape[-1]), num_items)
    return loss, d_query, seen, gradients.weights, gradients.biases


def by_plain_jax(model: Model, histories: jax.Array, labels: jax.Array, drawn: SampledValues) -> Gradients:
    """The same by gathers, a softmax over [N, 1 + S] logits, and jax.grad."""
    ids, true_count, sampled_count = drawn
    num_items = model.items.shape[0]

    def loss_of(query: Query, rows: jax.Array, true: Any, sampled: Any) -> jax.Array:
        vectors = towers.queries(query, rows)
        z_true = jnp.einsum("nd,nd->n", vectors, true[0]) + true[1] - jnp.log(true_count[:, 0])
        z_sampled = vectors @ sampled[0].T + sampled[1] - jnp.log(sampled_count)
        z_sampled = jnp.where(labels[:, None] == ids, -jnp.inf, z_sampled)
        z = jnp.concatenate([z_true[:, None], z_sampled], axis=1)
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - z_true)

    rows = towers.look_up(model.seen, histories)
    true, sampled = ((model.items[k], model.biases[k]) for k in (labels, ids))
    loss, (d_query, d_rows, d_true, d_sampled) = jax.value_and_grad(loss_of, (0, 1, 2, 3))(
        model.query, rows, true, sampled
    )
    touched = jnp.concatenate([labels, ids])
    items, biases = (
        towers.sum_rows(touched, jnp.concatenate(both), num_items) for both in zip(d_true, d_sampled, strict=True)
    )
    seen = towers.sum_rows(histories.ravel(), d_rows.reshape(-1, d_rows.shape[-1]), num_items)
    return loss, d_query, seen, items, biases


def make_step(gradients: Callable[..., Gradients], num_sampled: int, seed: int) -> Callable[..., Any]:
    """(model, squares, histories [n, HISTORY], labels [n], step) -> (loss, model, squares)."""

    # Donated, so that the tables are updated where they lie.
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(
        model: Model, squares: Model, histories: jax.Array, labels: jax.Array, number: jax.Array
    ) -> tuple[jax.Array, Model, Model]:
        num_items = model.items.shape[0]
        drawn = log_uniform_candidate_sampler(labels, 1, num_sampled, True, num_items, seed, step=number)
        loss, *parts = gradients(model, histories, labels, drawn)
        return loss, *towers.apply(model, squares, *parts)

    return step
