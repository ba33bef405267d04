"""What the tests of the compiled adapters share: their cache, kept in the build folder."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from conftest import ROOT
from peers import import_mindspore, import_tensorflow
from toolchain import COMPILERS

CACHE = ROOT / "build" / "cache"


def compiled_environment() -> None:
    """Adapters go to the build folder, unless the environment says otherwise."""
    CACHE.parent.mkdir(exist_ok=True)
    os.environ.setdefault("SAMPLED_SOFTMAX_CACHE_DIR", str(CACHE))


def import_sampled_softmax_tensorflow() -> tuple[ModuleType, ModuleType]:
    """TensorFlow and the package's module for it, or the test does not run."""
    tf = import_tensorflow()
    compiled_environment()
    import sampled_softmax.tensorflow as module

    return tf, module


def import_sampled_softmax_mindspore() -> tuple[ModuleType, ModuleType]:
    """MindSpore and the package's module for it, or the test does not run."""
    ms = import_mindspore()
    compiled_environment()
    import sampled_softmax.mindspore as module

    return ms, module


def same_bits(actual: Any, wanted: Any) -> bool:
    """Equal shape, dtype and bits; NaN equals NaN."""
    actual, wanted = np.asarray(actual), np.asarray(wanted)
    return actual.shape == wanted.shape and actual.dtype == wanted.dtype and actual.tobytes() == wanted.tobytes()


def without_compilers(folder: Path) -> dict[str, str]:
    """An environment in which no compiler is to be found."""
    folder.mkdir(exist_ok=True)
    names = {name for names in COMPILERS.values() for name in names}
    assert not any((folder / name).exists() for name in names)
    return {"PATH": str(folder), "CXX": "", "CC": ""}
