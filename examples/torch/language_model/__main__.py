"""Trains the model twice and compares. Run it as `python -m examples.torch.language_model`."""

from __future__ import annotations

import argparse
import copy
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .model import NextWord, library_loss, plain_loss
from .words import Text, batches, places, read

# The two runs may differ by float32's rounding and what training makes of it.
TOLERANCE = 1e-4

Loss = Callable[[NextWord, Tensor, Tensor, int, int], Tensor]


def arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser("language_model", description=__doc__)
    add = made.add_argument
    add("--data", type=Path, default=Path(sysconfig.get_paths()["stdlib"]), help="folder of Python sources")
    add("--max-files", type=int, default=200, help="files to read")
    add("--steps", type=int, default=300, help="batches to train on")
    add("--batch", type=int, default=256, help="words a batch")
    add("--sampled", type=int, default=512, help="classes sampled a batch")
    add("--context", type=int, default=8, help="words the model looks back")
    add("--dim", type=int, default=64, help="size of the vectors")
    return made.parse_args()


def train(model: NextWord, loss: Loss, text: Text, options: argparse.Namespace) -> tuple[list[float], float]:
    """Every batch's loss, and the seconds it took."""
    # Not from 0: a gradient that is all rounding would make a step as large as any other.
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1, initial_accumulator_value=1e-3)
    data = batches(text.train, options.context, options.batch, seed=0)
    losses = []
    start = time.perf_counter()
    for step in range(options.steps):
        contexts, labels = next(data)
        optimizer.zero_grad()
        value = loss(model, model(contexts), labels, options.sampled, step)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses, time.perf_counter() - start


def main() -> int:
    """Trains, prints, and returns 1 where the two runs disagree."""
    options = arguments()
    text = read(options.data, options.max_files)
    torch.manual_seed(0)
    model = NextWord(len(text.classes), options.context, options.dim)
    twin = copy.deepcopy(model)
    evaluation = places(text.held_out, options.context, torch.arange(0, 2000))
    before = model.perplexity(*evaluation)
    print(f"{len(text.train):,} words to train on, {len(text.classes):,} classes", flush=True)

    losses, seconds = train(model, library_loss, text, options)
    others, plain_seconds = train(twin, plain_loss, text, options)
    for name, run, took, trained in (("library", losses, seconds, model), ("plain", others, plain_seconds, twin)):
        print(
            f"{name:8} loss {run[0]:.4f} -> {run[-1]:.4f}, held-out perplexity {before:,.0f} -> "
            f"{trained.perplexity(*evaluation):,.1f}, {took:.1f} s"
        )
    furthest = max(abs(one - other) for one, other in zip(losses, others, strict=True))
    print(f"largest difference of a batch's loss: {furthest:.1e}")
    if furthest > TOLERANCE:
        print(f"that is more than {TOLERANCE}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
