"""A training that was stopped and taken up again is one that was never stopped, to the last bit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from numpy.typing import NDArray

CLASSES, DIM, ROWS, STEPS = 200, 6, 16, 6


class Training:
    """A linear classifier, trained by `ranks` workers that share its parameters and a seed."""

    def __init__(self, name: str, unique: bool, ranks: int) -> None:
        values = np.random.default_rng(1)
        self.weights = values.standard_normal((CLASSES, DIM), dtype=np.float32)
        self.biases = np.zeros(CLASSES, np.float32)
        options: dict[str, Any] = {}
        if name == "fixed_unigram":
            options = {"unigrams": 1.0 / np.arange(1, CLASSES + 1), "distortion": 0.75}
        sampled = CLASSES if name == "all" else 20
        self.samplers = [
            ss.Sampler(name, CLASSES, sampled, unique, seed=3, rank=rank, **options) for rank in range(ranks)
        ]

    def step(self) -> None:
        gradients = []
        for rank, sampler in enumerate(self.samplers):
            values = np.random.default_rng((sampler.step, rank))
            inputs = values.standard_normal((ROWS, DIM), dtype=np.float32)
            labels = values.integers(0, CLASSES, (ROWS, 1))
            _, found = ss.value_and_grad(
                self.weights, self.biases, labels, inputs, sampler.num_sampled, CLASSES,
                sampler=sampler, reduction="mean",
            )  # fmt: skip
            gradients.append(found)
        for found in gradients:
            self.weights[found.weights.indices] -= 0.5 * found.weights.values
            self.biases[found.biases.indices] -= 0.5 * found.biases.values

    def save(self) -> bytes:
        counts = [sampler.learned_counts if sampler.name == "learned_unigram" else None for sampler in self.samplers]
        return pickle.dumps((self.weights, self.biases, [sampler.step for sampler in self.samplers], counts))

    def restore(self, saved: bytes) -> None:
        self.weights, self.biases, steps, counts = pickle.loads(saved)
        for sampler, step, learned in zip(self.samplers, steps, counts, strict=True):
            sampler.step = step
            if learned is not None:
                sampler.learned_counts = learned

    def parameters(self) -> NDArray[np.float32]:
        return np.concatenate([self.weights.ravel(), self.biases])


SAMPLERS = [
    (name, unique)
    for name in ("uniform", "log_uniform", "fixed_unigram", "learned_unigram")
    for unique in (True, False)
]


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize(("name", "unique"), [*SAMPLERS, ("all", True)])
def test_a_run_taken_up_at_any_step_is_one_that_was_never_stopped(name: str, unique: bool, ranks: int) -> None:
    run = Training(name, unique, ranks)
    kept = [run.save()]
    for _ in range(STEPS):
        run.step()
        kept.append(run.save())
    for stopped in range(STEPS):
        resumed = Training(name, unique, ranks)
        resumed.restore(kept[stopped])
        for _ in range(stopped, STEPS):
            resumed.step()
        np.testing.assert_array_equal(resumed.parameters(), run.parameters(), f"stopped before step {stopped}")
        assert [sampler.step for sampler in resumed.samplers] == [STEPS] * ranks
