"""tests/c/every_function.c: handles of every sampler used by threads in C, on both engines.

The program is what `make sanitize` watches; here it is seen to run. Run with libcuda in
LD_LIBRARY_PATH; `make test` does, with the fake one of tests/emu.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import ROOT, absent, run
from toolchain import SOURCES, Dialect, build, dialects, link_flags

EMULATOR = ROOT / "build" / "emu"


@pytest.mark.parametrize("dialect", dialects("c99"), ids=str)
def test_every_function_serves_threads_on_both_engines(dialect: Dialect, library_dir: Path, tmp_path: Path) -> None:
    if not (EMULATOR / "libcuda.so.1").exists():
        absent("there is no emulated driver: make emu")
    program = build(dialect, SOURCES / "every_function.c", tmp_path / "every", *link_flags(library_dir), "-pthread")
    env = {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, (library_dir, EMULATOR))),
        "SAMPLED_SOFTMAX_NVRTC": str(EMULATOR / "libnvrtc.so.13"),
        "FAKE_CUDA_STRICT": "1",
        "FAKE_CUDA_PAGEABLE": "1",
    }
    version, cpu, cuda = run([program], env=env).splitlines()
    assert version.startswith("version 0x")
    # 26 handles, 4 threads and 3 steps each.
    assert (cpu, cuda) == ("CPU: 312 steps", "CUDA: 312 steps")
