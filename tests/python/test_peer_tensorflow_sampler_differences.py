"""Where our candidate samplers differ from TensorFlow's on purpose, and why.

Each test holds both sides: what TensorFlow 2.21 does, so that a change there is
noticed, and what we do instead.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from peers import import_tensorflow


@pytest.fixture(scope="module")
def tf() -> ModuleType:
    return import_tensorflow()


def test_reserved_id_as_label_is_an_error(tf: ModuleType) -> None:
    """It is never drawn, so its expected count is 0, which TensorFlow's sampler returns and
    its loss makes NaN of. We say so where the label is first seen."""
    given = {"true_classes": np.array([[0]]), "num_true": 1, "num_sampled": 2, "unique": True}
    given |= {"range_max": 4, "unigrams": [1.0, 2.0, 5.0], "num_reserved_ids": 1}
    theirs = tf.random.fixed_unigram_candidate_sampler(**given)
    assert theirs.true_expected_count.numpy().tolist() == [[0.0]]
    with pytest.raises(ValueError, match="class 0 is never sampled"):
        ss.fixed_unigram_candidate_sampler(**given)


def test_negative_unigram_weight_is_an_error(tf: ModuleType) -> None:
    """TensorFlow goes on with a negative probability."""
    given = {"true_classes": np.array([[0]]), "num_true": 1, "num_sampled": 1, "unique": False}
    given |= {"range_max": 3, "unigrams": [-1.0, 2.0, 5.0]}
    theirs = tf.random.fixed_unigram_candidate_sampler(**given)
    np.testing.assert_allclose(theirs.true_expected_count, [[-1 / 6]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"unigrams\[0\] = -1"):
        ss.fixed_unigram_candidate_sampler(**given)


@pytest.mark.parametrize("unigrams", [[0.0, 0.0, 0.0], [np.nan, 1.0, 1.0]])
def test_unigram_weights_without_a_distribution_are_an_error(tf: ModuleType, unigrams: list[float]) -> None:
    """TensorFlow draws class after class with an expected count of NaN."""
    given = {"true_classes": np.array([[1]]), "num_true": 1, "num_sampled": 1, "unique": False}
    given |= {"range_max": 3, "unigrams": unigrams}
    theirs = tf.random.fixed_unigram_candidate_sampler(**given)
    assert np.isnan(theirs.true_expected_count.numpy()).all()
    with pytest.raises(ValueError, match="unigrams"):
        ss.fixed_unigram_candidate_sampler(**given)


def test_reserved_ids_leave_no_word_out_of_every_shard(tf: ModuleType) -> None:
    """One reserved id, five words, two shards: word k has id k + 1, so the even ids 0, 2, 4
    (weights 0, 2, 4) are shard 0 and the odd ids 1, 3, 5 (weights 1, 3, 5) shard 1.
    TensorFlow numbers the words from how many reserved ids its own shard kept: both
    shards get the words of weight 2 and 4, and three words are in none."""

    def counts(sampler: Callable[..., Any], shard: int, labels: list[int]) -> np.ndarray:
        drawn = sampler(
            np.array(labels).reshape(-1, 1),
            1,
            1,
            False,
            labels[-1] + 1,
            unigrams=[1.0, 2.0, 3.0, 4.0, 5.0],
            num_reserved_ids=1,
            num_shards=2,
            shard=shard,
        )
        return np.asarray(drawn.true_expected_count)[:, 0]

    theirs = tf.random.fixed_unigram_candidate_sampler
    np.testing.assert_allclose(counts(theirs, 0, [1, 2]), [2 / 6, 4 / 6], rtol=1e-6)
    np.testing.assert_allclose(counts(theirs, 1, [0, 1]), [2 / 6, 4 / 6], rtol=1e-6)
    ours = ss.fixed_unigram_candidate_sampler
    np.testing.assert_allclose(counts(ours, 0, [1, 2]), [2 / 6, 4 / 6], rtol=1e-6)
    np.testing.assert_allclose(counts(ours, 1, [0, 1, 2]), [1 / 9, 3 / 9, 5 / 9], rtol=1e-6)


def test_drawing_every_class_declares_certainty(tf: ModuleType) -> None:
    """S = C distinct classes are all of them, so each is expected once. TensorFlow puts the
    number of tries, which varies from draw to draw, into a formula for independent draws
    and declares less."""
    labels = np.array([[0]])
    theirs = tf.random.uniform_candidate_sampler(labels, 1, 20, True, 20)
    assert np.all(theirs.sampled_expected_count.numpy() < 1)
    ours = ss.uniform_candidate_sampler(labels, 1, 20, True, 20, seed=1)
    assert ours.sampled_candidates.tolist() == list(range(20))
    assert ours.sampled_expected_count.tolist() == [1.0] * 20
    assert ours.true_expected_count.tolist() == [[1.0]]


def test_uniform_draws_can_declare_their_inclusion_probability(tf: ModuleType) -> None:
    """S / C for distinct classes. TensorFlow's count follows the tries and so differs from
    draw to draw; it is our default, to be comparable, and counts="exact" the alternative."""
    labels = np.array([[0]])
    counts = set()
    for _ in range(20):
        theirs = tf.random.uniform_candidate_sampler(labels, 1, 30, True, 40)
        counts.add(float(theirs.true_expected_count[0, 0]))
    assert len(counts) > 1
    exact = ss.Sampler("uniform", 40, 30, counts="exact")
    for _ in range(20):
        drawn = exact.sample(labels)
        assert drawn.true_expected_count.tolist() == [[0.75]]
        assert np.all(drawn.sampled_expected_count == 0.75)


def test_drawing_two_million_classes_still_advances(tf: ModuleType) -> None:
    """TensorFlow moves its generator on by 2048 * S in 32 bits, which is 0 at S = 2^21:
    every call returns the same negatives."""
    num_sampled, labels = 2**21, np.array([[0]])

    @tf.function
    def their_draw() -> Any:
        sampler = tf.random.uniform_candidate_sampler
        return sampler(labels, 1, num_sampled, False, 2**30, seed=7).sampled_candidates

    assert np.array_equal(their_draw().numpy(), their_draw().numpy())

    def our_draw(step: int) -> np.ndarray:
        sampler = ss.uniform_candidate_sampler
        drawn = sampler(labels, 1, num_sampled, False, 2**30, seed=7, step=step)
        return drawn.sampled_candidates

    assert np.mean(our_draw(0) == our_draw(1)) < 0.01


def test_drawn_classes_ascend(tf: ModuleType) -> None:
    """TensorFlow returns them in the order of the draw. Sorted, a gather walks through
    memory, a label finds its hits by bisection, and the loss is the same."""
    labels = np.array([[0]])
    theirs = tf.random.uniform_candidate_sampler(labels, 1, 200, True, 1000, seed=1)
    assert np.any(np.diff(theirs.sampled_candidates.numpy()) < 0)
    ours = ss.uniform_candidate_sampler(labels, 1, 200, True, 1000, seed=1)
    assert np.all(np.diff(ours.sampled_candidates) > 0)


def test_negative_seed_is_an_error(tf: ModuleType) -> None:
    """As MindSpore has it; TensorFlow takes any int."""
    labels = np.array([[0]])
    assert tf.random.uniform_candidate_sampler(labels, 1, 2, True, 3, seed=-1)
    with pytest.raises(ValueError, match="seed"):
        ss.uniform_candidate_sampler(labels, 1, 2, True, 3, seed=-1)
