"""The candidate sampler functions, the `Sampler` class and `compute_accidental_hits`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss

LABELS = np.array([[1, 2], [0, 4], [3, 3]])
FLT_MIN = np.finfo(np.float32).min


def call(name: str, **options: Any) -> ss.SampledValues:
    """Any of the functions with its shortest arguments: 5 of 8 classes for LABELS."""
    arguments: dict[str, Any] = {"true_classes": LABELS, "num_true": 2, "num_sampled": 5, "unique": True, "seed": 1}
    if name != "all":
        arguments["range_max"] = 8
    if name == "fixed_unigram":
        arguments["unigrams"] = np.arange(1, 9)
    return getattr(ss, f"{name}_candidate_sampler")(**{**arguments, **options})


NAMES = ["uniform", "log_uniform", "learned_unigram", "fixed_unigram", "all"]


@pytest.mark.parametrize("name", NAMES)
def test_results_have_tensorflows_shapes_and_dtypes(name: str) -> None:
    values = call(name)
    assert [array.shape for array in values] == [(5,), (3, 2), (5,)]
    assert [array.dtype for array in values] == [np.int64, np.float32, np.float32]
    ids = values.sampled_candidates
    assert (np.diff(ids) > 0).all()
    assert ids.min() >= 0 and ids.max() < 8


@pytest.mark.parametrize("name", NAMES)
def test_vector_of_labels_is_one_column(name: str) -> None:
    assert call(name, true_classes=[1, 2, 3], num_true=1).true_expected_count.shape == (3, 1)


@pytest.mark.parametrize("name", NAMES)
def test_label_out_of_range_is_named_at_its_place(name: str) -> None:
    labels = [[1, 2], [0, 4], [3, 8]]
    bound = 5 if name == "all" else 8
    with pytest.raises(ss.SampledSoftmaxError, match=rf"true_classes\[2, 1\] = 8 is outside \[0, {bound}\)"):
        call(name, true_classes=labels)


@pytest.mark.parametrize("name", ["uniform", "log_uniform", "fixed_unigram"])
def test_seed_and_step_decide_a_draw(name: str) -> None:
    options: dict[str, Any] = {"range_max": 4000, "num_sampled": 50}
    if name == "fixed_unigram":
        options["unigrams"] = np.ones(4000)
    first, again, other = call(name, **options), call(name, **options), call(name, step=1, **options)
    np.testing.assert_array_equal(first.sampled_candidates, again.sampled_candidates)
    assert (first.sampled_candidates != other.sampled_candidates).any()


def test_expected_counts_of_a_draw_with_replacement_are_s_times_p() -> None:
    values = call("uniform", unique=False, num_sampled=16)
    np.testing.assert_allclose(values.true_expected_count, 2.0)
    np.testing.assert_allclose(values.sampled_expected_count, 2.0)
    values = call("log_uniform", unique=False, num_sampled=16)
    probability = np.log((LABELS + 2) / (LABELS + 1)) / np.log(9)
    np.testing.assert_allclose(values.true_expected_count, 16 * probability, rtol=1e-6)


def test_all_candidates_are_every_class_once_with_count_one() -> None:
    ids, true, sampled = ss.all_candidate_sampler(LABELS, 2, 5, True)
    np.testing.assert_array_equal(ids, np.arange(5))
    assert (true == 1).all() and (sampled == 1).all()


def test_fixed_unigrams_come_from_memory_or_a_file_alike(tmp_path: Path) -> None:
    weights = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
    file = tmp_path / "vocabulary.csv"
    file.write_text("".join(f"word{index},{weight}\n" for index, weight in enumerate(weights)), encoding="utf-8")
    from_memory = call("fixed_unigram", unigrams=weights, distortion=0.8, unique=False)
    from_file = call("fixed_unigram", unigrams=(), vocab_file=file, distortion=0.8, unique=False)
    for one, other in zip(from_memory, from_file, strict=True):
        np.testing.assert_array_equal(one, other)
    probability = np.power(weights, 0.8) / np.power(weights, 0.8).sum()
    np.testing.assert_allclose(from_memory.true_expected_count, 5 * probability[LABELS], rtol=1e-6)


def test_changed_vocabulary_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "vocabulary.csv"
    counts = []
    for weights in ("1\n1\n1\n1\n1\n1\n1\n1\n", "10\n1\n1\n1\n1\n1\n1\n1\n"):
        file.write_text(weights, encoding="utf-8")
        counts.append(call("fixed_unigram", unigrams=(), vocab_file=str(file), unique=False).true_expected_count[1, 0])
    np.testing.assert_allclose(counts, [5 / 8, 50 / 17], rtol=1e-6)


def test_changed_weights_are_another_distribution() -> None:
    weights = np.ones(8)
    before = call("fixed_unigram", unigrams=weights, unique=False).true_expected_count[1, 0]
    weights[0] = 10
    after = call("fixed_unigram", unigrams=weights, unique=False).true_expected_count[1, 0]
    np.testing.assert_allclose([before, after], [5 / 8, 50 / 17], rtol=1e-6)


def test_reserved_ids_are_not_drawn_and_are_an_error_as_labels() -> None:
    """TensorFlow returns an expected count of 0, whose logarithm makes a loss NaN."""
    options: dict[str, Any] = {"unigrams": np.ones(6), "num_reserved_ids": 2, "unique": False}
    values = call("fixed_unigram", **options, true_classes=LABELS + 2)
    np.testing.assert_array_equal(values.true_expected_count, np.full((3, 2), np.float32(5 / 6)))
    assert values.sampled_candidates.min() >= 2
    with pytest.raises(ss.SampledSoftmaxError, match=r"true_classes\[1, 0\] = 0: .* expected count is 0"):
        call("fixed_unigram", **options, true_classes=[[2, 3], [0, 4]])


@pytest.mark.parametrize("given", ["both", "neither"])
def test_fixed_unigrams_need_exactly_one_source(given: str, tmp_path: Path) -> None:
    file = tmp_path / "vocabulary.csv"
    file.write_text("1\n" * 8, encoding="utf-8")
    options = {"unigrams": np.ones(8), "vocab_file": file} if given == "both" else {"unigrams": ()}
    with pytest.raises(ValueError, match=f"exactly one of vocab_file and unigrams is needed, and {given}"):
        call("fixed_unigram", **options)


def test_learned_counts_grow_with_every_call_after_its_draw() -> None:
    options: dict[str, Any] = {"unique": False, "num_sampled": 16, "seed": 77}
    first = call("learned_unigram", **options).true_expected_count
    second = call("learned_unigram", step=1, **options).true_expected_count
    np.testing.assert_allclose(first, 16 / 8)
    counts = 1 + np.bincount(LABELS.ravel(), minlength=8)
    np.testing.assert_allclose(second, 16 * counts[LABELS] / counts.sum(), rtol=1e-6)


def test_learned_sampler_goes_on_from_restored_counts() -> None:
    sampler = ss.Sampler("learned_unigram", 8, 4, seed=5)
    np.testing.assert_array_equal(sampler.learned_counts, np.ones(8))
    for _ in range(3):
        sampler.sample(LABELS)
    saved, step = sampler.learned_counts, sampler.step
    np.testing.assert_array_equal(saved, 1 + 3 * np.bincount(LABELS.ravel(), minlength=8))
    wanted = sampler.sample(LABELS)
    resumed = ss.Sampler("learned_unigram", 8, 4, seed=5)
    resumed.learned_counts, resumed.step = saved, step
    for one, other in zip(wanted, resumed.sample(LABELS), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(resumed.learned_counts, sampler.learned_counts)


def test_only_a_learning_sampler_has_learned_counts() -> None:
    sampler = ss.Sampler("uniform", 8, 4)
    with pytest.raises(ValueError, match="only 'learned_unigram' has learned counts"):
        _ = sampler.learned_counts
    with pytest.raises(ValueError, match="only 'learned_unigram' has learned counts"):
        sampler.learned_counts = np.ones(8, int)
    with pytest.raises(ValueError, match=r"learned_counts has shape \(7,\); \(8,\) is needed"):
        ss.Sampler("learned_unigram", 8, 4).learned_counts = np.ones(7, int)


def test_avoided_ids_are_not_drawn() -> None:
    sampler = ss.Sampler("log_uniform", 8, 5, seed=2)
    for _ in range(20):
        ids = sampler.sample(avoid=[[0, 3], [3, 5]]).sampled_candidates
        np.testing.assert_array_equal(ids, [1, 2, 4, 6, 7])
    with pytest.raises(ss.SampledSoftmaxError):
        sampler.sample(avoid=[0, 1, 2, 3])


def test_sampler_without_labels_returns_no_true_counts() -> None:
    assert ss.Sampler("uniform", 8, 5).sample().true_expected_count.shape == (0, 1)


def test_exact_counts_of_a_unique_uniform_draw_are_s_over_c() -> None:
    values = ss.Sampler("uniform", 8, 5, counts="exact").sample(LABELS)
    np.testing.assert_allclose(values.true_expected_count, 5 / 8, rtol=1e-7)
    np.testing.assert_allclose(values.sampled_expected_count, 5 / 8, rtol=1e-7)


def test_rank_separates_workers_that_share_a_seed() -> None:
    draws = [ss.Sampler("uniform", 4000, 50, seed=1, rank=rank).sample().sampled_candidates for rank in (0, 1, 0)]
    np.testing.assert_array_equal(draws[0], draws[2])
    assert (draws[0] != draws[1]).any()


def test_sampler_without_a_seed_takes_one_from_the_system() -> None:
    one, other = ss.Sampler("uniform", 4000, 50, seed=None), ss.Sampler("uniform", 4000, 50, seed=None)
    assert one.seed != other.seed
    assert (one.sample().sampled_candidates != other.sample().sampled_candidates).any()


def test_accidental_hits_are_tensorflows_triples() -> None:
    indices, ids, weights = ss.compute_accidental_hits(LABELS, np.arange(5), 2)
    np.testing.assert_array_equal(indices, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(ids, [1, 2, 0, 4, 3, 3])
    np.testing.assert_array_equal(weights, np.full(6, FLT_MIN))
    assert [array.dtype for array in (indices, ids, weights)] == [np.int32, np.int64, np.float32]


def test_every_copy_of_a_sampled_class_is_an_accidental_hit() -> None:
    """TensorFlow reports the last copy alone, and the others stay in its softmax."""
    indices, ids, _ = ss.compute_accidental_hits([4, 7], [7, 4, 9, 4], 1)
    np.testing.assert_array_equal(indices, [0, 0, 1])
    np.testing.assert_array_equal(ids, [1, 3, 0])


@pytest.mark.parametrize("seed", range(5))
def test_accidental_hits_are_those_that_two_loops_find(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, sampled = rng.integers(0, 9, (6, 3)), rng.integers(0, 9, 11)
    hits = ss.compute_accidental_hits(true, sampled, 3)
    wanted = [
        (row, position) for row in range(6) for label in true[row] for position in np.flatnonzero(sampled == label)
    ]
    assert list(zip(hits.indices.tolist(), hits.ids.tolist(), strict=True)) == wanted


def test_no_rows_or_no_candidates_have_no_accidental_hits() -> None:
    for true, sampled in ((np.empty((0, 2), int), [1, 2]), (LABELS, np.empty(0, int))):
        assert [array.size for array in ss.compute_accidental_hits(true, sampled, 2)] == [0, 0, 0]


@pytest.mark.parametrize("name", ["uniform", "log_uniform"])
@pytest.mark.parametrize("unique", [True, False])
def test_a_philox_sampler_draws_by_seed_rank_and_step(name: str, unique: bool) -> None:
    def sampler(**options: Any) -> ss.Sampler:
        return ss.Sampler(name, 1000, 50, unique, generator="philox", **options)

    drawn = sampler(seed=3).sample([[5], [999]], step=7)
    ids = drawn.sampled_candidates
    assert np.all(np.diff(ids) >= int(unique)) and ids[0] >= 0 and ids[-1] < 1000
    np.testing.assert_array_equal(sampler(seed=3).sample([[5], [999]], step=7).sampled_candidates, ids)
    others = [sampler(seed=4).sample(step=7), sampler(seed=3, rank=1).sample(step=7), sampler(seed=3).sample(step=8)]
    others.append(ss.Sampler(name, 1000, 50, unique, seed=3).sample(step=7))
    assert all(not np.array_equal(other.sampled_candidates, ids) for other in others)
    theirs = ss.Sampler(name, 1000, 50, unique, seed=3).sample([[5], [999]], step=7)
    if not unique:
        np.testing.assert_array_equal(drawn.true_expected_count, theirs.true_expected_count)


def test_what_a_philox_sampler_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="generator = 'mt19937'"):
        ss.Sampler("uniform", 100, 5, generator="mt19937")
    with pytest.raises(ss.SampledSoftmaxError, match="SSL_GENERATOR_PHILOX"):
        ss.Sampler("learned_unigram", 100, 5, generator="philox")
    with pytest.raises(ss.SampledSoftmaxError, match="num_sampled = 99"):
        ss.Sampler("log_uniform", 100, 99, generator="philox")
    with pytest.raises(ss.SampledSoftmaxError, match="avoid"):
        ss.Sampler("uniform", 100, 5, generator="philox").sample(avoid=[3])
