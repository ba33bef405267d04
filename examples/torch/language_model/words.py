"""Source files as numbered words: reading, vocabulary, batches of contexts and next words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from examples.language_model.tokens import held_out_files, source_files

# Names, numbers, and every other mark by itself.
WORD = re.compile(r"[A-Za-z_]\w*|\d+|[^\w\s]")
UNKNOWN = "<unk>"
MIN_COUNT = 2


@dataclass(frozen=True)
class Text:
    """Word ids of a folder, classes in descending order of frequency, as the log-uniform
    sampler expects them."""

    train: torch.Tensor
    """[words] int64."""
    held_out: torch.Tensor
    """[words] int64, of other files."""
    classes: list[str]


def read(folder: Path, max_files: int) -> Text:
    """The first `max_files` sources below `folder`."""
    paths = source_files(folder)[:max_files]
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
    train, evaluation = (torch.from_numpy(np.array(part, np.int64)) for part in parts)
    return Text(train, evaluation, classes)


def places(words: torch.Tensor, context: int, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Contexts [N, context] and the word after each [N], at `positions`."""
    return words[positions.unsqueeze(1) + torch.arange(context)], words[positions + context]


def batches(words: torch.Tensor, context: int, rows: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Random places of the text, for ever."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield places(words, context, torch.randint(len(words) - context, (rows,), generator=generator))
