"""Nobody is timed on a wrong result: loss and gradients against float64."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import problem
from .shapes import Shape

#: Largest norm of an error over the norm of what is right. Low precision rounds the
#: gradients it returns: by 2^-9 (bf16) and 2^-12 (f16) of each element.
TOLERANCE = {"f32": 1e-3, "bf16": 1e-2, "f16": 2e-3}

#: Rows of logits that the reference holds at once.
_CHUNK = 512


class Results(NamedTuple):
    """The mean loss of a batch and its gradients, row-sparse for weights and biases."""

    loss: float
    d_inputs: np.ndarray
    rows: np.ndarray
    d_weights: np.ndarray
    d_biases: np.ndarray


class Disagreement(Exception):
    """A participant's result is not the reference's."""


def reference(files: problem.Files) -> Results:
    """In float64, by the definition; rows ascending, each once."""
    shape, labels = files.shape, np.asarray(files.labels)
    order = np.argsort(files.ids)
    ids = files.ids[order]
    sampled = files.weights[ids].astype(np.float64)
    shift = files.biases[ids] - np.log(files.sampled_count[order].astype(np.float64))
    true_shift = files.biases[labels] - np.log(files.true_count.astype(np.float64))
    rows = np.union1d(ids, labels)
    at_ids, at_labels = np.searchsorted(rows, ids), np.searchsorted(rows, labels)

    loss, d_inputs = 0.0, np.empty((shape.n, shape.d))
    d_weights, d_biases = np.zeros((len(rows), shape.d)), np.zeros(len(rows))
    for start in range(0, shape.n, _CHUNK):
        part = slice(start, min(start + _CHUNK, shape.n))
        x, label = files.inputs[part].astype(np.float64), labels[part]
        true = files.weights[label].astype(np.float64)
        z_true = np.einsum("nd,nd->n", x, true) + true_shift[part]
        z = x @ sampled.T + shift
        z[label[:, None] == ids] = -np.inf
        top = np.maximum(z.max(axis=1), z_true)
        np.exp(np.subtract(z, top[:, None], out=z), out=z)
        total = z.sum(axis=1) + np.exp(z_true - top)
        loss += np.sum(np.log(total) + top - z_true)
        # From here on, z is the gradient of the loss with respect to the logits.
        z /= total[:, None] * shape.n
        g_true = (np.exp(z_true - top) / total - 1) / shape.n
        d_inputs[part] = z @ sampled + g_true[:, None] * true
        d_weights[at_ids] += z.T @ x
        d_biases[at_ids] += z.sum(axis=0)
        np.add.at(d_weights, at_labels[part], g_true[:, None] * x)
        np.add.at(d_biases, at_labels[part], g_true)
    return Results(loss / shape.n, d_inputs, rows, d_weights, d_biases)


def save(path: Path, results: Results) -> None:
    """What a worker answers: a file for each field, in whatever float type it has."""
    np.asarray(results.loss, np.float32).tofile(path / "loss")
    for name, value in list(results._asdict().items())[1:]:
        np.ascontiguousarray(value, np.int64 if name == "rows" else None).tofile(path / name)


def load(path: Path, shape: Shape, dtype: str) -> Results:
    """What a worker saved; `dtype` is that of inputs and weights and of their gradients."""
    kind = problem.numpy_dtype(dtype)
    return Results(
        float(np.fromfile(path / "loss", np.float32)[0]),
        np.fromfile(path / "d_inputs", kind).astype(np.float32).reshape(shape.n, shape.d),
        np.fromfile(path / "rows", np.int64),
        np.fromfile(path / "d_weights", kind).astype(np.float32).reshape(-1, shape.d),
        np.fromfile(path / "d_biases", np.float32),
    )


def merged(results: Results) -> Results:
    """With rows that come more than once summed, as optimisers would."""
    rows, at = np.unique(results.rows, return_inverse=True)
    if len(rows) == len(results.rows):
        order = np.argsort(results.rows)
        return results._replace(rows=rows, d_weights=results.d_weights[order], d_biases=results.d_biases[order])
    d_weights = np.zeros((len(rows), results.d_weights.shape[1]))
    d_biases = np.zeros(len(rows))
    np.add.at(d_weights, at, results.d_weights)
    np.add.at(d_biases, at, results.d_biases)
    return results._replace(rows=rows, d_weights=d_weights, d_biases=d_biases)


def compare(results: Results, right: Results, dtype: str) -> dict[str, float]:
    """The relative error of each field. Raises Disagreement where one is too large."""
    results = merged(results)
    if not np.array_equal(results.rows, right.rows):
        raise Disagreement(f"gradients of {len(results.rows)} classes, {len(right.rows)} expected, or other ones")
    errors = {}
    for name in ("loss", "d_inputs", "d_weights", "d_biases"):
        expected = np.asarray(getattr(right, name))
        error = np.linalg.norm(np.asarray(getattr(results, name)) - expected) / np.linalg.norm(expected)
        errors[name] = float(error)
        if not error <= TOLERANCE[dtype]:
            raise Disagreement(f"{name} is off by {error:.2e} of its norm; {TOLERANCE[dtype]:.0e} is allowed")
    return errors
