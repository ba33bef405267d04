"""Source files as numbered words: real text that is on every machine with Python."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .language_model.tokens import CorpusError, held_out_files, source_files

# Names, numbers, and every other mark by itself.
WORD = re.compile(r"[A-Za-z_]\w*|\d+|[^\w\s]")
UNKNOWN = "<unk>"
MIN_COUNT = 2


@dataclass(frozen=True)
class Words:
    """Word ids of a folder, classes in descending order of frequency, as the log-uniform
    sampler expects them."""

    train: NDArray[np.int64]
    """[words], files end to end."""
    held_out: NDArray[np.int64]
    """[words], of other files."""
    classes: list[str]


def read(folder: Path, max_files: int) -> Words:
    """The first `max_files` sources below `folder`. Raises CorpusError for too few."""
    paths = source_files(folder)[:max_files]
    if len(paths) < 2:
        raise CorpusError(f"{len(paths)} files of {folder}: at least 2 are needed, some to train on, some held out")
    files = [WORD.findall(path.read_text(encoding="utf-8", errors="replace")) for path in paths]
    counts = Counter(word for words in files for word in words)
    known = {word: count for word, count in counts.items() if count >= MIN_COUNT}
    known[UNKNOWN] = counts.total() - sum(known.values())
    classes = sorted(known, key=lambda word: (-known[word], word))
    index = {word: number for number, word in enumerate(classes)}
    held_out = held_out_files([path.relative_to(folder).as_posix() for path in paths])
    parts: tuple[list[int], list[int]] = ([], [])
    for number, words in enumerate(files):
        parts[number in held_out].extend(index.get(word, index[UNKNOWN]) for word in words)
    train, evaluation = (np.array(part, np.int64) for part in parts)
    return Words(train, evaluation, classes)
