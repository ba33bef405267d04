"""Runs the benchmark: `make bench`, or `python -m benches` with the options below."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from . import machine, plot, roster, rounds, sampler, scaling, shapes, summary, table
from .probe import Probe


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m benches", description="This library and its peers, in turns.")
    add = made.add_argument
    names = ", ".join(entry.name for entry in (*roster.OURS, *roster.PEERS))
    known = ", ".join(shape.name for shape in shapes.SHAPES)
    add("--quick", action="store_true", help="small shapes and few rounds: to try the harness, not to measure")
    add("--shapes", nargs="+", metavar="SHAPE", help=f"{known}, or N,d,C,S; all without it")
    add("--peers", nargs="*", metavar="NAME", help=f"who takes part beside 'ours, C', of: {names}")
    add("--rounds", type=int, help="turns of each participant (9; 3 with --quick)")
    add("--budget", type=float, default=60, metavar="SECONDS", help="of rounds for each shape; five are the least (60)")
    add("--threads", type=int, default=2, help="of each participant, at most the cores there are (2)")
    add("--out", type=Path, metavar="PATH", help="results go to PATH.json and PATH.png (benches/results/cpu)")
    return made


def chosen_entries(names: list[str] | None) -> list[roster.Entry]:
    """Our C worker and whoever is named; everybody without names. Raises SystemExit."""
    everybody = [*roster.OURS, *roster.PEERS]
    if names is None:
        return everybody
    wanted = {name.lower() for name in names}
    unknown = wanted - {entry.name.lower() for entry in everybody}
    if unknown:
        sys.exit(f"bench: no participant is named {', '.join(sorted(unknown))}")
    return [entry for entry in everybody if entry is roster.OURS[0] or entry.name.lower() in wanted]


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    options = parser().parse_args()
    try:
        wanted = [shapes.parse(text) for text in options.shapes or ()]
    except ValueError as error:
        sys.exit(f"bench: {error}")
    wanted = wanted or list(shapes.QUICK_SHAPES if options.quick else shapes.SHAPES)
    out = options.out or (roster.BUILD / "quick" if options.quick else roster.ROOT / "benches" / "results" / "cpu")
    cores = sorted(os.sched_getaffinity(0))[: options.threads]
    # The workers inherit this, also those that know of no other way to be told.
    os.sched_setaffinity(0, cores)

    roster.build_native()
    (roster.BUILD / "workers.log").unlink(missing_ok=True)
    missing = {}
    entries = []
    for entry in chosen_entries(options.peers):
        reason = roster.missing(entry)
        if reason is None:
            entries.append(entry)
        else:
            missing[entry.name] = reason
            say(f"MISSING: {entry.name}: {reason}")
    results = _measure(wanted, entries, len(cores), options)
    results["missing"] = missing

    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    plot.draw(out.with_suffix(".png"), results)
    say(f"\nwritten: {os.path.relpath(out)}.json and .png")
    for name, reason in missing.items():
        say(f"MISSING: {name}: {reason}")


def _measure(wanted, entries, threads: int, options) -> dict:
    """All measurements, printed as they come, and what they were made with and on."""
    start = time.monotonic()
    probe = Probe(threads)
    try:
        probe.begin(0.2 if options.quick else 2.0)
        say(table.floors(probe.facts()))
        count = options.rounds or (3 if options.quick else 9)
        measured = []
        for shape in wanted:
            say(f"[{time.monotonic() - start:.0f} s] {shape.name}: preparing {len(entries)} participants")
            measured.append(rounds.measure(shape, entries, threads, probe, count, options.budget, say))
            say(table.shape_tables(summary.summarise(measured[-1], probe)))
        sampling = [roster.OURS[0], *(entry for entry in entries if entry.worker == "tensorflow")]
        sampler_rows = sampler.measure(sampling, options.quick, say)
        say(table.sampler_table(sampler_rows))
        growth = scaling.measure(threads, options.quick)
        say("\n" + scaling.sentence(growth))
        say(table.floors(probe.facts()))
        return {
            "command": " ".join(["python -m benches", *sys.argv[1:]]),
            "seconds": time.monotonic() - start,
            "machine": machine.describe(threads),
            "floor": probe.facts(),
            # Anew, with the floor's median over the whole run.
            "shapes": [summary.summarise(one, probe) for one in measured],
            "sampler": sampler_rows,
            "scaling": growth,
        }
    finally:
        probe.worker.stop()


if __name__ == "__main__":
    main()
