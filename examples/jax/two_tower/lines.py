"""Real data that every machine has: which line of code follows which.

A reader's place in a Python source file is a user, the lines before it are what that
user looked at last, and every distinct line is an item of the catalogue: hundreds of
thousands of them, a few popular and most of them rare, as catalogues are.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HISTORY = 8
HELD_OUT_SHARE = 0.05
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True)
class Lines:
    """Lines as item ids, items in descending order of frequency.

    `items` is int32, all files end to end, each behind HISTORY places that hold
    `num_items`, which is no item. `train` and `held_out` are the places of lines with
    at least one line before them, of different files.
    """

    items: np.ndarray
    train: np.ndarray
    held_out: np.ndarray
    counts: np.ndarray
    texts: list[str]

    @property
    def num_items(self) -> int:
        return len(self.texts)

    def examples(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Histories [n, HISTORY], the last line last, and the lines that follow [n]."""
        return self.items[places[:, None] + np.arange(-HISTORY, 0)], self.items[places]


def read(folders: list[Path]) -> Lines:
    """The lines of all ``*.py`` below the folders, white space and empty lines apart."""
    names, files = [], []
    for folder in folders:
        for path in _sources(folder):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            names.append(path.relative_to(folder).as_posix())
            files.append([line for line in map(str.strip, text.splitlines()) if line])
    counted = Counter(line for file in files for line in file)
    texts = sorted(counted, key=lambda text: (-counted[text], text))
    index = {text: item for item, text in enumerate(texts)}
    held_out = _held_out(names)
    items, places = [], ([], [])
    for number, file in enumerate(files):
        items += [len(texts)] * HISTORY
        places[number in held_out].extend(range(len(items) + 1, len(items) + len(file)))
        items += [index[line] for line in file]
    counts = np.array([counted[text] for text in texts], np.int64)
    return Lines(np.array(items, np.int32), np.array(places[0]), np.array(places[1]), counts, texts)


def _sources(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS and name[0] != ".")
        yield from (Path(root, name) for name in sorted(names) if name.endswith(".py"))


def _held_out(names: list[str]) -> set[int]:
    """Numbers of the files kept for evaluation, chosen by a hash of the name."""
    order = sorted(range(len(names)), key=lambda number: hashlib.sha256(names[number].encode()).digest())
    return set(order[: max(1, round(HELD_OUT_SHARE * len(names)))])
