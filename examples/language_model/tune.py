"""Where the learning rates' defaults come from: every method with every rate.

    python -m examples.language_model.tune --rates 0.06 0.12 0.24 --seconds 30

Takes the demo's own options beside. Each method has each rate for the same time, and
the same held-out text decides for all.
"""

import argparse
import dataclasses
import sys

from . import report, session, threads, tokens
from .__main__ import parser, positive
from .progress import Progress
from .train import HeldOut, train


def main() -> int:
    """Prints the table of all methods and rates."""
    rates = argparse.ArgumentParser(add_help=False)
    rates.add_argument("--rates", nargs="+", type=positive(float), default=[0.06, 0.12, 0.24])
    mine, others = rates.parse_known_args()
    options = session.Options(**vars(parser().parse_args(others)))
    threads.use(options.threads)
    corpus = tokens.load_corpus(options.data, options.out)
    num_sampled = session.check_sizes(corpus, options)
    runs = []
    for rate in mine.rates:
        both = dataclasses.replace(options, learning_rate=rate, full_learning_rate=rate)
        for made in session.make_runs(corpus, both, num_sampled):
            for run in made:
                run.name += f", rate {rate:g}"
                runs.append(run)
    held_out = HeldOut(corpus.held_out, options.context, options.held_out)
    with Progress(runs, options.seconds) as progress:
        finished = train(runs, options.seconds, held_out, progress)
    print(report.table(sorted(runs, key=lambda run: run.name)))
    return 0 if finished else 130


if __name__ == "__main__":
    sys.exit(main())
