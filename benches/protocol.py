"""The worker's side of the pipe: the same requests that native/channel.h answers.

A request is one line of tab-separated fields, a verb and then key=value; the reply is one
line, ``ok`` or ``error`` and the rest behind a tab. Times are taken here, around the calls,
so the pipe costs nothing.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
import traceback
from pathlib import Path

from . import problem, verify
from .shapes import BACKWARD, Shape


def memory(name: str) -> int:
    """Bytes in memory of this process: ``VmRSS`` now, ``VmHWM`` at most since a reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def give_back() -> None:
    """Returns freed memory to the system, so that the baseline holds none that a later
    call would use unseen."""
    gc.collect()
    # Where the C library is not glibc there is no such call, and nothing to do.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Server:
    """Answers requests for one participant until its input ends."""

    def __init__(self, participant) -> None:
        self.participant = participant
        self.shape: Shape | None = None
        self.step = 0

    def open(self, path: str, n: str, d: str, c: str, s: str, dtype: str, threads: str) -> dict:
        self.shape = Shape("", int(n), int(d), int(c), int(s))
        self.participant.open(problem.read(path, self.shape, dtype), int(threads))
        return {}

    def run(self, mode: str, calls: str) -> dict:
        count = int(calls)
        call = self.participant.forward_backward if mode == BACKWARD else self.participant.forward
        first, self.step = self.step, self.step + count
        start = time.perf_counter()
        for step in range(first, first + count):
            loss = call(step)
        seconds = (time.perf_counter() - start) / count
        return {"seconds": repr(seconds), "loss": repr(float(loss))}

    def check(self, out: str) -> dict:
        verify.save(Path(out), self.participant.check())
        return {}

    def sample(self, s: str, c: str, calls: str, sampler: str) -> dict:
        draw = self.participant.sampler(int(s), int(c), sampler)
        draw()
        start = time.perf_counter()
        for _ in range(int(calls)):
            draw()
        return {"seconds": repr((time.perf_counter() - start) / int(calls))}

    def close(self) -> dict:
        self.participant.close()
        give_back()
        return {}

    def rss(self) -> dict:
        give_back()
        return {"bytes": memory("VmRSS")}

    def reset_peak(self) -> dict:
        Path("/proc/self/clear_refs").write_text("5")
        return {}

    def peak(self) -> dict:
        return {"bytes": memory("VmHWM")}


def serve(make_participant) -> None:
    """Runs until ``quit`` or the end of input. What cannot be done is answered, with the
    reason, and ends the worker."""
    # Frameworks print; only answers may go to the harness.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        participant = make_participant()
        server = Server(participant)
        _reply(replies, {"version": participant.version, "form": participant.form})
        for line in sys.stdin:
            verb, *fields = line.rstrip("\n").split("\t")
            if verb == "quit":
                return
            _reply(replies, getattr(server, verb)(**dict(field.split("=", 1) for field in fields)))
    except Exception as error:
        traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"error\t{text[:300]}", file=replies)
        sys.exit(1)


def _reply(replies, values: dict) -> None:
    print("\t".join(["ok", *(f"{key}={value}" for key, value in values.items())]), file=replies)
