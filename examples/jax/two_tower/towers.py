"""The two towers, and their optimiser, which touches no row without a gradient."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sampled_softmax.jax import RowSparse

from .lines import HISTORY, Lines

RATE = 0.3
# Where the sums of squares start: small, so that a first step is about RATE long.
START = 1e-7


class Query(NamedTuple):
    """Weights of the query tower above its embeddings."""

    places: jax.Array
    """[HISTORY]: how much each of the last lines counts."""
    matrix: jax.Array
    """[dim, dim]."""
    offset: jax.Array
    """[dim]."""


class Model(NamedTuple):
    """Parameters; or for each the sum of squared gradients, one number a row in tables."""

    query: Query
    seen: jax.Array
    """[C, dim]: an item as part of a history."""
    items: jax.Array
    """[C, dim]: the item tower, an item as what is recommended."""
    biases: jax.Array
    """[C]."""


def start(lines: Lines, dim: int, seed: int) -> tuple[Model, Model]:
    """A model and its optimiser's state. Biases start as the items' frequencies."""
    random = np.random.default_rng(seed)

    def normal(*shape: int, scale: float) -> jax.Array:
        return jnp.asarray(random.normal(scale=scale, size=shape), jnp.float32)

    query = Query(jnp.full(HISTORY, 1 / HISTORY), normal(dim, dim, scale=dim**-0.5), jnp.zeros(dim))
    frequencies = jnp.asarray(np.log(lines.counts / lines.counts.sum()), jnp.float32)
    model = Model(
        query,
        normal(lines.num_items, dim, scale=1.0),
        normal(lines.num_items, dim, scale=0.1),
        frequencies,
    )
    squares = Model(
        jax.tree.map(lambda parameter: jnp.full_like(parameter, START), query),
        *(jnp.full(lines.num_items, START) for _ in range(3)),
    )
    return model, squares


def queries(query: Query, seen: jax.Array) -> jax.Array:
    """The query tower: rows of `Model.seen` [n, HISTORY, dim] to vectors [n, dim]."""
    together = jnp.einsum("nhd,h->nd", seen, query.places)
    return jnp.tanh(together @ query.matrix + query.offset)


def look_up(seen: jax.Array, histories: jax.Array) -> jax.Array:
    """Rows [n, HISTORY, dim]; zeros where a history is shorter."""
    return seen.at[histories].get(mode="fill", fill_value=0)


def sum_rows(ids: jax.Array, rows: jax.Array, num_rows: int) -> RowSparse:
    """Rows [n, ...] of ids [n] that may repeat, as rows that do not."""
    unique, places = jnp.unique(ids, return_inverse=True, size=ids.size, fill_value=num_rows)
    return RowSparse(unique, jnp.zeros_like(rows).at[places].add(rows))


def update_rows(table: jax.Array, squares: jax.Array, gradient: RowSparse) -> tuple[jax.Array, jax.Array]:
    """Adagrad with one step size a row, on the rows that have a gradient."""
    ids, values = gradient
    mean = jnp.square(values) if values.ndim == 1 else jnp.mean(jnp.square(values), axis=1)
    squares = squares.at[ids].add(mean, mode="drop")
    scale = RATE * jax.lax.rsqrt(squares.at[ids].get(mode="fill", fill_value=1))
    step = values * (scale if values.ndim == 1 else scale[:, None])
    return table.at[ids].add(-step, mode="drop"), squares


def update(parameter: jax.Array, squares: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Adagrad."""
    squares = squares + jnp.square(gradient)
    return parameter - RATE * gradient * jax.lax.rsqrt(squares), squares


def apply(
    model: Model, squares: Model, query: Query, seen: RowSparse, items: RowSparse, biases: RowSparse
) -> tuple[Model, Model]:
    """One step of all parameters, given their gradients."""
    dense = [update(*both) for both in zip(model.query, squares.query, query, strict=True)]
    tables = [
        update_rows(model.seen, squares.seen, seen),
        update_rows(model.items, squares.items, items),
        update_rows(model.biases, squares.biases, biases),
    ]
    return (
        Model(Query(*(parameter for parameter, _ in dense)), *(table for table, _ in tables)),
        Model(Query(*(square for _, square in dense)), *(square for _, square in tables)),
    )
