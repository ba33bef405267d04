"""What the machine can do at most, measured in the same rounds as everybody else."""

from __future__ import annotations

import statistics

from . import roster
from .process import Worker


class Probe:
    """The native probe and what it has measured so far."""

    def __init__(self, threads: int) -> None:
        self.worker = Worker([str(roster.BUILD / "probe"), str(threads)], threads, roster.BUILD / "workers.log")
        self.worker.hello()
        self.rates: dict[str, list[float]] = {"f32": [], "bf16": [], "read": [], "copy": []}

    def _take(self, what: str, seconds: float) -> None:
        self.rates[what].append(float(self.worker.ask("measure", what=what, seconds=seconds)["rate"]))

    def begin(self, seconds: float) -> None:
        """A first look, `seconds` for each figure, in five pieces."""
        for what in self.rates:
            for _ in range(5):
                self._take(what, seconds / 5)

    def take_peaks(self, seconds: float) -> None:
        """Both multiply-add peaks once more."""
        for what in ("f32", "bf16"):
            self._take(what, seconds)

    def median(self, what: str) -> float:
        """Operations or bytes a second; 0 where the machine has no such instruction."""
        return statistics.median(self.rates[what])

    def peak(self, dtype: str) -> float:
        """The multiply-add peak that inputs of a dtype could reach. There are no float16
        instructions to use, so f16 is held against float32, and so is bf16 without its own."""
        return (self.median("bf16") if dtype == "bf16" else 0) or self.median("f32")

    def facts(self) -> dict:
        """For the results: medians and spread."""
        names = {"f32": "fma_f32_flops", "bf16": "fma_bf16_flops", "read": "memory_read", "copy": "memory_copy"}
        return {
            names[what]: {"median": self.median(what), "least": min(rates), "most": max(rates), "samples": len(rates)}
            for what, rates in self.rates.items()
        }
