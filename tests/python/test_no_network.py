"""The library asks for no network: it imports nothing to reach one, and runs where a socket is death."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, absent, run
from test_exports import _binutil
from toolchain import SOURCES, Dialect, build, dialects, link_flags

# Of <sys/socket.h>, <netdb.h>, <arpa/inet.h> and <resolv.h>, and what starts another program that could.
NETWORK = re.compile(
    r"socket|socketpair|connect|bind|listen|accept4?|send(to|msg|mmsg)?|recv(from|msg|mmsg)?|shutdown|[gs]etsockopt"
    r"|getpeername|getsockname|getaddrinfo|getnameinfo|gethostby\w+|getservby\w+|inet_\w+|res_\w+|__res_\w+"
    r"|system|popen|exec\w+|posix_spawn\w*|fork|vfork"
)
# What these give differs from one libm to the next, and so would a recorded run (tests/recorded_run.rs).
LIBM = re.compile(r"(exp|exp2|exp10|expm1|log|log2|log10|log1p|pow|sin|cos|tan|tanh|erf|cbrt|hypot)f?")

USE = """
import numpy as np, sampled_softmax as ss
weights, biases = np.ones((500, 8), np.float32), np.zeros(500, np.float32)
labels, inputs = np.arange(6)[:, None], np.ones((6, 8), np.float32)
for name in ("uniform", "log_uniform", "learned_unigram"):
    sampler = ss.Sampler(name, 500, 40, seed=1)
    sampler.sample(labels)
    loss, gradients = ss.value_and_grad(weights, biases, labels, inputs, 40, 500, sampler=sampler, device=DEVICE)
    ss.sampled_softmax_loss(weights, biases, labels, inputs, 40, 500, sampler=sampler, device=DEVICE)
    assert np.isfinite(loss).all() and len(gradients.weights.indices) > 6
try:
    ss.sampled_softmax_loss(weights, biases, labels + 500, inputs, 40, 500, sampler=sampler)
except ss.SampledSoftmaxError:
    print("done")
"""


@pytest.fixture(scope="module")
def imports(library_path: Path) -> set[str]:
    lines = run([_binutil("nm"), "-D", "--undefined-only", library_path]).splitlines()
    names = {line.split()[-1].partition("@")[0] for line in lines}
    assert "malloc" in names, "nm's output was not understood"
    return names


def test_nothing_that_reaches_a_network_is_imported(imports: set[str]) -> None:
    assert sorted(name for name in imports if NETWORK.fullmatch(name)) == []


def test_no_function_is_imported_whose_results_depend_on_the_platform(imports: set[str]) -> None:
    assert sorted(name for name in imports if LIBM.fullmatch(name)) == []


@pytest.fixture(scope="module")
def without_sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that runs another one which ends by SIGSYS if it asks for a socket."""
    if not sys.platform.startswith("linux"):
        absent("seccomp is Linux's")
    program = tmp_path_factory.mktemp("without_sockets") / "without_sockets"
    compiler = next(dialect.compiler for dialect in dialects("c11") if dialect.language == "c")
    run([compiler, "-O1", "-Wall", "-Wextra", "-Werror", SOURCES / "without_sockets.c", "-o", program])
    return program


def _python(without_sockets: Path, script: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(without_sockets), sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python"), **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("script", ["import socket; socket.socket()", "import socket; socket.socketpair()"])
def test_a_socket_is_the_end_of_a_program(script: str, without_sockets: Path) -> None:
    assert _python(without_sockets, script).returncode == -signal.SIGSYS


def test_python_needs_no_network(without_sockets: Path, library_path: Path) -> None:
    done = _python(without_sockets, USE.replace("DEVICE", "'cpu'"), SAMPLED_SOFTMAX_LIB=str(library_path))
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_the_cuda_engine_needs_no_network(without_sockets: Path, library_path: Path, tmp_path: Path) -> None:
    emulator = ROOT / "build" / "emu"
    if not (emulator / "libcuda.so.1").exists():
        absent("there is no emulated driver: make emu")
    done = _python(
        without_sockets,
        USE.replace("DEVICE", "'cuda'"),
        SAMPLED_SOFTMAX_LIB=str(library_path),
        SAMPLED_SOFTMAX_NVRTC=str(emulator / "libnvrtc.so.13"),
        SAMPLED_SOFTMAX_CACHE_DIR=str(tmp_path),
        LD_LIBRARY_PATH=str(emulator),
        FAKE_CUDA_PAGEABLE="1",
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("dialect", [dialect for dialect in dialects("c99") if dialect.language == "c"], ids=str)
def test_c_needs_no_network(dialect: Dialect, without_sockets: Path, library_dir: Path, tmp_path: Path) -> None:
    source = ROOT / "tests" / "abi" / "0.1" / "program.c"
    program = build(dialect, source, tmp_path / "program", *link_flags(library_dir))
    run([without_sockets, program], env={"LD_LIBRARY_PATH": str(library_dir)})
