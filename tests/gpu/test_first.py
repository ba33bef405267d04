"""First of all on new hardware: kernels compile here, load, and compute."""

from __future__ import annotations

import ctypes
import glob
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from device import EMULATED, compute_capability, driver_version

ONE_CALL = """
import sys
sys.path[:0] = [{here!r}, {binding!r}]
from device import Stream
from engine import Call, Engine
from problem import Problem
from comparison import assert_close
problem = Problem(40, 64, 300, 70)
with Engine(problem) as engine:
    call = Call(engine, problem, Stream())
    call.queue_forward_backward()
    assert_close(call.results(), problem.solve(), "bf16x3")
"""


def _compilers() -> list[str]:
    """NVRTC libraries of this machine: of wheels, of toolkits, of the loader's path. The
    emulated device runs what its own makes and nothing else."""
    if EMULATED:
        return [os.environ["SAMPLED_SOFTMAX_NVRTC"]]
    folders = [sysconfig.get_paths()["purelib"] + "/nvidia/*/lib", "/usr/local/cuda*/lib64"]
    folders += [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    found = [path for folder in folders for path in sorted(glob.glob(f"{folder}/libnvrtc.so.*"))]
    return [path for path in found if "builtins" not in path] or ["none found"]


@pytest.mark.parametrize("compiler", _compilers())
def test_images_of_each_compiler_load_and_compute(compiler: str, tmp_path: Path) -> None:
    assert compiler != "none found", "no libnvrtc on this machine: in no wheel, toolkit or library path"
    version = (ctypes.c_int(), ctypes.c_int())
    ctypes.CDLL(compiler).nvrtcVersion(ctypes.byref(version[0]), ctypes.byref(version[1]))
    here = Path(__file__).resolve().parent
    code = ONE_CALL.format(here=str(here), binding=str(here.parents[1] / "bindings" / "python"))
    # A cache of its own: nothing that another compiler made may serve.
    environment = os.environ | {"SAMPLED_SOFTMAX_NVRTC": compiler, "SAMPLED_SOFTMAX_CACHE_DIR": str(tmp_path / "cache")}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    where = "emulated" if EMULATED else f"compute capability {compute_capability()}, driver {driver_version()}"
    assert run.returncode == 0, f"NVRTC {version[0].value}.{version[1].value} ({where}): {run.stderr}"
