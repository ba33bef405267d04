"""The inputs of one shape, as files that every worker maps: one copy in memory for all."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .shapes import Shape

# Weights repeat after so many elements, a prime, so that no two rows are alike; random
# numbers for all of ten million classes would take longer than the measurement.
_PERIOD = 8_388_593


class Files(NamedTuple):
    """Arrays of one problem, mapped."""

    shape: Shape
    inputs: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    sampled_count: np.ndarray
    true_count: np.ndarray


def directory(bytes_needed: int) -> Path:
    """A new folder, in memory where that has room, for the caller to remove."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > 2 * bytes_needed
    return Path(tempfile.mkdtemp(prefix="sampled-softmax-bench-", dir=shared if roomy else None))


def bytes_of(shape: Shape, dtypes) -> int:
    """What `write` takes."""
    return (shape.c + shape.n) * shape.d * sum(4 if dtype == "f32" else 2 for dtype in dtypes) + 16 * shape.c


def numpy_dtype(name: str):
    """f32, f16, bf16, i64: the dtypes that file names end in."""
    if name == "bf16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"f32": np.float32, "f16": np.float16, "i64": np.int64}[name])


def write(path: Path, shape: Shape, dtypes, seed: int = 0) -> None:
    """Inputs and weights in each dtype, and labels and candidates with expected counts
    as log-uniform sampling gives them."""
    rng = np.random.default_rng(seed)
    period = rng.standard_normal(min(_PERIOD, shape.c * shape.d), dtype=np.float32) / np.float32(math.sqrt(shape.d))
    inputs = rng.standard_normal((shape.n, shape.d), dtype=np.float32)
    for dtype in dtypes:
        kind = numpy_dtype(dtype)
        _write_repeated(path / f"weights.{dtype}", period.astype(kind), shape.c * shape.d)
        inputs.astype(kind).tofile(path / f"inputs.{dtype}")
    (0.1 * rng.standard_normal(shape.c, dtype=np.float32)).tofile(path / "biases.f32")

    labels = log_uniform(rng, shape.n, shape.c)
    ids, tries = draw_unique(rng, shape.s, shape.c)
    labels.tofile(path / "labels.i64")
    ids.tofile(path / "ids.i64")
    expected_count(ids, shape.c, tries).tofile(path / "sampled_count.f32")
    expected_count(labels, shape.c, tries).tofile(path / "true_count.f32")


def _write_repeated(path: Path, period: np.ndarray, size: int) -> None:
    with open(path, "wb") as file:
        for start in range(0, size, len(period)):
            period[: size - start].tofile(file)


def log_uniform(rng, count: int, c: int) -> np.ndarray:
    """Classes with P(k) = ln((k + 2) / (k + 1)) / ln(c + 1), independent."""
    drawn = np.expm1(rng.random(count) * math.log1p(c)).astype(np.int64)
    return np.minimum(drawn, c - 1)


def draw_unique(rng, s: int, c: int) -> tuple[np.ndarray, int]:
    """`s` distinct classes in the order of their first draw, and the draws that took."""
    drawn = log_uniform(rng, 4 * s, c)
    while True:
        _, first = np.unique(drawn, return_index=True)
        if len(first) >= s:
            first.sort()
            return drawn[first[:s]], int(first[s - 1]) + 1
        drawn = np.concatenate([drawn, log_uniform(rng, 4 * s, c)])


def expected_count(ids: np.ndarray, c: int, tries: int) -> np.ndarray:
    """How often classes are expected among distinct draws: 1 - (1 - P)^tries."""
    p = np.log1p(1.0 / (ids + 1.0)) / math.log1p(c)
    return (-np.expm1(tries * np.log1p(-p))).astype(np.float32)


def read(path: str | os.PathLike, shape: Shape, dtype: str = "f32") -> Files:
    """Maps the files. Their pages are touched, so that none counts as memory of a call."""
    path = Path(path)

    def mapped(name: str, *sizes: int) -> np.ndarray:
        # Copy on write, as frameworks refuse or warn of arrays that cannot be written.
        array = np.memmap(path / name, numpy_dtype(name.rpartition(".")[2]), "c", shape=sizes)
        array.view(np.uint8).reshape(-1)[::4096].max()
        return np.asarray(array)

    n, d, c, s = shape.n, shape.d, shape.c, shape.s
    return Files(
        shape,
        mapped(f"inputs.{dtype}", n, d),
        mapped(f"weights.{dtype}", c, d),
        mapped("biases.f32", c),
        mapped("labels.i64", n),
        mapped("ids.i64", s),
        mapped("sampled_count.f32", s),
        mapped("true_count.f32", n),
    )


def remove(path: Path) -> None:
    """Deletes a folder and what is in it."""
    shutil.rmtree(path, ignore_errors=True)
