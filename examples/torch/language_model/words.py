"""Numbered words as tensors: batches of contexts and next words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from examples import words


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
    """The first `max_files` sources below `folder`. Raises CorpusError for too few."""
    found = words.read(folder, max_files)
    return Text(torch.from_numpy(found.train), torch.from_numpy(found.held_out), found.classes)


def places(text: torch.Tensor, context: int, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Contexts [N, context] and the word after each [N], at `positions`."""
    return text[positions.unsqueeze(1) + torch.arange(context)], text[positions + context]


def batches(text: torch.Tensor, context: int, rows: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Random places of the text, for ever."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield places(text, context, torch.randint(len(text) - context, (rows,), generator=generator))
