"""One participant's process: `python -m benches.worker NAME`."""

from __future__ import annotations

import importlib
import sys

from .protocol import serve


def main() -> None:
    module, _, argument = sys.argv[1].partition(":")

    def make_participant():
        made = importlib.import_module(f"benches.participants.{module}").Participant
        return made(argument) if argument else made()

    serve(make_participant)


if __name__ == "__main__":
    main()
