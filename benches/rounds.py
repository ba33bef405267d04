"""Measuring one shape: everybody ready and proved right, then rounds in turns."""

from __future__ import annotations

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from . import problem, roster, verify
from .probe import Probe
from .process import Worker, WorkerError
from .shapes import MODES, WARM_UP, Shape

#: Seconds that one participant's turn in one mode lasts, at least one call.
TURN = 0.12

#: Calls longer than this are not preceded by an untimed one that warms the caches.
LONG_CALL = 0.4

#: Drawn candidates give another loss than given ones, but not one so different.
PLAUSIBLE = 0.25


@dataclass
class Participant:
    """One row of the table, while it is measured."""

    entry: roster.Entry
    worker: Worker
    facts: dict = field(default_factory=dict)
    errors: dict = field(default_factory=dict)
    memory: dict = field(default_factory=dict)
    calls: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=lambda: {mode: [] for mode in MODES})


@dataclass
class Measured:
    """One shape: who took part, who could not and why, and how quiet the machine was."""

    shape: Shape
    participants: list[Participant]
    failed: dict[str, str]
    idle_share: float
    foreign_share: float


def measure(shape: Shape, entries, threads: int, probe: Probe, rounds: int, budget: float, say) -> Measured:
    """Rounds are fewer where they would take longer than `budget` seconds, but not fewer
    than five."""
    dtypes = sorted({entry.dtype for entry in entries})
    path = problem.directory(problem.bytes_of(shape, dtypes))
    workers: list[Worker] = []
    try:
        for name, one in (("problem", shape), ("warm-up", WARM_UP)):
            (path / name).mkdir()
            problem.write(path / name, one, dtypes)
        participants, failed = _prepare_all(shape, entries, threads, path, workers, say)
        idle, foreign = _rounds(participants, failed, probe, rounds, budget)
        participants = [one for one in participants if one.entry.name not in failed]
        return Measured(shape, participants, failed, idle, foreign)
    finally:
        for worker in workers:
            worker.stop()
        problem.remove(path)


def _prepare_all(shape, entries, threads, path: Path, workers, say):
    """Starts and checks everybody, as many at a time as there are threads."""
    dtypes = sorted({entry.dtype for entry in entries})
    right = {dtype: verify.reference(problem.read(path / "problem", shape, dtype)) for dtype in dtypes}
    participants, failed = [], {}

    def prepare(entry):
        worker = Worker(roster.command(entry), threads, roster.BUILD / "workers.log")
        workers.append(worker)
        return _prepare(entry, worker, shape, threads, path, right[entry.dtype])

    with ThreadPoolExecutor(threads) as pool:
        waiting = [(entry, pool.submit(prepare, entry)) for entry in entries]
        for entry, future in waiting:
            try:
                participants.append(future.result())
            except (WorkerError, verify.Disagreement) as error:
                failed[entry.name] = str(error)
                say(f"{entry.name} CANNOT TAKE PART in {shape.name}: {error}")
    return participants, failed


def _prepare(entry, worker: Worker, shape: Shape, threads: int, path: Path, right: verify.Results) -> Participant:
    """Warm, its memory measured, its results compared. Raises WorkerError, Disagreement."""
    worker.hello()
    one = Participant(entry, worker, worker.facts)
    worker.open(path / "warm-up", WARM_UP, entry.dtype, threads)
    for mode in MODES:
        worker.run(mode, 2)
    worker.ask("close")

    worker.open(path / "problem", shape, entry.dtype, threads)
    before = worker.bytes("rss")
    for mode in MODES:
        # What building the graph takes for a moment is the peers' own affair.
        worker.run(mode, 1)
        worker.ask("reset_peak")
        _, loss = worker.run(mode, 2)
        one.memory[mode] = max(0, worker.bytes("peak") - before)
        if not abs(loss / right.loss - 1) < PLAUSIBLE:
            raise verify.Disagreement(f"with drawn candidates the loss is {loss:.4g}, not about {right.loss:.4g}")
        one.calls[mode] = 0

    out = path / f"out-{entry.name}"
    out.mkdir()
    worker.ask("check", out=out)
    one.errors = verify.compare(verify.load(out, shape, entry.dtype), right, entry.dtype)
    problem.remove(out)
    return one


def _turn(one: Participant, mode: str) -> None:
    """One participant's turn in one mode."""
    if not one.calls[mode]:
        seconds, _ = one.worker.run(mode, 1)
        one.calls[mode] = max(1, math.ceil(TURN / seconds))
        if one.calls[mode] > 1:
            seconds, _ = one.worker.run(mode, one.calls[mode])
            one.calls[mode] = max(1, math.ceil(TURN / seconds))
    previous = one.seconds[mode][-1] if one.seconds[mode] else 0
    if previous < LONG_CALL:
        one.worker.run(mode, 1)
    one.seconds[mode].append(one.worker.run(mode, one.calls[mode])[0])


def _rounds(participants, failed, probe: Probe, rounds: int, budget: float) -> tuple[float, float]:
    """Fills the seconds, from the beginning again if somebody fails. Returns how much of
    the cores the workers used that were not measured, and how much everything outside this
    benchmark used."""
    for one in participants:
        one.seconds = {mode: [] for mode in MODES}
    start = time.monotonic()
    idle = 0.0
    busy, own = _busy_seconds(), _own_seconds(participants, probe)
    for index in range(rounds):
        if index >= 5 and time.monotonic() - start > budget:
            break
        probe.take_peaks(0.1)
        at = index % len(participants) if participants else 0
        for one in participants[at:] + participants[:at]:
            before = {id(other): other.worker.cpu_seconds() for other in participants if other is not one}
            try:
                for mode in MODES:
                    _turn(one, mode)
            except WorkerError as error:
                failed[one.entry.name] = str(error)
                return _rounds([p for p in participants if p is not one], failed, probe, rounds, budget)
            idle += sum(other.worker.cpu_seconds() - before[id(other)] for other in participants if other is not one)
    capacity = (time.monotonic() - start) * len(os.sched_getaffinity(0))
    used = _busy_seconds() - busy
    return idle / capacity, max(0.0, used - (_own_seconds(participants, probe) - own)) / capacity


def _busy_seconds() -> float:
    """Processor time used so far by everything on the cores that this process may use."""
    allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name in allowed:
            user, nice, system, _idle, _wait, interrupts, soft, steal = map(int, values[:8])
            ticks += user + nice + system + interrupts + soft + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds(participants, probe: Probe) -> float:
    times = os.times()
    workers = sum(one.worker.cpu_seconds() for one in participants)
    return workers + probe.worker.cpu_seconds() + times.user + times.system
