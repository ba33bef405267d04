"""What drawing the candidates costs alone, by S and C, on one core."""

from __future__ import annotations

import math
import statistics

from . import roster
from .process import Worker, WorkerError

#: (sampler, S, C), every draw distinct, with its expected counts.
CASES = (
    ("log_uniform", 64, 1_000),
    ("log_uniform", 1_024, 10_000),
    ("log_uniform", 2_048, 100_000),
    ("log_uniform", 8_192, 793_471),
    ("log_uniform", 65_536, 793_471),
    ("log_uniform", 4_096, 1_000_000),
    ("log_uniform", 8_192, 10_000_000),
    ("log_uniform", 65_536, 10_000_000),
    ("uniform", 8_192, 793_471),
    ("uniform", 65_536, 10_000_000),
)
_SECONDS = 0.1
_ROUNDS = 5


def measure(entries, quick: bool, say) -> list[dict]:
    """Rows of seconds a draw; of the peers only TensorFlow has such a sampler to call."""
    workers = {}
    try:
        for entry in entries:
            workers[entry.name] = Worker(roster.command(entry), 1, roster.BUILD / "workers.log")
            workers[entry.name].hello()
        return [_case(workers, *case, say) for case in (CASES[:3] if quick else CASES)]
    finally:
        for worker in workers.values():
            worker.stop()


def _case(workers: dict[str, Worker], sampler: str, s: int, c: int, say) -> dict:
    """One row. A worker that gives up is said to, and is out of this row and the next."""

    def draw(name: str, calls: int) -> float:
        return float(workers[name].ask("sample", s=s, c=c, sampler=sampler, calls=calls)["seconds"])

    calls: dict[str, int] = {}
    seconds: dict[str, list[float]] = {}
    for _ in range(_ROUNDS):
        for name in list(workers):
            try:
                if name not in calls:
                    calls[name] = max(1, math.ceil(_SECONDS / draw(name, 1)))
                seconds.setdefault(name, []).append(draw(name, calls[name]))
            except WorkerError as error:
                say(f"{name} CANNOT TAKE PART in sampler {sampler}, S = {s}, C = {c}: {error}")
                workers.pop(name).stop()
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {"sampler": sampler, "S": s, "C": c, "seconds": medians}
