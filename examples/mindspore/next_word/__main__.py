"""Trains a next-word model twice and compares. Run it as `python -m examples.mindspore.next_word`."""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from ...words import Words, read
from .model import MindSporeLoss, NextWord, package_loss

# The two runs may differ by float32's rounding and what training makes of it.
TOLERANCE = 1e-4


def arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser("next_word", description=__doc__)
    add = made.add_argument
    add("--data", type=Path, default=Path(sysconfig.get_paths()["stdlib"]), help="folder of Python sources")
    add("--max-files", type=int, default=300, help="files to read")
    add("--steps", type=int, default=60, help="batches to train on")
    add("--batch", type=int, default=256, help="words a batch")
    add("--sampled", type=int, default=512, help="classes sampled a batch")
    add("--context", type=int, default=4, help="words the model looks back")
    add("--dim", type=int, default=32, help="size of the vectors")
    add("--learning-rate", type=float, default=0.3, help="of Adagrad")
    return made.parse_args()


def batches(
    words: NDArray[np.int64], context: int, rows: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Random places of the text: contexts [N, context] and the word after each [N, 1], for ever."""
    rng = np.random.default_rng(seed)
    while True:
        places = rng.integers(0, len(words) - context, rows)
        yield words[places[:, None] + np.arange(context)], words[places + context][:, None]


def train(name: str, loss: nn.Cell, text: Words, options: argparse.Namespace) -> list[float]:
    """Every batch's loss."""
    model = NextWord(len(text.classes), options.context, options.dim, loss, seed=0)
    optimizer = nn.Adagrad(model.trainable_params(), learning_rate=options.learning_rate)
    value_and_grad = ms.value_and_grad(model, None, optimizer.parameters)
    losses: list[float] = []
    data = batches(text.train, options.context, options.batch, seed=0)
    start = time.perf_counter()
    for _ in range(options.steps):
        contexts, labels = next(data)
        if isinstance(loss, MindSporeLoss):
            loss.draw(labels)
        value, gradients = value_and_grad(Tensor(contexts), Tensor(labels))
        optimizer(gradients)
        losses.append(float(value.asnumpy()))
    seconds = time.perf_counter() - start
    print(f"{name:<36} loss {losses[0]:.4f} -> {mean_of_end(losses):.4f}  in {seconds:.1f} s", flush=True)
    return losses


def mean_of_end(losses: list[float]) -> float:
    """Over the last tenth of the batches."""
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def main() -> int:
    """Trains, prints, and returns 1 where the two runs disagree."""
    options = arguments()
    ms.set_context(mode=ms.PYNATIVE_MODE, device_target="CPU")
    text = read(options.data, options.max_files)
    num_classes = len(text.classes)
    print(f"{len(text.train):,} words, {num_classes:,} classes")
    ours = train("sampled_softmax's SampledSoftmaxLoss", package_loss(num_classes, options.sampled), text, options)
    theirs = train("mindspore.nn.SampledSoftmaxLoss", MindSporeLoss(num_classes, options.sampled), text, options)
    apart = max(abs(mine - other) for mine, other in zip(ours, theirs, strict=True))
    end = abs(mean_of_end(ours) - mean_of_end(theirs))
    print(f"the losses differ by {apart:.1e} at most, at the end by {end:.1e}")
    if not mean_of_end(ours) < ours[0] or not end <= TOLERANCE:
        print(f"FAILED: a falling loss, and a difference of {TOLERANCE} at most, were expected", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
