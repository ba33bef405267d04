"""``python -m sampled_softmax.mindspore build``: compiles the operators now and says where."""

from __future__ import annotations

import argparse
import sys

from . import BuildError, build


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sampled_softmax.mindspore", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="compile the operators into the cache")
    command.add_argument("--force", action="store_true", help="compile even if the cache has them")
    arguments = parser.parse_args()
    try:
        print(build(rebuild=arguments.force))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
