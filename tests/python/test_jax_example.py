"""The two-tower recommender of the examples: real data, both losses, and its parts."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run
from jax_problems import SHIM, jax, jnp

sys.path.insert(0, str(ROOT))

from examples.jax.two_tower import lines, towers


def start(*arguments: str) -> str:
    paths = f"{ROOT / 'bindings' / 'python'}"
    environment = {"PYTHONPATH": paths, "SAMPLED_SOFTMAX_JAX_LIB": str(SHIM)}
    return run([sys.executable, "-m", "examples.jax.two_tower", *arguments], env=environment, cwd=ROOT, timeout=300)


def test_it_reaches_the_loss_of_plain_jax_on_many_items() -> None:
    printed = start("--steps", "300", "--held-out", "300")
    items = re.search(r"([\d,]+) items", printed)
    assert items and int(items[1].replace(",", "")) >= 200_000, printed
    losses = re.findall(r"loss (\S+) -> (\S+) ", printed)
    assert len(losses) == 2, printed
    for first, last in losses:
        assert float(last) < float(first) - 0.5, printed
    assert float(losses[0][1]) == pytest.approx(float(losses[1][1]), abs=1e-4)


def test_a_small_catalogue_is_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("a\nb\nc\n")
    (tmp_path / "two.py").write_text("a\nb\n")
    with pytest.raises(pytest.fail.Exception, match="200,000 items are wanted"):
        start("--data", str(tmp_path))


def test_places_and_histories(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("a\n\n  b\nb\nc\n")
    (tmp_path / "two.py").write_text("b\nd\n")
    found = lines.read([tmp_path])
    assert found.texts == ["b", "a", "c", "d"] and found.counts.tolist() == [3, 1, 1, 1]
    places = np.sort(np.concatenate([found.train, found.held_out]))
    histories, labels = found.examples(places)
    read = [
        ([found.texts[item] for item in history if item < 4], found.texts[label])
        for history, label in zip(histories, labels, strict=True)
    ]
    assert sorted(read) == sorted([(["a"], "b"), (["a", "b"], "b"), (["a", "b", "b"], "c"), (["b"], "d")])
    assert len(found.train) in (1, 3)


def test_rows_of_one_id_are_added_once() -> None:
    rows = np.arange(10.0, dtype=np.float32).reshape(5, 2)
    summed = towers.sum_rows(jnp.array([4, 1, 4, 7, 1]), jnp.asarray(rows), 7)
    dense = np.zeros((7, 2), np.float32)
    dense[4], dense[1] = rows[0] + rows[2], rows[1] + rows[4]
    np.testing.assert_array_equal(summed.dense(7), dense)
    table, squares = towers.update_rows(jnp.ones((7, 2)), jnp.ones(7), summed)
    untouched = [0, 2, 3, 5, 6]
    np.testing.assert_array_equal(table[np.array(untouched)], 1)
    np.testing.assert_array_equal(squares[np.array(untouched)], 1)
    assert (np.asarray(table)[[1, 4]] < 1).all()
    assert jax.tree.structure(summed).num_leaves == 2
