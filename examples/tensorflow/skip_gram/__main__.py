"""Trains word vectors twice and compares. Run it as `python -m examples.tensorflow.skip_gram`."""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray

from ...words import Words, read
from .model import NUM_TRUE, REACH, Loss, SkipGram, library_loss, tensorflow_loss, training_step

# The two runs may differ by float32's rounding and what training makes of it.
TOLERANCE = 1e-4
# Words to show the neighbours of, among as many of the most frequent ones as a short run learns.
SHOWN = ("self", "if", "int", "open", "True", "0")
FREQUENT = 500


def arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser("skip_gram", description=__doc__)
    add = made.add_argument
    add("--data", type=Path, default=Path(sysconfig.get_paths()["stdlib"]), help="folder of Python sources")
    add("--max-files", type=int, default=600, help="files to read")
    add("--steps", type=int, default=400, help="batches to train on")
    add("--batch", type=int, default=1024, help="words a batch")
    add("--sampled", type=int, default=512, help="classes sampled a batch")
    add("--dim", type=int, default=64, help="size of the vectors")
    add("--learning-rate", type=float, default=0.5, help="of Adagrad")
    return made.parse_args()


def batches(words: NDArray[np.int64], rows: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Random words of the text [N] and the words around each [N, T], for ever."""
    rng = np.random.default_rng(seed)
    around = np.array([offset for offset in range(-REACH, REACH + 1) if offset])
    while True:
        places = rng.integers(REACH, len(words) - REACH, rows)
        yield words[places], words[places[:, None] + around]


def train(name: str, loss: Loss, text: Words, options: argparse.Namespace) -> tuple[list[float], SkipGram]:
    """Every batch's loss, and the model."""
    model = SkipGram(len(text.classes), options.dim, seed=0)
    step_of = training_step(model, loss, options.sampled, options.learning_rate)
    losses: list[float] = []
    data = batches(text.train, options.batch, seed=0)
    # The first step traces the function, which is not training.
    losses.append(float(step_of(*next(data), 0)))
    start = time.perf_counter()
    for step in range(1, options.steps):
        losses.append(float(step_of(*next(data), step)))
    seconds = time.perf_counter() - start
    print(f"{name:<28} loss {losses[0]:.4f} -> {mean_of_end(losses):.4f}  in {seconds:.1f} s", flush=True)
    return losses, model


def mean_of_end(losses: list[float]) -> float:
    """Over the last tenth of the batches."""
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def main() -> int:
    """Trains, prints, and returns 1 where the two runs disagree."""
    options = arguments()
    text = read(options.data, options.max_files)
    print(f"{len(text.train):,} words, {len(text.classes):,} classes, {NUM_TRUE} labels a row")
    ours, model = train("sampled_softmax.tensorflow", library_loss, text, options)
    theirs, _ = train("tf.nn.sampled_softmax_loss", tensorflow_loss, text, options)

    index = {word: number for number, word in enumerate(text.classes)}
    shown = [word for word in SHOWN if index.get(word, FREQUENT) < FREQUENT]
    nearest = model.neighbours([index[word] for word in shown], 5, FREQUENT).numpy()
    for word, near in zip(shown, nearest, strict=True):
        print(f"{word:>6}: {' '.join(text.classes[number] for number in near)}")

    apart = max(abs(mine - other) for mine, other in zip(ours, theirs, strict=True))
    end = abs(mean_of_end(ours) - mean_of_end(theirs))
    print(f"the losses differ by {apart:.1e} at most, at the end by {end:.1e}")
    if not mean_of_end(ours) < ours[0] or not end <= TOLERANCE:
        print(f"FAILED: a falling loss, and a difference of {TOLERANCE} at most, were expected", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
