"""A program that has set a locale with decimal commas reads the same numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
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
locale.setlocale(locale.LC_NUMERIC, sys.argv[2])
text = ctypes.create_string_buffer(16)
ctypes.CDLL(None).snprintf(text, 16, b"%.1f", ctypes.c_double(1.5))
assert text.value == b"1,5", f"the locale changes nothing: {text.value}"
for drawn in draw(vocab_file=sys.argv[1]), draw(unigrams=[0.25, 1.5, 100.0, 2.5e-1]):
    for got, want in zip(drawn, before):
        assert np.array_equal(got, want), (got, want)
print("same")
"""


SOURCE = """comment_char %
escape_char /
LC_NUMERIC
decimal_point ","
thousands_sep ""
grouping -1
END LC_NUMERIC
"""


@pytest.fixture(scope="module")
def comma_locale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers as much of Europe writes them; machines need not have such a locale."""
    if shutil.which("localedef") is None:
        absent("localedef (of the GNU C library) is not installed")
    folder = tmp_path_factory.mktemp("locales") / "comma"
    source = folder.with_suffix(".source")
    source.write_text(SOURCE)
    # It complains of the categories that are not there, and makes those that are.
    command = ["localedef", "--force", "--quiet", f"--inputfile={source}", folder]
    subprocess.run(command, env=os.environ | {"I18NPATH": "/nonexistent"}, check=False)
    return folder


def test_decimal_commas_do_not_change_a_vocabulary(comma_locale: Path, library_path: Path, tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocabulary.csv"
    vocabulary.write_text("the,0.25\nof,1.5\nand,1e2\nto,2.5e-1\n")
    environment = {"LOCPATH": str(comma_locale.parent), "SAMPLED_SOFTMAX_LIB": str(library_path)}
    command = [sys.executable, "-c", PROGRAM, vocabulary, comma_locale.name]
    assert run(command, env=environment) == "same\n"
