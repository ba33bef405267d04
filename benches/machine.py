"""What the figures were measured on, without the machine's name."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from . import roster

#: Of the processor's flags, those that decide what a kernel can use.
_TELLING = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "avx_vnni",
)


def describe(threads: int) -> dict:
    """Processor, caches, memory, system, and the commit of this tree."""
    facts = dict(
        (part.strip() for part in line.split(":", 1))
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        if ":" in line
    )
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {
        "processor": facts.get("model name", platform.machine()),
        "family_model_stepping": [facts.get(key) for key in ("cpu family", "model", "stepping")],
        "instructions": [flag for flag in _TELLING if flag in flags],
        "cores_available": len(os.sched_getaffinity(0)),
        "threads": threads,
        "caches": _caches(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _caches() -> dict[str, str]:
    """Sizes as the first core has them."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        found[f"L{level} {kind.lower()}"] = size
    return found


def _commit() -> str:
    """The commit, and whether tracked files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=roster.ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD") or "unknown"
    return commit + (" with changes" if git("status", "--porcelain", "--untracked-files=no") else "")
