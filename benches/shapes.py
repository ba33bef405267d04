"""The sizes that are measured, and what they cost at the least."""

from __future__ import annotations

from typing import NamedTuple

#: What a step does: the loss alone, or the loss and its gradients.
FORWARD = "forward"
BACKWARD = "backward"
MODES = (FORWARD, BACKWARD)


class Shape(NamedTuple):
    """N rows of d elements, S classes sampled of C."""

    name: str
    n: int
    d: int
    c: int
    s: int

    def flops(self, mode: str) -> int:
        """Floating-point operations of the matrix products: one product of N x d x S
        forward (2 N S d), three with the gradients (6 N S d)."""
        return (2 if mode == FORWARD else 6) * self.n * self.s * self.d


SHAPES = (
    Shape("tiny", 8, 32, 1_000, 64),
    Shape("small", 128, 64, 10_000, 1_024),
    Shape("medium", 512, 256, 100_000, 2_048),
    Shape("language-model", 2_560, 512, 793_471, 8_192),
    Shape("two-tower", 4_096, 128, 1_000_000, 4_096),
    Shape("catalogue", 8_192, 64, 10_000_000, 8_192),
)

#: Stand in for the large ones where only the harness is to be tried.
QUICK_SHAPES = (
    Shape("tiny", 8, 32, 1_000, 64),
    Shape("small", 128, 64, 10_000, 1_024),
    Shape("quick-large", 512, 128, 50_000, 1_024),
)

#: Every worker computes this first, so that what a framework loads and builds once, for
#: whatever problem, is not counted as a problem's memory.
WARM_UP = Shape("warm-up", 16, 32, 2_000, 128)


def parse(text: str) -> Shape:
    """A shape by its name, or as N,d,C,S. Raises ValueError."""
    for shape in (*SHAPES, *QUICK_SHAPES):
        if shape.name == text:
            return shape
    try:
        n, d, c, s = (int(part) for part in text.split(","))
    except ValueError:
        names = ", ".join(shape.name for shape in SHAPES)
        raise ValueError(f"shape {text!r} is neither N,d,C,S nor one of {names}") from None
    if min(n, d, c, s) < 1 or s > c:
        raise ValueError(f"shape {text!r}: all of N, d, C, S are at least 1 and S at most C")
    return Shape(f"{n}x{d}x{c}x{s}", n, d, c, s)
