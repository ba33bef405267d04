"""Who takes part, and how their processes start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"


class Entry(NamedTuple):
    """A participant: its name, how `worker.py` calls it, and whose it is."""

    name: str
    worker: str
    #: Package that must be there.
    package: str
    #: Its environment under build/.
    environment: str = ".venv-frameworks"
    dtype: str = "f32"

    @property
    def ours(self) -> bool:
        return self.package == "sampled_softmax"


OURS = (
    Entry("ours, C", "c", "sampled_softmax"),
    Entry("ours, Python", "ours", "sampled_softmax"),
    Entry("ours, C, bf16", "c", "sampled_softmax", dtype="bf16"),
    Entry("ours, C, f16", "c", "sampled_softmax", dtype="f16"),
)
PEERS = (
    Entry("TensorFlow", "tensorflow", "tensorflow"),
    Entry("JAX", "jax", "jax"),
    Entry("PyTorch eager", "torch:eager", "torch"),
    Entry("PyTorch compile", "torch:compile", "torch"),
    Entry("MindSpore", "mindspore", "mindspore", ".venv-mindspore"),
)


def missing(entry: Entry) -> str | None:
    """Why a peer cannot take part; None if it can."""
    python = _python(entry)
    if not python.exists():
        return f"build/{entry.environment} was not made"
    found = f"import importlib.util as u, sys; sys.exit(u.find_spec({entry.package!r}) is None)"
    if not entry.ours and subprocess.run([python, "-c", found], cwd="/", check=False).returncode:
        return f"{entry.package} is not installed in build/{entry.environment}"
    return None


def _python(entry: Entry) -> Path:
    return ROOT / "build" / entry.environment / "bin" / "python"


def command(entry: Entry) -> list[str]:
    """The command line of an entry's worker."""
    if entry.worker == "c":
        return [str(BUILD / "ssl_worker")]
    return [str(_python(entry)), "-m", "benches.worker", entry.worker]


def environment(threads: int) -> dict[str, str]:
    """The workers' environment: so many threads, and none that waits by spinning, which
    would take the core from whoever is measured next."""
    count = str(threads)
    fixed = {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "SAMPLED_SOFTMAX_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "passive",
        "KMP_BLOCKTIME": "0",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "TORCHINDUCTOR_CACHE_DIR": str(BUILD / "inductor"),
        "GLOG_v": "3",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "bindings" / "python")]),
    }
    return {**os.environ, **fixed}


def library() -> Path:
    """The shared library that is measured: SAMPLED_SOFTMAX_LIB, else this tree's."""
    named = os.environ.get("SAMPLED_SOFTMAX_LIB")
    return Path(named).resolve() if named else ROOT / "target" / "release" / "libsampled_softmax.so"


def build_native() -> None:
    """Compiles the C worker and the probe, for this very machine. Raises SystemExit."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or "cc"
    BUILD.mkdir(parents=True, exist_ok=True)
    if not library().exists():
        sys.exit(f"bench: {library()} is not there; `make build` makes it")
    # Under the names that the linker and the loader look for.
    for name in ("libsampled_softmax.so", "libsampled_softmax.so.0"):
        (BUILD / name).unlink(missing_ok=True)
        (BUILD / name).symlink_to(library())
    native = ROOT / "benches" / "native"
    common = [compiler, "-std=gnu11", "-Wall", "-Wextra"]
    probe = [
        *common,
        "-O3",
        "-march=native",
        "-ffp-contract=fast",
        "-pthread",
        native / "probe.c",
        "-o",
        BUILD / "probe",
    ]
    link = [f"-L{BUILD}", "-lsampled_softmax", f"-Wl,-rpath,{BUILD}", "-o", BUILD / "ssl_worker"]
    worker = [*common, "-O2", f"-I{ROOT / 'include'}", native / "ssl_worker.c", *link]
    for line in (probe, worker):
        if subprocess.run(list(map(str, line)), check=False).returncode:
            sys.exit("bench: a native worker does not compile")
