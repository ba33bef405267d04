"""The demo: a next-token model of Python code, by sampled and by full softmax.

Run it as `python -m examples.language_model`; `--help` lists the options.
"""

import argparse
import sys
import sysconfig
from pathlib import Path

from . import session
from .sampled_output import SAMPLERS
from .threads import num_cores
from .tokens import CorpusError


def parser():
    """The command line."""
    default = argparse.ArgumentDefaultsHelpFormatter
    made = argparse.ArgumentParser("examples.language_model", description=__doc__, formatter_class=default)
    library = Path(sysconfig.get_paths()["stdlib"])
    add = made.add_argument
    add("--data", type=Path, default=library, metavar="DIR", help="folder of Python sources")
    add("--sampler", nargs="+", choices=SAMPLERS, default=["unigram"], help="one or several to compare")
    add("--seconds", type=positive(float), default=50.0, help="training time of each method")
    add(
        "--sampled",
        type=positive(int),
        metavar="S",
        help="classes sampled a batch; without it 1024, or an eighth of the classes if that is less",
    )
    add("--batch", type=positive(int), default=512, metavar="N", help="tokens a batch")
    add("--dim", type=positive(int), default=128, metavar="D", help="size of the vectors that meet the output layer")
    add("--context", type=positive(int), default=12, metavar="K", help="tokens the model looks back")
    add("--learning-rate", type=positive(float), default=0.13, help="of the sampled softmax")
    add("--full-learning-rate", type=positive(float), default=0.1, help="of the full softmax")
    add("--held-out", type=positive(int), default=20_000, metavar="TOKENS", help="evaluated on at most")
    add("--no-full", action="store_true", help="leave the full softmax out")
    add("--threads", type=positive(int), default=num_cores(), help="of every part")
    add("--seed", type=int, default=0, help="of the network, the order of batches and the samples")
    add("--out", type=Path, default=Path("build/demo"), metavar="DIR", help="for results and the tokens' cache")
    return made


def positive(kind):
    """An argparse type: a number of `kind` above 0."""

    def read(text):
        number = kind(text)
        if not number > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return number

    read.__name__ = kind.__name__
    return read


def main(arguments=None) -> int:
    """Runs the demo and returns its exit status: 130 where Ctrl-C ended it early."""
    made = parser()
    options = session.Options(**vars(made.parse_args(arguments)))
    try:
        finished = session.run(options)
    except CorpusError as error:
        made.exit(2, f"{made.prog}: --data: {error}\n")
    except KeyboardInterrupt:
        print("interrupted: there is no result yet", file=sys.stderr)
        return 130
    return 0 if finished else 130


if __name__ == "__main__":
    sys.exit(main())
