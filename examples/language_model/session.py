"""One session: read the corpus, train, and leave a table, a picture and the numbers."""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sampled_softmax

from . import plot, report, threads, tokens
from .full_softmax import FullSoftmax
from .model import LanguageModel, Shape
from .progress import Counter, Progress
from .sampled_output import SampledOutput
from .train import Batches, HeldOut, Run, train

#: Default of S, and the share of the classes it is at most.
SAMPLED, SAMPLED_SHARE = 1024, 8


@dataclass(frozen=True)
class Options:
    """What the command line says; `__main__` has the meaning of each."""

    data: Path
    sampler: list[str]
    seconds: float
    sampled: int | None
    batch: int
    dim: int
    context: int
    learning_rate: float
    full_learning_rate: float
    held_out: int
    no_full: bool
    threads: int
    seed: int
    out: Path


def run(options: Options) -> bool:
    """Runs the session; returns whether it came to its end without Ctrl-C.

    Raises `tokens.CorpusError` where the folder or the sizes asked for do not serve.
    """
    threads.use(options.threads)
    corpus = tokens.load_corpus(options.data, options.out, lambda total: Counter(total, f"tokenising {options.data}"))
    num_sampled = check_sizes(corpus, options)
    facts = describe(corpus, options, num_sampled)
    for line in facts["about"]:
        print(line, flush=True)
    sampled, full = make_runs(corpus, options, num_sampled)
    runs = [*sampled, *full]
    held_out = HeldOut(corpus.held_out, options.context, options.held_out)
    with Progress(runs, options.seconds) as progress:
        finished = train(runs, options.seconds, held_out, progress)
    write(runs, sampled, full, facts, options)
    if not finished:
        print("\ninterrupted: this is how far it came")
    return finished


def check_sizes(corpus, options) -> int:
    """Returns S, having checked that the text is long enough and has enough classes."""
    for name, ids in (("training", corpus.train), ("held-out", corpus.held_out)):
        if len(ids) <= options.context:
            raise tokens.CorpusError(
                f"{options.data} has {len(ids)} {name} tokens, but with --context "
                f"{options.context} at least {options.context + 1} are needed"
            )
    if options.sampled is None:
        return min(SAMPLED, max(1, corpus.num_classes // SAMPLED_SHARE))
    if options.sampled > corpus.num_classes:
        raise tokens.CorpusError(
            f"{options.data} has {corpus.num_classes:,} classes, fewer than --sampled {options.sampled:,}"
        )
    return options.sampled


def make_runs(corpus, options, num_sampled) -> tuple[list[Run], list[Run]]:
    """The runs by sampled softmax, and the one by full softmax if wanted.

    All start from the same parameters and see the same batches.
    """
    shape = Shape(corpus.num_classes, options.context, dim=options.dim)
    counts = np.bincount(corpus.train, minlength=corpus.num_classes)

    def make(name, value_and_grad, learning_rate):
        return Run(
            name,
            LanguageModel(shape, counts, options.seed),
            value_and_grad,
            learning_rate,
            Batches(corpus.train, options.context, options.batch, options.seed),
        )

    sampled = []
    for sampler in dict.fromkeys(options.sampler):
        output = SampledOutput(sampler, num_sampled, counts, options.seed, options.threads)
        sampled.append(make(f"sampled, {sampler}", output.value_and_grad, options.learning_rate))
    full = []
    if not options.no_full:
        full.append(make("full softmax", FullSoftmax().value_and_grad, options.full_learning_rate))
    return sampled, full


def describe(corpus, options, num_sampled) -> dict:
    """Everything the results depend on; under "about", the lines to print."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    skipped = f" ({corpus.num_skipped} that are not valid Python left out)" if corpus.num_skipped else ""
    return {
        "about": [
            f"{options.data}: {corpus.num_tokens:,} tokens of {corpus.num_files:,} files"
            f"{skipped}, {corpus.num_classes:,} classes seen {tokens.MIN_COUNT} times or more",
            f"model: {options.context} tokens back, vectors of {options.dim}; "
            f"{options.batch} tokens a batch, {num_sampled:,} classes sampled a batch",
            f"sampled softmax: library {sampled_softmax.library_version()}, {options.threads} threads",
            f"full softmax: NumPy {np.__version__}, {threads.describe_blas()}, {options.threads} threads",
        ],
        "python": python,
        "cores": threads.num_cores(),
        "num_tokens": corpus.num_tokens,
        "num_train": len(corpus.train),
        "num_classes": corpus.num_classes,
        "num_sampled": num_sampled,
        "options": {name: str(value) for name, value in vars(options).items()},
    }


def write(runs, sampled, full, facts, options):
    """The table on the standard output, `perplexity.png` and `results.json`."""
    print("\n" + report.table(runs))
    if full:
        for line in filter(None, (report.headline(run, full[0]) for run in sampled)):
            print(line)
    options.out.mkdir(parents=True, exist_ok=True)
    picture, numbers = options.out / "perplexity.png", options.out / "results.json"
    plot.draw(
        picture,
        sampled,
        full[0] if full else None,
        f"Next-token model over {facts['num_classes']:,} classes",
        f"{facts['num_tokens'] / 1e6:.1f} million tokens of Python code. Same network, "
        f"optimiser, batches and training time for all.\n"
        f"Sampled softmax: {facts['num_sampled']:,} classes a batch.",
    )
    report.write_json(numbers, runs, facts)
    print(f"\n{picture}\n{numbers}", file=sys.stdout, flush=True)
