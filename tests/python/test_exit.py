"""A process may end at any time, by any way: no hang, no crash, its own exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, absent
from toolchain import SOURCES, build, dialects, link_flags

EMULATOR = ROOT / "build" / "emu"
CPU, CUDA = "0", "1"
# Microseconds from when all threads are inside calls.
DELAYS = ["0", "300", "2000"]


def environment(library_dir: Path, backend: str) -> dict[str, str]:
    paths = [str(library_dir)]
    if backend == CUDA:
        if not (EMULATOR / "libcuda.so.1").exists():
            absent("there is no emulated driver: make emu")
        paths.insert(0, str(EMULATOR))
    return os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(paths),
        "SAMPLED_SOFTMAX_NVRTC": str(EMULATOR / "libnvrtc.so.13"),
        "FAKE_CUDA_PAGEABLE": "1",
        "FAKE_CUDA_STRICT": "1",
    }


def assert_ends(command: list[str | Path], environment: dict[str, str], status: int) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, f"{command}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def program(library_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/c/exits.c."""
    folder = tmp_path_factory.mktemp("exits")
    return build(dialects("c11")[0], SOURCES / "exits.c", folder / "exits", *link_flags(library_dir), "-lpthread")


@pytest.mark.parametrize("backend", [CPU, CUDA], ids=["CPU", "CUDA"])
@pytest.mark.parametrize(
    "way", ["return", "exit", "thread", "_exit", "quick_exit", "abort", "early clean-up", "late clean-up"]
)
def test_a_program_ends_amid_calls(program: Path, library_dir: Path, way: str, backend: str) -> None:
    status = -signal.SIGABRT if way == "abort" else 7
    for delay in DELAYS:
        assert_ends([program, way, backend, delay], environment(library_dir, backend), status)


INTERPRETER = """
import os, sys, threading
import numpy as np
import sampled_softmax as ss

way, device = sys.argv[1:]
rng = np.random.default_rng(0)
problem = dict(
    weights=rng.normal(size=(1000, 32)).astype(np.float32), biases=np.zeros(1000, np.float32),
    labels=rng.integers(0, 1000, (64, 1)), inputs=rng.normal(size=(64, 32)).astype(np.float32),
    num_sampled=100, num_classes=1000, device=device)
ready = threading.Barrier(3, timeout=30)

def call(daemon):
    step = 0
    while True:
        ss.value_and_grad(**problem, seed=1, step=step)
        if step == 0:
            ready.wait()
        step += 1
        if not daemon and step > 3:
            return

class Late:
    def __del__(self):
        ss.value_and_grad(**problem, seed=2, step=0)

threads = [threading.Thread(target=call, args=(daemon,), daemon=daemon) for daemon in (True, way != "join")]
[thread.start() for thread in threads]
kept = Late() if way == "__del__" else None
ready.wait()
if way == "exception":
    raise RuntimeError("on purpose")
if way == "os._exit":
    os._exit(7)
sys.exit(7)
"""


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("way", ["sys.exit", "os._exit", "exception", "join", "__del__"])
def test_an_interpreter_ends_amid_calls(library_dir: Path, library_path: Path, way: str, device: str) -> None:
    variables = environment(library_dir, CUDA if device == "cuda" else CPU)
    # Daemon threads are ended between two calls of the driver, such as a push of a context and its pop.
    variables["FAKE_CUDA_STRICT"] = "0"
    variables["SAMPLED_SOFTMAX_LIB"] = str(library_path)
    variables["PYTHONPATH"] = str(ROOT / "bindings" / "python")
    command: list[str | Path] = [sys.executable, "-c", INTERPRETER, way, device]
    assert_ends(command, variables, 1 if way == "exception" else 7)
