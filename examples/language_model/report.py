"""The results as a table to read and a file to compute with."""

import json
import math
from itertools import pairwise
from pathlib import Path

_COLUMNS = ("method", "steps", "tokens", "tokens/s", "held-out perplexity", "seconds")


def table(runs) -> str:
    """One line a run, as of its last evaluation."""
    rows = [_COLUMNS]
    for run in runs:
        point = run.points[-1]
        speed = f"{point.tokens / point.seconds:,.0f}" if point.seconds else "-"
        rows.append(
            (
                run.name,
                f"{point.steps:,}",
                f"{point.tokens:,}",
                speed,
                f"{point.perplexity:,.1f}",
                f"{point.seconds:.1f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def seconds_to_reach(points, perplexity: float) -> float | None:
    """When a run first came down to `perplexity`, on straight lines between its points in
    (seconds, ln perplexity); None if it never did."""
    for before, after in pairwise(points):
        if after.perplexity <= perplexity:
            fall = math.log(before.perplexity / after.perplexity)
            share = math.log(before.perplexity / perplexity) / fall if fall > 0 else 1
            return before.seconds + min(max(share, 0), 1) * (after.seconds - before.seconds)
    return None


def headline(sampled, full) -> str | None:
    """How much sooner `sampled` was where `full` ended; None if there is nothing to say."""
    end = full.points[-1]
    reached = seconds_to_reach(sampled.points, end.perplexity)
    if not end.seconds or not reached:
        return None
    return (
        f"{sampled.name} came to perplexity {end.perplexity:,.1f} in {reached:.1f} s; "
        f"{full.name} took {end.seconds:.1f} s: {end.seconds / reached:.1f} times as long."
    )


def write_json(path: Path, runs, facts: dict):
    """`facts` about the session, and every run's points."""
    points = {run.name: [vars(point) for point in run.points] for run in runs}
    path.write_text(json.dumps({**facts, "runs": points}, indent=2) + "\n")
