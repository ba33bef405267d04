"""A worker process, seen from the harness."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from pathlib import Path

from . import roster
from .shapes import Shape

#: Longest answer to wait for: a framework that compiles a large graph on busy cores.
PATIENCE = 300.0


class WorkerError(Exception):
    """A worker gave up, said nothing in time, or died; the message is its own."""


class Worker:
    """One process, asked over a pipe. It lives for one shape, so that nothing that a
    framework keeps from another shape is counted or used."""

    def __init__(self, command: list[str], threads: int, log: Path) -> None:
        self._log = open(log, "a")  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=roster.ROOT,
            env=roster.environment(threads),
            bufsize=0,
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._buffer = b""
        self.facts: dict[str, str] = {}

    def hello(self) -> None:
        """Waits until the worker is ready."""
        self.facts = self._reply()

    def ask(self, verb: str, **fields) -> dict[str, str]:
        """Sends a request and waits for the reply. Raises WorkerError."""
        line = "\t".join([verb, *(f"{key}={value}" for key, value in fields.items())])
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise WorkerError(self._died()) from None
        return self._reply()

    def _reply(self) -> dict[str, str]:
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._buffer:
            if not self._selector.select(deadline - time.monotonic()):
                self._process.kill()
                raise WorkerError(f"no answer in {PATIENCE:.0f} s")
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                raise WorkerError(self._died())
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        status, *fields = line.decode().split("\t")
        if status != "ok":
            raise WorkerError(" ".join(fields) or "no reason given")
        return dict(field.split("=", 1) for field in fields)

    def _died(self) -> str:
        return f"the process ended with status {self._process.wait()}"

    def open(self, path: Path, shape: Shape, dtype: str, threads: int) -> None:
        sizes = {name: getattr(shape, name) for name in "ndcs"}
        self.ask("open", path=path, **sizes, dtype=dtype, threads=threads)

    def run(self, mode: str, calls: int) -> tuple[float, float]:
        """Seconds a call, and the last one's mean loss."""
        reply = self.ask("run", mode=mode, calls=calls)
        return float(reply["seconds"]), float(reply["loss"])

    def bytes(self, what: str) -> int:
        return int(self.ask(what)["bytes"])

    def cpu_seconds(self) -> float:
        """Processor time that the process has used so far, in all its threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Ends the process; waits until its memory is free."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._selector.close()
        self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()
