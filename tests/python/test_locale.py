"""A program that has set a locale with decimal commas reads the same numbers."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from conftest import absent, run

PROGRAM = """
import ctypes, locale, sys
import numpy as np
from sampled_softmax import fixed_unigram_candidate_sampler as sampler

labels = np.array([[0], [2]])
draw = lambda **weights: sampler(labels, 1, 3, True, 4, seed=7, **weights)
before = draw(vocab_file=sys.argv[1])
locale.setlocale(locale.LC_ALL, sys.argv[2])
text = ctypes.create_string_buffer(16)
ctypes.CDLL(None).snprintf(text, 16, b"%.1f", ctypes.c_double(1.5))
assert text.value == b"1,5", f"the locale changes nothing: {text.value}"
for drawn in draw(vocab_file=sys.argv[1]), draw(unigrams=[0.25, 1.5, 100.0, 2.5e-1]):
    for got, want in zip(drawn, before):
        assert np.array_equal(got, want), (got, want)
print("same")
"""


@pytest.fixture(scope="module")
def comma_locale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """German numbers, compiled from the C library's sources of locales."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales/de_DE").is_file():
        absent("localedef, or the source of de_DE (Debian: locales) is not installed")
    folder = tmp_path_factory.mktemp("locales")
    run(["localedef", "--inputfile=de_DE", "--charmap=UTF-8", folder / "de_DE.UTF-8"])
    return folder


def test_decimal_commas_do_not_change_a_vocabulary(comma_locale: Path, library_path: Path, tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocabulary.csv"
    vocabulary.write_text("the,0.25\nof,1.5\nand,1e2\nto,2.5e-1\n")
    environment = {"LOCPATH": str(comma_locale), "SAMPLED_SOFTMAX_LIB": str(library_path)}
    command = [sys.executable, "-c", PROGRAM, vocabulary, "de_DE.UTF-8"]
    assert run(command, env=environment) == "same\n"
