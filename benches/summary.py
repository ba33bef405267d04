"""From seconds to the figures that are reported."""

from __future__ import annotations

import statistics

from .probe import Probe
from .rounds import Measured, Participant
from .shapes import MODES


def paired(slower: list[float], faster: list[float]) -> float:
    """How many times as long one took as the other, as the median over rounds: both
    times of a pair come from the same round, so that what disturbed both cancels."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=False))


def _best_peer(participants: list[Participant], mode: str) -> Participant | None:
    peers = [one for one in participants if not one.entry.ours]
    return min(peers, key=lambda one: statistics.median(one.seconds[mode]), default=None)


def _single(one: Participant, participants: list[Participant]) -> Participant | None:
    """Of our rows in low precision, the same caller in float32."""
    same = (
        other
        for other in participants
        if other.entry.ours and other.entry.worker == one.entry.worker and other.entry.dtype == "f32"
    )
    return next(same, None) if one.entry.ours and one.entry.dtype != "f32" else None


def _row(one: Participant, mode: str, measured: Measured, best: Participant | None, probe: Probe) -> dict:
    seconds = statistics.median(one.seconds[mode])
    flops = measured.shape.flops(mode)
    floor = flops / probe.peak(one.entry.dtype)
    single = _single(one, measured.participants)
    return {
        "shape": measured.shape.name,
        "mode": mode,
        "participant": one.entry.name,
        "ours": one.entry.ours,
        "dtype": one.entry.dtype,
        "version": one.facts.get("version", ""),
        "form": one.facts.get("form", "ssl_forward, ssl_forward_backward; unique candidates; rows merged"),
        "seconds": seconds,
        "least_seconds": min(one.seconds[mode]),
        "most_seconds": max(one.seconds[mode]),
        "rounds": one.seconds[mode],
        "flops_per_second": flops / seconds,
        "floor_seconds": floor,
        "share_of_floor": floor / seconds,
        "times_best_peer": None if best is None else paired(best.seconds[mode], one.seconds[mode]),
        "times_own_f32": None if single is None else paired(single.seconds[mode], one.seconds[mode]),
        "peak_extra_bytes": one.memory[mode],
        "relative_errors": one.errors,
    }


def summarise(measured: Measured, probe: Probe) -> dict:
    """One shape's rows, and the ratio of every pair."""
    rows, pairs, best_peers = [], {}, {}
    for mode in MODES:
        best = _best_peer(measured.participants, mode)
        best_peers[mode] = best.entry.name if best else None
        rows += [_row(one, mode, measured, best, probe) for one in measured.participants]
        pairs[mode] = {
            one.entry.name: {
                other.entry.name: paired(other.seconds[mode], one.seconds[mode])
                for other in measured.participants
                if other is not one
            }
            for one in measured.participants
        }
    shape = measured.shape
    return {
        "shape": {"name": shape.name, "N": shape.n, "d": shape.d, "C": shape.c, "S": shape.s},
        "best_peer": best_peers,
        "rows": rows,
        "times_as_fast_as": pairs,
        "failed": measured.failed,
        "idle_workers_share_of_cores": measured.idle_share,
        "other_processes_share_of_cores": measured.foreign_share,
    }
