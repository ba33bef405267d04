"""Where a fixed unigram sampler has its weights from."""

from __future__ import annotations

import os
from typing import NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import as_array, cast_floats, host, integer


class Unigrams(NamedTuple):
    """Weights of a fixed unigram sampler, by value: part of a handle's key.

    Weights are held as the bytes of a float64 array: equal content is an equal key,
    however it came, and an array that is changed afterwards is another key.
    """

    weights: bytes = b""
    vocab_file: str = ""
    vocab_stamp: tuple[int, int] | None = None
    """Modification time (ns) and size of the file, so that a new file is read anew."""
    distortion: float = 1.0
    num_reserved_ids: int = 0
    num_shards: int = 1
    shard: int = 0


def unigram_options(
    vocab_file: str | os.PathLike[str],
    distortion: float,
    num_reserved_ids: SupportsIndex,
    num_shards: SupportsIndex,
    shard: SupportsIndex,
    unigrams: ArrayLike,
    *,
    needed: bool = False,
) -> Unigrams:
    """Checked options. Raises ValueError and TypeError, also where weights are `needed` and
    do not come from exactly one place."""
    weights = host(as_array(unigrams))
    path = os.fspath(vocab_file)
    if needed and bool(path) == bool(weights.size):
        both = "both" if path else "neither"
        raise ValueError(f"exactly one of vocab_file and unigrams is needed, and {both} was given")
    stamp = None
    if path:
        try:
            status = os.stat(path)
            stamp = (status.st_mtime_ns, status.st_size)
        except OSError:
            # The library reads the file and says what is wrong with it.
            pass
    return Unigrams(
        weights=cast_floats("unigrams", weights, np.dtype(np.float64), (weights.size,)).tobytes(),
        vocab_file=path,
        vocab_stamp=stamp,
        distortion=float(distortion),
        num_reserved_ids=integer("num_reserved_ids", num_reserved_ids, 0),
        num_shards=integer("num_shards", num_shards, 1, 2**32 - 1),
        shard=integer("shard", shard, 0, 2**32 - 1),
    )
