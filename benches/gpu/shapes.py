"""The shapes that are timed, and what each costs at least."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """N rows of d elements, S of C classes."""

    name: str
    what: str
    rows: int
    dim: int
    sampled: int
    classes: int
    exact: bool = False  # whether fused losses run over all classes too
    updated: bool = False  # whether the step that moves the weights is timed too

    @property
    def exponentials(self) -> float:
        """One a logit."""
        return float(self.rows) * self.sampled

    @property
    def operations(self) -> float:
        """Multiply-adds of logits and both gradients, two operations each."""
        return 6.0 * self.rows * self.sampled * self.dim

    def compulsory_bytes(self, size: int) -> float:
        """Inputs and sampled weights of `size` bytes an element read once in each pass, their
        float32 gradients written once."""
        elements = (self.rows + 2 * self.sampled) * self.dim
        return elements * (2 * size + 4.0)


SHAPES = [
    Shape("a1", "1B-word language model", 2560, 512, 8192, 793_471),
    Shape("a2", "the same, d = 1024", 2560, 1024, 8192, 793_471),
    Shape("b1", "LLM head", 8192, 2048, 8192, 131_072),
    Shape("b2", "LLM head", 8192, 4096, 16_384, 131_072),
    Shape("b3", "LLM head beside its exact loss", 8192, 4096, 8192, 131_072, exact=True),
    Shape("c1", "two-tower", 8192, 64, 4096, 1_000_000),
    Shape("c2", "two-tower", 8192, 128, 8192, 1_000_000),
    Shape("c3", "two-tower", 8192, 128, 32_768, 1_000_000),
    Shape("c4", "two-tower", 8192, 256, 32_768, 1_000_000),
    Shape("d1", "sequence recommender", 25_600, 256, 512, 1_000_000),
    Shape("d2", "sequence recommender", 25_600, 256, 8192, 1_000_000),
    Shape("e1", "tiny batch", 64, 512, 8192, 793_471),
    Shape("e2", "tiny batch", 64, 4096, 16_384, 131_072),
    # A pair: the same step of a vocabulary and of one a hundred times as large, which should cost the same.
    Shape("t1", "retrieval, 100 k classes", 8192, 128, 8192, 100_000, updated=True),
    Shape("t2", "retrieval, 10 M classes", 8192, 128, 8192, 10_000_000, updated=True),
]
# For a run without a GPU, which shows that everything is in place and times nothing real.
SMOKE = [Shape("s1", "smoke", 48, 64, 96, 500, updated=True), Shape("s2", "smoke", 32, 264, 64, 500, exact=True)]
