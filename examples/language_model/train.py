"""Training of one model by several output layers, each for the same wall-clock time.

The runs take turns: all train up to the next checkpoint of their own clocks before any
goes on. So they share whatever else the machine is doing, and an interrupted session
leaves curves of the same length. A clock runs during training steps only.
"""

import signal
import time
from dataclasses import dataclass

import numpy as np

from . import full_softmax
from .model import LanguageModel
from .optimizer import Adagrad

#: When to evaluate, as shares of the training time; dense early, where curves bend.
CHECKPOINTS = (1 / 30, 1 / 12, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1)
#: The running mean of the loss that is shown looks back over about this many steps.
_LOSS_MEMORY = 50


@dataclass(frozen=True)
class Point:
    """The state of a run at an evaluation."""

    seconds: float
    steps: int
    tokens: int
    perplexity: float


class Batches:
    """Endless batches of (contexts [N, k], labels [N]) in a random order of the text,
    anew each time through. Equal seeds give equal batches."""

    def __init__(self, ids, context, batch_size, seed):
        self.ids, self.batch_size = ids, batch_size
        self.window = np.arange(-context, 0)
        self._positions = np.arange(context, len(ids))
        self._random = np.random.default_rng(seed)
        self._left = self._positions[:0]

    def next(self):
        while len(self._left) < self.batch_size:
            again = self._random.permutation(self._positions)
            self._left = np.concatenate([self._left, again])
        positions = self._left[: self.batch_size]
        self._left = self._left[self.batch_size :]
        return self.ids[positions[:, None] + self.window], self.ids[positions]


class HeldOut:
    """Full-softmax perplexity on tokens that no run trains on.

    The same `limit` tokens every time, drawn evenly from `ids`.
    """

    def __init__(self, ids, context, limit, batch_size=1024):
        spread = np.linspace(context, len(ids), num=limit, endpoint=False)
        positions = np.unique(spread.astype(np.int64))
        self._contexts = ids[positions[:, None] + np.arange(-context, 0)]
        self._labels = ids[positions]
        self._batch_size = batch_size

    def __len__(self):
        return len(self._labels)

    def perplexity(self, model: LanguageModel) -> float:
        """exp of the mean cross entropy."""
        p, total = model.parameters, 0.0
        for start in range(0, len(self), self._batch_size):
            part = slice(start, start + self._batch_size)
            inputs, _ = model.forward(self._contexts[part])
            losses = full_softmax.cross_entropy(p["weights"], p["biases"], self._labels[part], inputs)
            total += losses.sum(dtype=np.float64)
        return float(np.exp(total / len(self)))


class Run:
    """A model with its output layer, optimiser and clock.

    `value_and_grad(weights, biases, labels, inputs)` is the output layer: the method of
    `FullSoftmax` or of `SampledOutput`.
    """

    def __init__(self, name, model, value_and_grad, learning_rate, batches):
        self.name = name
        self.model = model
        self.points: list[Point] = []
        self.loss = float("nan")
        self.seconds, self.steps = 0.0, 0
        self._value_and_grad = value_and_grad
        self._optimizer = Adagrad(model.parameters, learning_rate)
        self._batches = batches

    @property
    def tokens(self) -> int:
        return self.steps * self._batches.batch_size

    def step(self):
        """Trains on one batch, on the clock."""
        start = time.perf_counter()
        contexts, labels = self._batches.next()
        loss, gradients = self.gradients(contexts, labels)
        self._optimizer.step(gradients)
        self.seconds += time.perf_counter() - start
        self.steps += 1
        share = 1 / min(self.steps, _LOSS_MEMORY)
        self.loss = loss if self.steps == 1 else self.loss + share * (loss - self.loss)

    def gradients(self, contexts, labels):
        """Mean loss of a batch and the gradients of all parameters."""
        p = self.model.parameters
        inputs, saved = self.model.forward(contexts)
        loss, (d_inputs, d_weights, d_biases) = self._value_and_grad(p["weights"], p["biases"], labels, inputs)
        below = self.model.backward(saved, d_inputs)
        return loss, {**below, "weights": d_weights, "biases": d_biases}

    def evaluate(self, held_out: HeldOut) -> Point:
        """Measures the perplexity, off the clock."""
        perplexity = held_out.perplexity(self.model)
        self.points.append(Point(self.seconds, self.steps, self.tokens, perplexity))
        return self.points[-1]


class Interruption:
    """Turns the first Ctrl-C inside its `with` block into `requested`, so that no step is
    left half done. A second one raises KeyboardInterrupt."""

    def __init__(self):
        self.requested = False

    def __enter__(self):
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_):
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_):
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def train(runs: list[Run], seconds: float, held_out: HeldOut, progress) -> bool:
    """Trains every run for `seconds`, evaluating at `CHECKPOINTS`.

    After Ctrl-C the run at work is evaluated once more. Returns whether all finished.
    """
    with Interruption() as interruption:
        for run in runs:
            progress.evaluated(run, run.evaluate(held_out))
        for share in CHECKPOINTS:
            for run in runs:
                while run.seconds < share * seconds and not interruption.requested:
                    run.step()
                    progress.stepped(run)
                if run.steps > run.points[-1].steps:
                    progress.evaluated(run, run.evaluate(held_out))
                if interruption.requested:
                    return False
    return True
