"""Runs `keras_cases.py` in a process of its own, for Keras fixes its backend at import."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from conftest import ROOT, absent, run

_CASES = Path(__file__).resolve().parent / "keras_cases.py"


def run_cases(backend: str) -> None:
    """All cases on `backend`, or the test does not run where it is not installed."""
    for name in ("keras", backend):
        if importlib.util.find_spec(name) is None:
            absent(f"{name} is not installed")
    environment = {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT / "bindings" / "python"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-m", "pytest", str(_CASES), "--quiet", "-p", "no:cacheprovider"]
    report = run(command, env=environment, timeout=300)
    assert " passed" in report
    assert "skipped" not in report
