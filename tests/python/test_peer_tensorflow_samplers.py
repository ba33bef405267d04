"""TensorFlow's candidate samplers and ours declare the same expected counts.

With replacement a count is S * p, so the probabilities themselves are compared. For
distinct classes it depends on how many tries the draw took; both sides' draws are
checked against the same formula at the number of tries that they imply.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from numpy.typing import NDArray
from peer_cases import assert_agrees
from peers import import_tensorflow

VOCABULARY_WEIGHTS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]

SAMPLERS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "uniform": ("uniform", 50, {}),
    "log_uniform": ("log_uniform", 50, {}),
    "log_uniform of one class": ("log_uniform", 1, {}),
    "unigrams": ("fixed_unigram", 9, {"unigrams": VOCABULARY_WEIGHTS}),
    "distortion": ("fixed_unigram", 9, {"unigrams": VOCABULARY_WEIGHTS, "distortion": 0.8}),
    "no distortion left": ("fixed_unigram", 9, {"unigrams": VOCABULARY_WEIGHTS, "distortion": 0.0}),
    "vocabulary file": ("fixed_unigram", 9, {"vocab_file": "vocabulary", "distortion": 0.75}),
    "blank lines": ("fixed_unigram", 9, {"vocab_file": "vocabulary with blanks"}),
    "reserved ids": ("fixed_unigram", 12, {"unigrams": VOCABULARY_WEIGHTS, "num_reserved_ids": 3}),
    "reserved ids and a file": (
        "fixed_unigram",
        10,
        {"vocab_file": "vocabulary", "num_reserved_ids": 1},
    ),
    "first of two shards": (
        "fixed_unigram",
        5,
        {"unigrams": VOCABULARY_WEIGHTS, "num_shards": 2, "shard": 0},
    ),
    "last of four shards": (
        "fixed_unigram",
        2,
        {"unigrams": VOCABULARY_WEIGHTS, "num_shards": 4, "shard": 3, "distortion": 0.5},
    ),
    "a shard of a file": ("fixed_unigram", 3, {"vocab_file": "vocabulary", "num_shards": 3, "shard": 1}),
}

Drawn = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]


@pytest.fixture(scope="module")
def tf() -> ModuleType:
    return import_tensorflow()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("vocabulary")
    lines = [f"word{k},group,{weight:g}" for k, weight in enumerate(VOCABULARY_WEIGHTS)]
    contents = {
        "vocabulary": "\n".join(lines),
        "vocabulary with blanks": "\n\n".join(lines) + "\n",
    }
    paths = {name: folder / f"{name}.csv" for name in contents}
    for name, path in paths.items():
        path.write_text(contents[name])
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture(params=SAMPLERS)
def samplers(
    request: pytest.FixtureRequest, tf: ModuleType, files: dict[str, str]
) -> tuple[Callable[..., Drawn], Callable[..., Drawn], int]:
    """(TensorFlow's, ours, number of classes that can be drawn). Either is called
    (num_sampled, unique), with each of those as a label, and returns them numbered from 0."""
    name, num_classes, options = SAMPLERS[request.param]
    if "vocab_file" in options:
        options = options | {"vocab_file": files[options["vocab_file"]]}
    first = options.get("num_reserved_ids", 0)
    labels = np.arange(first, num_classes).reshape(-1, 1)
    theirs = getattr(tf.random, f"{name}_candidate_sampler")
    ours = getattr(ss, f"{name}_candidate_sampler")

    def tensorflow_draw(num_sampled: int, unique: bool) -> Drawn:
        drawn = theirs(labels, 1, num_sampled, unique, num_classes, **options, seed=3)
        ids, true_counts, sampled_counts = (values.numpy() for values in drawn)
        return ids - first, true_counts, sampled_counts

    def our_draw(num_sampled: int, unique: bool) -> Drawn:
        drawn = ours(labels, 1, num_sampled, unique, num_classes, **options, seed=3)
        ids, true_counts, sampled_counts = drawn
        return ids - first, true_counts, sampled_counts

    return tensorflow_draw, our_draw, labels.size


def expected_count(probability: NDArray[np.float64], num_sampled: int, tries: int) -> Any:
    """`ExpectedCountHelper` of TensorFlow's range_sampler.cc."""
    if tries == num_sampled:
        return probability * num_sampled
    return -np.expm1(tries * np.log1p(-probability))


def implied_tries(counts: NDArray[np.float32], probability: NDArray[np.float64], num_sampled: int) -> int:
    """The number of tries at which the formula gives `counts`, told by the class whose
    count says most about it."""
    if np.allclose(counts, probability * num_sampled, rtol=1e-6):
        return num_sampled
    told = np.argmin(np.abs(counts.astype(np.float64) - 0.5))
    return round(np.log1p(-float(counts[told])) / np.log1p(-probability[told]))


def test_counts_with_replacement_agree(
    samplers: tuple[Callable[..., Drawn], Callable[..., Drawn], int],
) -> None:
    """S * p, for every class as a label and for every class drawn."""
    tensorflow_draw, our_draw, num_drawable = samplers
    num_sampled = 3 * num_drawable
    _, probability_times_s, _ = tensorflow_draw(num_sampled, False)
    ids, true_counts, sampled_counts = our_draw(num_sampled, False)
    assert_agrees(true_counts, probability_times_s, "true_expected_count", tolerance=1e-6)
    assert_agrees(sampled_counts, true_counts[ids, 0], "sampled_expected_count", tolerance=0)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_counts_of_distinct_classes_follow_the_tries_in_both(
    samplers: tuple[Callable[..., Drawn], Callable[..., Drawn], int], share: float
) -> None:
    """-expm1(tries * log1p(-p)) at a whole number of tries, S * p if none was rejected."""
    tensorflow_draw, our_draw, num_drawable = samplers
    probability = tensorflow_draw(1, False)[1][:, 0].astype(np.float64)
    num_sampled = max(1, int(share * num_drawable))
    for draw in (tensorflow_draw, our_draw):
        ids, true_counts, sampled_counts = draw(num_sampled, True)
        assert np.unique(ids).size == num_sampled
        assert ids.min() >= 0
        tries = implied_tries(true_counts[:, 0], probability, num_sampled)
        assert tries >= num_sampled
        formula = expected_count(probability, num_sampled, tries)
        assert_agrees(true_counts[:, 0], formula, "true_expected_count", tolerance=1e-6)
        assert_agrees(sampled_counts, formula[ids], "sampled_expected_count", tolerance=1e-6)


@pytest.mark.parametrize("name", ["uniform", "log_uniform"])
def test_draws_take_as_many_tries_in_both(tf: ModuleType, name: str) -> None:
    """On average over 2,000 draws of 5 of 10 classes, for no single count can tell a wrong
    number of tries from a right one."""
    labels, num_draws = np.array([[4]]), 2000
    probability = getattr(ss, f"{name}_candidate_sampler")(labels, 1, 1, False, 10).true_expected_count[:, 0]
    sampler = ss.Sampler(name, 10, 5)

    @tf.function
    def their_draw() -> Any:
        theirs = getattr(tf.random, f"{name}_candidate_sampler")
        return theirs(labels, 1, 5, True, 10, seed=3).true_expected_count

    ours, theirs = (
        np.array([implied_tries(counts[0], probability.astype(np.float64), 5) for counts in draws])
        for draws in (
            [sampler.sample(labels).true_expected_count for _ in range(num_draws)],
            [their_draw().numpy() for _ in range(num_draws)],
        )
    )
    error = np.sqrt((ours.var() + theirs.var()) / num_draws)
    assert abs(ours.mean() - theirs.mean()) < 5 * error


def test_learned_counts_agree_after_every_update(tf: ModuleType) -> None:
    """Both draw first and count the labels afterwards, from 1 for each class."""
    rng = np.random.default_rng(11)
    sampler = ss.Sampler("learned_unigram", 9, 6, unique=False, seed=3)

    @tf.function
    def their_draw(labels: Any) -> Any:
        return tf.random.learned_unigram_candidate_sampler(labels, 2, 6, False, 9, seed=3)

    for _ in range(8):
        labels = rng.integers(0, 9, (5, 2)) // 2
        theirs = their_draw(tf.constant(labels))
        ours = sampler.sample(labels)
        expected = theirs.true_expected_count.numpy()
        assert_agrees(ours.true_expected_count, expected, "true_expected_count", tolerance=1e-6)
    assert sampler.learned_counts.sum() == 9 + 8 * labels.size


def test_all_candidates_agree(tf: ModuleType) -> None:
    labels = np.array([[1, 2], [0, 4], [3, 3]])
    theirs = [values.numpy() for values in tf.random.all_candidate_sampler(labels, 2, 5, True)]
    ours = ss.all_candidate_sampler(labels, 2, 5, True)
    np.testing.assert_array_equal(ours.sampled_candidates, theirs[0])
    np.testing.assert_array_equal(ours.true_expected_count, theirs[1])
    np.testing.assert_array_equal(ours.sampled_expected_count, theirs[2])
