"""Python sources as class ids: reading, vocabulary, held-out split, cache.

A token is what stands on the page: a name, operator, number, string or comment, with
its whole text as its class. Layout (line ends, indentation) is left out, being
nearly free to predict. Texts seen fewer than three times share the class `<unk>`.
"""

import hashlib
import multiprocessing
import os
import signal
import sys
import token
import tokenize
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

UNKNOWN = "<unk>"
MIN_COUNT = 3
HELD_OUT_SHARE = 0.05
#: Raise it when the meaning of a cached file changes.
CACHE_VERSION = 1

_LAYOUT = {
    token.ENCODING,
    token.ENDMARKER,
    token.NEWLINE,
    token.NL,
    token.INDENT,
    token.DEDENT,
}
#: Installed packages are not part of the standard library's own sources.
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__"}
#: Below this many files, starting processes costs more than they save.
_FILES_WORTH_A_POOL = 64


class CorpusError(ValueError):
    """The folder cannot serve as a corpus; the message says why."""


@dataclass(frozen=True)
class Corpus:
    """Token ids of a folder of sources, classes in descending order of frequency.

    `train` and `held_out` are int32 [tokens], of different files laid end to end.
    """

    train: np.ndarray
    held_out: np.ndarray
    classes: list[str]
    num_files: int
    num_skipped: int

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def num_tokens(self) -> int:
        return len(self.train) + len(self.held_out)

    def decode(self, ids) -> list[str]:
        """Texts of class ids."""
        return [self.classes[i] for i in ids]


def source_files(folder: Path) -> list[Path]:
    """Every `*.py` below `folder` in a fixed order, hidden and installed ones left out."""
    if not folder.is_dir():
        raise CorpusError(f"no such folder: {folder}")
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS and name[0] != ".")
        found += [Path(root, name) for name in sorted(names) if name.endswith(".py")]
    if not found:
        raise CorpusError(f"no Python sources (*.py) in {folder}")
    return found


def tokenize_file(path: Path) -> list[str] | None:
    """Token texts of one file, or None where it is not valid Python or not readable."""
    try:
        with open(path, "rb") as source:
            return [
                sys.intern(item.string)
                for item in tokenize.tokenize(source.readline)
                if item.type not in _LAYOUT and item.string
            ]
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError, OSError):
        return None


def tokenize_files(paths: list[Path], on_file=lambda: None) -> list[list[str] | None]:
    """`tokenize_file` of each path, on all cores where there are many."""
    texts = []
    if len(paths) < _FILES_WORTH_A_POOL:
        for path in paths:
            texts.append(tokenize_file(path))
            on_file()
        return texts
    # Spawned, because forking a process in which BLAS has started threads is unsafe.
    with ProcessPoolExecutor(
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        try:
            for text in pool.map(tokenize_file, paths, chunksize=16):
                texts.append(text)
                on_file()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return texts


def vocabulary(files: list[list[str]], min_count: int = MIN_COUNT) -> list[str]:
    """Texts seen `min_count` times or more and `<unk>` for the rest, most frequent first.

    Ties are in alphabetical order. The log-uniform sampler counts on this order.
    """
    counts = Counter()
    for texts in files:
        counts.update(texts)
    kept = {text: count for text, count in counts.items() if count >= min_count}
    kept[UNKNOWN] = counts.total() - sum(kept.values())
    return sorted(kept, key=lambda text: (-kept[text], text))


def held_out_files(names: list[str], share: float = HELD_OUT_SHARE) -> set[int]:
    """Indices of the files kept for evaluation, chosen by a hash of the name.

    At least one is, and at least one is not.
    """
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
    return set(order[: max(1, min(round(share * len(names)), len(names) - 1))])


def encode(texts: list[str], index: dict[str, int]) -> list[int]:
    """Class ids of token texts."""
    unknown = index[UNKNOWN]
    return [index.get(text, unknown) for text in texts]


def read_corpus(folder: Path, on_start=lambda total: lambda: None) -> Corpus:
    """Tokenises a folder. `on_start(number of files)` gives what to call after each file."""
    paths = source_files(folder)
    read = tokenize_files(paths, on_start(len(paths)))
    names = [path.relative_to(folder).as_posix() for path, texts in zip(paths, read, strict=True) if texts is not None]
    files = [texts for texts in read if texts is not None]
    if len(files) < 2:
        raise CorpusError(
            f"{len(files)} of {len(paths)} files in {folder} are valid Python, "
            "but at least 2 are needed: some to train on, some held out"
        )
    classes = vocabulary(files)
    index = {text: i for i, text in enumerate(classes)}
    held_out = held_out_files(names)
    parts = ([], [])
    for i, texts in enumerate(files):
        parts[i in held_out].extend(encode(texts, index))
    train, evaluation = (np.array(part, np.int32) for part in parts)
    return Corpus(train, evaluation, classes, len(files), len(paths) - len(files))


def fingerprint(folder: Path) -> str:
    """Changes with any file's name, size or time, and with Python's tokeniser."""
    digest = hashlib.sha256(f"{CACHE_VERSION} {sys.version_info[:2]} {folder}".encode())
    for path in source_files(folder):
        state = path.stat()
        digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def load_corpus(folder: Path, cache: Path, on_start=lambda total: lambda: None) -> Corpus:
    """`read_corpus`, or what it gave before for the same folder from a file in `cache`."""
    folder = folder.resolve()
    path = cache / f"tokens-{fingerprint(folder)}.npz"
    if path.exists():
        return _load(path)
    corpus = read_corpus(folder, on_start)
    cache.mkdir(parents=True, exist_ok=True)
    _save(corpus, path)
    return corpus


def _save(corpus: Corpus, path: Path):
    encoded = [text.encode() for text in corpus.classes]
    # Written beside and renamed, so that an interrupted run leaves no half a cache.
    partial = path.with_name(path.name + f".{os.getpid()}")
    with open(partial, "wb") as file:
        np.savez(
            file,
            train=corpus.train,
            held_out=corpus.held_out,
            class_bytes=np.frombuffer(b"".join(encoded), np.uint8),
            class_lengths=np.array([len(text) for text in encoded], np.int64),
            files=np.array([corpus.num_files, corpus.num_skipped]),
        )
    os.replace(partial, path)


def _load(path: Path) -> Corpus:
    with np.load(path, allow_pickle=False) as saved:
        text = saved["class_bytes"].tobytes()
        ends = np.cumsum(saved["class_lengths"]).tolist()
        num_files, num_skipped = saved["files"].tolist()
        return Corpus(
            saved["train"],
            saved["held_out"],
            [text[start:end].decode() for start, end in zip([0, *ends[:-1]], ends, strict=True)],
            num_files,
            num_skipped,
        )
