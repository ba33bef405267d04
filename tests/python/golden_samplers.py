"""Checkers of the golden candidate samplers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from golden import Case, assert_expected, checks
from numpy.typing import ArrayLike, NDArray


def probability(name: str, range_max: int, classes: ArrayLike, **options: Any) -> NDArray[Any]:
    """P of each class: its expected count in one draw with replacement."""
    sampler = ss.Sampler(name, range_max, 1, unique=False, **options)
    return sampler.sample(np.asarray(classes)).true_expected_count[:, 0]


def expected_count(p: Any, num_sampled: int, tries: int) -> Any:
    """`ExpectedCountHelper` of TensorFlow's range_sampler.cc."""
    return num_sampled * p if tries == num_sampled else -np.expm1(tries * np.log1p(-p))


def unigram_options(params: Case) -> dict[str, Any]:
    return {key: params[key] for key in ("distortion", "unigrams") if key in params}


@checks("SAMP-49")
def uniform(case: Case) -> None:
    assert_expected(probability("uniform", 10, range(10)), case["expect"], "probability")
    drawn = ss.Sampler("uniform", 10, 1000, unique=False, seed=1).sample().sampled_candidates
    np.testing.assert_allclose(np.bincount(drawn, minlength=10) / 1000, 0.1, atol=0.05)


@checks("SAMP-50", "SAMP-51")
def log_uniform(case: Case) -> None:
    range_max, expect = case["params"]["range_max"], case["expect"]
    classes = expect.get("class_ids", range(range_max))
    assert_expected(probability("log_uniform", range_max, classes), expect, "probability")


@checks("SAMP-52")
def log_uniform_halves_with_twice_the_class(case: Case) -> None:
    classes = 100 * 2 ** np.arange(14)
    range_max = case["params"]["range_max"]
    assert classes[-1] < range_max
    ratio = probability("log_uniform", range_max, classes) / probability("log_uniform", range_max, classes // 2)
    assert np.all(np.abs(ratio - 0.5) <= 0.1)


@checks("SAMP-53")
def learned_unigram(case: Case) -> None:
    sampler = ss.Sampler("learned_unigram", 10, 1, unique=False)
    for _ in range(10):
        sampler.sample([3])
    counts = sampler.sample(np.arange(10)).true_expected_count[:, 0]
    assert_expected(counts, case["expect"], "probability")


@checks("SAMP-55")
def fixed_unigram(case: Case) -> None:
    options = unigram_options(case["params"])
    assert_expected(probability("fixed_unigram", 9, range(9), **options), case["expect"], "probability")


@checks("SAMP-57")
def fixed_unigram_of_a_file(case: Case) -> None:
    params = case["params"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.csv"
        path.write_text(params["vocab_file_content"])
        found = probability("fixed_unigram", 9, range(9), vocab_file=path, distortion=params["distortion"])
    assert_expected(found, case["expect"], "probability")


@checks("SAMP-58")
def fixed_unigram_errors(_: Case) -> None:
    def draw(range_max: int, **options: Any) -> None:
        ss.fixed_unigram_candidate_sampler([[0]], 1, 1, False, range_max, **options)

    weights = np.arange(1.0, 10.0)
    with pytest.raises(OSError, match="no/such/file"):
        draw(9, vocab_file="no/such/file")
    with pytest.raises(ValueError, match="9"):
        draw(8, unigrams=weights)
    with pytest.raises(ValueError, match="vocab_file"):
        draw(9, unigrams=weights, vocab_file="no/such/file")
    with pytest.raises(ValueError, match="vocab_file"):
        draw(9)


@checks("SAMP-59")
def fixed_unigram_without_distortion_is_uniform(case: Case) -> None:
    params = case["params"]
    drawn = ss.fixed_unigram_candidate_sampler(
        case["inputs"]["labels"],
        1,
        params["num_sampled"],
        params["unique"],
        params["range_max"],
        **unigram_options(params),
    )
    assert_expected(drawn.true_expected_count, case["expect"], "true_expected_count")


@checks("SAMP-61")
def negative_unigram_weight(case: Case) -> None:
    params = case["params"]
    with pytest.raises(ValueError, match=r"unigrams\[0\] = -1"):
        ss.Sampler("fixed_unigram", params["range_max"], 1, unigrams=params["unigrams"])


@checks("SAMP-62")
def all_candidates(case: Case) -> None:
    params, expect = case["params"], case["expect"]
    drawn = ss.all_candidate_sampler(case["inputs"]["labels"], params["num_true"], params["num_sampled"], True)
    for field in drawn._fields:
        np.testing.assert_array_equal(getattr(drawn, field), expect[field])


@checks("SAMP-63")
def expected_count_formula(case: Case) -> None:
    """A draw with just T tries is looked for among the steps of samplers that make one
    likely; the label is a class of probability p."""
    # 1e-8 / (1 - 1e-8) of the total of the 100,000 other weights.
    rare = np.append(np.ones(100_000), 1e5 * 1e-8 / (1 - 1e-8))
    # (sampler of S candidates, class of probability p, class that tells T, its p)
    searches: list[tuple[ss.Sampler, int, int, float]] = [
        (ss.Sampler("uniform", 10, 5), 0, 0, 0.1),
        (ss.Sampler("uniform", 10, 5), 0, 0, 0.1),
        (ss.Sampler("fixed_unigram", 100_001, 1000, unigrams=rare), 100_000, 0, (1 - 1e-8) / 1e5),
        (ss.Sampler("fixed_unigram", 3, 2, unigrams=[0.9, 0.05, 0.05]), 0, 1, 0.05),
    ]
    expected = case["expect"]["expected_count"]
    for wanted, count, (sampler, label, teller, told) in zip(case["params"]["cases"], expected, searches, strict=True):
        tries = wanted["T"]
        sign = expected_count(told, wanted["S"], tries)
        matches = (
            counts[0]
            for counts in draws_with_counts(sampler, [label, teller])
            if np.isclose(counts[1], sign, rtol=1e-5, atol=0)
        )
        found = next(matches, None)
        assert found is not None, f"no draw took {tries} tries"
        np.testing.assert_allclose(found, count, rtol=case["expect"]["rtol"])


def draws_with_counts(sampler: ss.Sampler, classes: list[int]) -> Iterator[NDArray[Any]]:
    for step in range(20_000):
        yield sampler.sample(classes, step=step).true_expected_count[:, 0]


@checks("SAMP-64")
def unique_counts_follow_a_whole_number_of_tries(_: Case) -> None:
    p = probability("log_uniform", 100, range(100)).astype(np.float64)
    sampler = ss.Sampler("log_uniform", 100, 50)
    for step in range(20):
        ids, true_counts, counts = sampler.sample(range(100), step=step)
        assert np.unique(ids).size == 50
        assert ids.min() >= 0
        assert ids.max() < 100
        tries = round(np.log1p(-float(true_counts[50, 0])) / np.log1p(-p[50]))
        assert tries >= 50
        formula = expected_count(p, 50, tries)
        np.testing.assert_allclose(true_counts[:, 0], formula, rtol=1e-5)
        np.testing.assert_allclose(counts, formula[ids], rtol=1e-5)


@checks("SAMP-65")
def unique_frequencies_are_the_declared_counts(case: Case) -> None:
    batches = case["params"]["batches"]
    sampler = ss.Sampler("log_uniform", 100, 50)
    seen, declared = np.zeros(100), np.empty((batches, 100))
    for step in range(batches):
        ids, true_counts, _ = sampler.sample(range(100), step=step)
        seen[ids] += 1
        declared[step] = true_counts[:, 0]
    assert np.all(np.abs(seen / batches - declared.mean(axis=0)) <= 0.2)
    assert np.all(np.abs(declared - declared.mean(axis=0)) <= 0.5 * declared.mean(axis=0))


@checks("SAMP-67")
def drawing_every_class(_: Case) -> None:
    sampler = ss.Sampler("uniform", 5, 5, counts="exact")
    for step in range(50):
        drawn = sampler.sample([0, 4], step=step)
        assert drawn.sampled_candidates.tolist() == [0, 1, 2, 3, 4]
        assert drawn.sampled_expected_count.tolist() == [1.0] * 5
        assert drawn.true_expected_count.tolist() == [[1.0], [1.0]]


@checks("SAMP-68")
def exact_counts_of_uniform(_: Case) -> None:
    drawn = ss.Sampler("uniform", 1000, 500, counts="exact").sample([7])
    assert drawn.true_expected_count.tolist() == [[0.5]]
    assert np.all(drawn.sampled_expected_count == 0.5)
    sampler, steps = ss.Sampler("uniform", 1000, 500), 400
    counts = [float(sampler.sample([7]).true_expected_count[0, 0]) for _ in range(steps)]
    tries = np.log1p(-np.array(counts)) / np.log1p(-1 / 1000)
    np.testing.assert_allclose(tries, np.round(tries), atol=1e-3)
    # sum of 1000 / (1000 - k) over k < 500; one draw has a standard deviation of 17.5.
    np.testing.assert_allclose(tries.mean(), 692.6, atol=5 * 17.5 / np.sqrt(steps))


@checks("SAMP-69")
def counts_with_replacement_may_exceed_one(case: Case) -> None:
    drawn = ss.uniform_candidate_sampler(case["inputs"]["labels"], 1, 8, False, 4)
    assert_expected(drawn.true_expected_count, case["expect"], "true_expected_count")
    assert_expected(drawn.sampled_expected_count, case["expect"], "sampled_expected_count")


@checks("SAMP-70")
def seeds_decide(case: Case) -> None:
    """Five of five classes in ascending order are one and the same draw, so where draws
    should differ they are of more classes than the case has."""

    def draw(seed: int | None, range_max: int) -> tuple[list[int], list[float]]:
        drawn = ss.log_uniform_candidate_sampler([[0]], 1, 5, True, range_max, seed=seed)
        return drawn.sampled_candidates.tolist(), drawn.sampled_expected_count.tolist()

    for range_max in (case["params"]["range_max"], 10_000):
        for seed in (1, 12, 123, 1234):
            assert draw(seed, range_max) == draw(seed, range_max)
    assert sum(draw(None, 10_000) != draw(None, 10_000) for _ in range(10)) >= 8


@checks("SAMP-71")
def steps_advance_and_can_be_returned_to(case: Case) -> None:
    params = case["params"]

    def draw(step: int) -> list[int]:
        drawn = ss.uniform_candidate_sampler(
            [[0]], 1, params["num_sampled"], True, params["range_max"], params["seed"], step=step
        )
        return drawn.sampled_candidates.tolist()

    assert draw(0) != draw(1)
    sampler = ss.Sampler("uniform", params["range_max"], params["num_sampled"], seed=params["seed"])
    run = [sampler.sample().sampled_candidates.tolist() for _ in range(6)]
    assert draw(5) == run[5]


@checks("SAMP-73")
def label_outside_the_range(case: Case) -> None:
    with pytest.raises(ValueError, match=r"= 7 is outside \[0, 3\)"):
        ss.uniform_candidate_sampler(case["inputs"]["labels"], 1, 2, True, 3)


@checks("SAMP-74")
def shapes(case: Case) -> None:
    drawn = ss.uniform_candidate_sampler(case["inputs"]["labels"], 2, 3, True, 4)
    assert [values.shape for values in drawn] == [(3,), (5, 2), (3,)]


@checks("SAMP-75")
def labels_avoided(case: Case) -> None:
    labels, sampler = case["inputs"]["labels"], ss.Sampler("uniform", 4, 3)
    for step in range(20):
        assert sampler.sample(labels, step, avoid=labels).sampled_candidates.tolist() == [0, 2, 3]


@checks("SAMP-76")
def avoiding_too_many_is_an_error(case: Case) -> None:
    labels = case["inputs"]["labels"]
    with pytest.raises(ValueError, match="6"):
        ss.Sampler("uniform", 7, 6).sample(labels, avoid=labels)


@checks("SAMP-78")
def frequencies_are_the_declared_probabilities(_: Case) -> None:
    """Chi-square over all 10,000 classes: its mean is their number less 1, its variance
    twice that, and 5 deviations are less likely than 1e-6."""
    num_draws, range_max = 2_000_000, 10_000
    sampler = ss.Sampler("log_uniform", range_max, num_draws, unique=False, seed=1)
    drawn = sampler.sample(range(range_max))
    p = probability("log_uniform", range_max, range(range_max)).astype(np.float64)
    seen = np.bincount(drawn.sampled_candidates, minlength=range_max)
    assert np.all(np.abs(seen[:11] / (num_draws * p[:11]) - 1) < 0.02)
    statistic = np.sum((seen - num_draws * p) ** 2 / (num_draws * p))
    freedom = range_max - 1
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)
