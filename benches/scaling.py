"""How our time grows with N, S, d and threads: the exponents of fitted power laws."""

from __future__ import annotations

import math
import statistics

import numpy as np

from . import problem, roster
from .process import Worker
from .shapes import BACKWARD, MODES, Shape

BASE = Shape("base", 1_024, 128, 100_000, 4_096)
VALUES = {
    "n": (128, 256, 512, 1_024, 2_048, 4_096),
    "s": (512, 1_024, 2_048, 4_096, 8_192, 16_384),
    "d": (32, 64, 128, 256, 512),
}
QUICK_BASE = Shape("base", 256, 64, 20_000, 512)
QUICK_VALUES = {"n": (64, 128, 256), "s": (128, 256, 512), "d": (32, 64, 128)}
_ROUNDS = 7
_SECONDS = 0.05


def measure(threads: int, quick: bool) -> dict:
    """Seconds by N, S and d with all threads, by threads at the base shape, and the fits."""
    base, values = (QUICK_BASE, QUICK_VALUES) if quick else (BASE, VALUES)
    worker = Worker(roster.command(roster.OURS[0]), threads, roster.BUILD / "workers.log")
    try:
        worker.hello()
        known: dict[tuple[Shape, int], dict[str, float]] = {}

        def seconds(shape: Shape, count: int) -> dict[str, float]:
            if (shape, count) not in known:
                known[shape, count] = _seconds(worker, shape, count)
            return known[shape, count]

        series = {}
        for name, points in values.items():
            times = [seconds(base._replace(**{name: value}), threads) for value in points]
            series[name] = {"values": list(points), **_by_mode(times, points)}
        counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= threads]
        times = [seconds(base, count) for count in counts]
        series["threads"] = {"values": counts, **_by_mode(times, counts)}
    finally:
        worker.stop()
    return {"base": {"N": base.n, "d": base.d, "C": base.c, "S": base.s, "threads": threads}, "series": series}


def _by_mode(times: list[dict[str, float]], points) -> dict:
    return {
        mode: {"seconds": [one[mode] for one in times], **fit(points, [one[mode] for one in times])} for mode in MODES
    }


def fit(values, seconds) -> dict[str, float | None]:
    """seconds = a values^exponent by least squares of logarithms; the residual is the
    largest factor by which a point is off. None where there are too few points."""
    if len(values) < 2:
        return {"exponent": None, "largest_factor_off": None}
    x, y = np.log(values), np.log(seconds)
    slope, intercept = np.polyfit(x, y, 1)
    return {"exponent": float(slope), "largest_factor_off": float(np.exp(np.abs(y - slope * x - intercept).max()))}


def _seconds(worker: Worker, shape: Shape, threads: int) -> dict[str, float]:
    """The median of some turns in each mode."""
    path = problem.directory(problem.bytes_of(shape, ("f32",)))
    try:
        problem.write(path, shape, ("f32",))
        worker.open(path, shape, "f32", threads)
        found = {}
        for mode in MODES:
            worker.run(mode, 2)
            calls = max(1, math.ceil(_SECONDS / worker.run(mode, 1)[0]))
            found[mode] = statistics.median(worker.run(mode, calls)[0] for _ in range(_ROUNDS))
        worker.ask("close")
        return found
    finally:
        problem.remove(path)


def sentence(result: dict) -> str:
    """The exponents of forward + backward in a line."""
    parts = []
    for name, one in result["series"].items():
        exponent = one[BACKWARD]["exponent"]
        if exponent is not None:
            label = name if name in ("d", "threads") else name.upper()
            parts.append(f"{label}^{exponent:.2f} (within {one[BACKWARD]['largest_factor_off'] - 1:.0%})")
    return "time of forward + backward grows as " + ", ".join(parts)
