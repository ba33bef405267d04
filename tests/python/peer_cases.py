"""What the comparisons with TensorFlow and MindSpore share: random batches, a tolerance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEEDS = range(44)
TOLERANCE = 2e-5
"""Of float32 arithmetic, relative to a tensor's largest element."""


@dataclass(frozen=True)
class Case:
    """One batch with its candidates and expected counts, all given to both sides."""

    weights: NDArray[np.float32]
    """[C, d]."""
    biases: NDArray[np.float32]
    """[C]."""
    labels: NDArray[np.int64]
    """[N, T]."""
    inputs: NDArray[np.float32]
    """[N, d]."""
    ids: NDArray[np.int64]
    """[S]."""
    true_counts: NDArray[np.float32]
    """[N, T]."""
    sampled_counts: NDArray[np.float32]
    """[S]."""
    grad_output: NDArray[np.float32]
    """[N], the upstream gradient."""

    @property
    def num_classes(self) -> int:
        return self.weights.shape[0]

    @property
    def num_sampled(self) -> int:
        return self.ids.size

    @property
    def num_true(self) -> int:
        return self.labels.shape[1]

    @property
    def sampled_values(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        return self.ids, self.true_counts, self.sampled_counts

    def arguments(self, *, remove_accidental_hits: bool) -> dict[str, object]:
        """Keywords of `sampled_softmax_loss` and `value_and_grad`."""
        return {
            "weights": self.weights,
            "biases": self.biases,
            "labels": self.labels,
            "inputs": self.inputs,
            "num_sampled": self.num_sampled,
            "num_classes": self.num_classes,
            "num_true": self.num_true,
            "sampled_values": self.sampled_values,
            "remove_accidental_hits": remove_accidental_hits,
        }


def draw_case(seed: int, *, unique_candidates: bool) -> Case:
    """Batch number `seed`: one row or many, one label or several, labels that repeat.

    The last four are large enough for many tiles. Some candidate is always a label of
    the first row, and some is a label of none, so that every loss has a negative left.
    """
    rng = np.random.default_rng(seed)
    large = seed >= SEEDS[-4]
    num_true = 1 + seed % 3
    num_rows = 1 if seed % 5 == 0 else int(rng.integers(600, 900) if large else rng.integers(2, 40))
    num_classes = int(rng.integers(1500, 2500) if large else rng.integers(8, 60))
    dim = int(rng.integers(64, 130) if large else rng.integers(1, 40))
    num_sampled = int(rng.integers(200, 600) if large else rng.integers(2, num_classes))

    # Class 0 is never a label and always a candidate.
    labels = rng.integers(1, num_classes, (num_rows, num_true))
    if seed % 4 == 0:
        labels[-1] = labels[-1, 0]
    if unique_candidates:
        others = np.setdiff1d(np.arange(1, num_classes), labels[0, 0])
        ids = np.concatenate([[0, labels[0, 0]], rng.permutation(others)])[:num_sampled]
    else:
        others = rng.integers(0, num_classes, num_sampled)
        ids = np.concatenate([[0, labels[0, 0], 0], others])[: max(3, num_sampled)]
    ids = rng.permutation(ids)

    def normal(*shape: int, scale: float) -> NDArray[np.float32]:
        return rng.normal(0.0, scale, shape).astype(np.float32)

    def counts(*shape: int) -> NDArray[np.float32]:
        return rng.uniform(0.05, 1.5, shape).astype(np.float32)

    return Case(
        # Logits of unit scale: a probability within 1e-7 of 1 would leave float32
        # gradients, the peer's as well as ours, no digits to agree on.
        weights=normal(num_classes, dim, scale=dim**-0.5),
        biases=normal(num_classes, scale=0.5),
        labels=labels,
        inputs=normal(num_rows, dim, scale=1.0),
        ids=ids,
        true_counts=counts(num_rows, num_true),
        sampled_counts=counts(ids.size),
        grad_output=normal(num_rows, scale=1.0),
    )


def assert_agrees(ours: object, theirs: object, what: str, *, tolerance: float = TOLERANCE) -> None:
    """Equal shapes, and elements equal to `tolerance` of the largest of `theirs`."""
    actual = np.asarray(ours, dtype=np.float64)
    expected = np.asarray(theirs, dtype=np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    assert np.all(np.isfinite(expected)), f"{what}: the peer's value is not finite"
    error = np.max(np.abs(actual - expected), initial=0.0)
    largest = np.max(np.abs(expected), initial=0.0)
    assert error <= tolerance * largest, f"{what}: off by {error:.3g}, of {largest:.3g} at most"
