"""Trains the recommender twice, by the library and by plain JAX, and compares.

    python -m examples.jax.two_tower        # from the repository's root, after make build

The two runs see the same batches and the same sampled items from the same start. At the
end their losses must agree to 1e-4, or the script fails; what they recommend is then
compared with what is popular.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import lines, steps, towers
from .lines import Lines
from .towers import Model

LEAST_ITEMS = 200_000
TOLERANCE = 1e-4
# Losses are compared as means over so many last steps.
LAST = 50


def corpus(data: list[Path]) -> Lines:
    """The lines of the given folders; by default, of the standard library, and of JAX's
    and NumPy's sources where an installation has left out parts of it."""
    if data:
        return lines.read(data)
    folders = [Path(sysconfig.get_path("stdlib"))]
    found = lines.read(folders)
    if found.num_items < LEAST_ITEMS:
        found = lines.read([*folders, *(Path(package.__file__).parent for package in (jax, np))])
    return found


def train(name: str, step: Callable[..., Any], found: Lines, options: argparse.Namespace) -> tuple[Model, float]:
    """A trained model and its loss, the mean of the last steps."""
    random = np.random.default_rng(options.seed)
    model, squares = towers.start(found, options.dim, options.seed)
    losses = []
    begun = time.perf_counter()
    for number in range(options.steps):
        batch = found.examples(random.choice(found.train, options.batch))
        loss, model, squares = step(model, squares, *batch, np.int32(number))
        losses.append(loss)
        if number == 0:
            loss.block_until_ready()
            compiled = time.perf_counter()
    taken = np.array(losses)
    milliseconds = 1000 * (time.perf_counter() - compiled) / max(1, options.steps - 1)
    last = float(taken[-LAST:].mean(dtype=np.float64))
    print(
        f"{name:12} loss {taken[:LAST].mean():.4f} -> {last:.6f}   {milliseconds:.1f} ms a step, "
        f"{compiled - begun:.1f} s to compile",
        flush=True,
    )
    return model, last


def recall(model: Model, found: Lines, places: np.ndarray, most: int) -> tuple[float, float]:
    """How often the next line is among the `most` recommended, and among the most popular."""

    @jax.jit
    def recommended(histories: jax.Array) -> jax.Array:
        vectors = towers.queries(model.query, towers.look_up(model.seen, histories))
        return jax.lax.top_k(vectors @ model.items.T + model.biases, most)[1]

    hits = popular = 0
    for some in np.array_split(places, max(1, len(places) // 100)):
        histories, labels = found.examples(some)
        hits += int(np.sum(np.asarray(recommended(histories)) == labels[:, None]))
        popular += int(np.sum(labels < most))
    return hits / len(places), popular / len(places)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="two_tower", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="folders of Python sources")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=512, help="places a step")
    parser.add_argument("--sampled", type=int, default=1024, help="items sampled a step")
    parser.add_argument("--dim", type=int, default=32, help="size of the vectors")
    parser.add_argument("--held-out", type=int, default=1000, help="places that the result is measured on")
    parser.add_argument("--least-items", type=int, default=LEAST_ITEMS, help="refuse a smaller catalogue")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    found = corpus(options.data)
    print(f"{len(found.train) + len(found.held_out):,} places, {found.num_items:,} items: distinct lines of code")
    if found.num_items < options.least_items:
        print(f"two_tower: {options.least_items:,} items are wanted; name more folders by --data", file=sys.stderr)
        return 2
    trained = {}
    for name, gradients in (("library", steps.by_the_library), ("plain JAX", steps.by_plain_jax)):
        step = steps.make_step(gradients, options.sampled, options.seed)
        trained[name] = train(name, step, found, options)
    (ours, loss), (_, plain) = trained["library"], trained["plain JAX"]
    places = np.random.default_rng(options.seed).permutation(found.held_out)[: options.held_out]
    hits, popular = recall(ours, found, places, 10)
    print(f"held out: the next line is among ten recommended {hits:.1%}, among the ten most popular {popular:.1%}")
    print(f"losses differ by {abs(loss - plain):.1e}")
    if not abs(loss - plain) <= TOLERANCE:
        print(f"two_tower: the losses differ by more than {TOLERANCE}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
