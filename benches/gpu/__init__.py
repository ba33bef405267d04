"""The CUDA engine beside PyTorch on one GPU: `python3 -m benches.gpu`.

Needs Python, PyTorch and the built library; fused losses are there where they are found. See __main__.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What `make bench-gpu-peers` fetched; the machine's own packages come before.
sys.path.append(str(ROOT / "build" / "peers"))
# The tests' way of calling the C functions is the benchmark's too.
for folder in ("bindings/python", "tests/gpu"):
    sys.path.insert(0, str(ROOT / folder))
