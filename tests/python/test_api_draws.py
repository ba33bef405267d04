"""Draws of the functions: seeds and steps, samplers by name and as objects, handles."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from problems import Problem, assert_close, make_problem
from sampled_softmax import _handle


def drawn(problem: Problem, **options: Any) -> np.ndarray:
    return ss.sampled_softmax_loss(*problem.arrays, **options)


def big() -> Problem:
    """So many classes that two draws are never the same."""
    return make_problem(num_classes=5000, num_sampled=64, dim=8)


@pytest.mark.parametrize("sampler", ["uniform", "log_uniform"])
def test_drawing_loss_is_the_loss_of_the_candidates_that_the_sampler_draws(sampler: str) -> None:
    problem = big()
    values = getattr(ss, f"{sampler}_candidate_sampler")(problem.labels, 1, 64, True, 5000, seed=9, step=3)
    loss = drawn(problem, sampler=sampler, seed=9, step=3)
    np.testing.assert_array_equal(loss, drawn(problem, sampled_values=values))
    problem.sampled_values = values
    assert_close(loss, problem.reference()["loss"])


def test_log_uniform_is_the_default() -> None:
    problem = big()
    np.testing.assert_array_equal(drawn(problem, seed=1), drawn(problem, seed=1, sampler="log_uniform"))


def test_seed_and_step_decide_a_draw_and_differ_from_any_other() -> None:
    problem = big()
    draws = [drawn(problem, seed=seed, step=step) for seed in (0, 1, 2**64 - 1) for step in (0, 1, 2**64 - 1)]
    np.testing.assert_array_equal(draws[4], drawn(problem, seed=1, step=1))
    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_every_call_without_a_seed_differs() -> None:
    problem = big()
    assert len({drawn(problem).tobytes() for _ in range(10)}) == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_child_does_not_repeat_its_parents_unseeded_draws() -> None:
    labels = np.zeros((1, 1), np.int64)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        ids = ss.uniform_candidate_sampler(labels, 1, 64, True, 5000).sampled_candidates
        os.write(write, ids.tobytes())
        os._exit(0)
    mine = ss.uniform_candidate_sampler(labels, 1, 64, True, 5000).sampled_candidates
    os.waitpid(child, 0)
    theirs = np.frombuffer(os.read(read, 64 * 8), np.int64)
    assert theirs.size == 64
    assert (theirs != mine).any()


def test_all_is_the_full_softmax_and_needs_no_seed() -> None:
    problem = make_problem(num_classes=30, num_sampled=30)
    loss = drawn(problem, sampler="all")
    logits = problem.inputs.astype(np.float64) @ problem.weights.T + problem.biases
    true = logits[np.arange(13), problem.labels[:, 0]]
    assert_close(loss, np.log(np.exp(logits).sum(axis=1)) - true)
    np.testing.assert_array_equal(loss, drawn(problem, sampler="all", step=4))


def test_sampler_object_draws_for_the_loss_and_counts_its_own_steps() -> None:
    problem = big()
    sampler = ss.Sampler("uniform", 5000, 64, seed=9)
    first, second = drawn(problem, sampler=sampler), drawn(problem, sampler=sampler)
    assert sampler.step == 2
    np.testing.assert_array_equal(first, drawn(problem, sampler="uniform", seed=9, step=0))
    np.testing.assert_array_equal(second, drawn(problem, sampler="uniform", seed=9, step=1))
    sampler.step = 0
    np.testing.assert_array_equal(first, drawn(problem, sampler=sampler))


def test_fixed_unigram_object_draws_for_the_loss() -> None:
    problem = big()
    weights = np.random.default_rng(0).uniform(0.1, 10, 5000)
    sampler = ss.Sampler("fixed_unigram", 5000, 64, seed=4, unigrams=weights)
    loss = drawn(problem, sampler=sampler)
    problem.sampled_values = ss.Sampler("fixed_unigram", 5000, 64, seed=4, unigrams=weights).sample(problem.labels)
    assert_close(loss, problem.reference()["loss"])


def test_learned_unigram_by_name_shares_its_counts_with_the_sampler_function() -> None:
    problem = make_problem(num_classes=40, num_sampled=5)
    seed = 20260101
    before = ss.learned_unigram_candidate_sampler(problem.labels, 1, 5, True, 40, seed=seed)
    loss = drawn(problem, sampler="learned_unigram", seed=seed, step=1)
    twin = ss.Sampler("learned_unigram", 40, 5, seed=seed)
    np.testing.assert_array_equal(twin.sample(problem.labels, step=0).sampled_candidates, before.sampled_candidates)
    problem.sampled_values = twin.sample(problem.labels, step=1)
    assert_close(loss, problem.reference()["loss"])


def test_ignored_rows_are_not_counted_by_a_learning_sampler() -> None:
    problem = make_problem(num_classes=40, num_sampled=5)
    problem.labels[3:] = -1
    sampler = ss.Sampler("learned_unigram", 40, 5)
    loss = drawn(problem, sampler=sampler, ignore_index=-1)
    assert (loss[3:] == 0).all()
    counted = np.ones(40, np.int64)
    np.add.at(counted, problem.labels[:3, 0], 1)
    np.testing.assert_array_equal(sampler.learned_counts, counted)


class WatchedLibrary:
    """The library, but for a note of the handles that come and go."""

    def __init__(self) -> None:
        self.created: list[int] = []
        self.destroyed: list[int] = []
        self._library = _handle.LIBRARY

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def ssl_create(self, config: Any, pointer: Any) -> int:
        status = self._library.ssl_create(config, pointer)
        self.created.append(pointer.value)
        return status

    def ssl_destroy(self, pointer: Any) -> int:
        self.destroyed.append(pointer.value)
        return self._library.ssl_destroy(pointer)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> WatchedLibrary:
    library = WatchedLibrary()
    monkeypatch.setattr(_handle, "LIBRARY", library)
    return library


def test_equal_configurations_share_a_handle(watched: WatchedLibrary) -> None:
    problem = make_problem(num_classes=51)
    for step in range(5):
        drawn(problem, seed=20260102, step=step)
    assert len(watched.created) == 1
    drawn(problem, seed=20260103)
    assert len(watched.created) == 2


def test_handles_are_not_kept_without_end(watched: WatchedLibrary) -> None:
    problem = make_problem(num_classes=52)
    wanted = drawn(problem, seed=0)
    for seed in range(3 * _handle.CACHE_CAPACITY):
        drawn(problem, seed=seed)
    assert len(_handle.cache) == _handle.CACHE_CAPACITY
    assert len(watched.created) - len(watched.destroyed) <= _handle.CACHE_CAPACITY
    np.testing.assert_array_equal(drawn(problem, seed=0), wanted)


def test_evicted_handle_is_destroyed_once_and_only_when_no_call_holds_it(watched: WatchedLibrary) -> None:
    cache = _handle._Cache(2)
    held = cache.get(_handle.Config(num_classes=10, num_sampled=1, num_threads=1))
    address = held.pointer.value
    for seed in (1, 2, 3):
        cache.get(_handle.Config(num_classes=10, num_sampled=1, num_threads=1, seed=seed))
    assert len(cache) == 2
    assert address not in watched.destroyed
    assert len(watched.destroyed) == 1
    del held
    assert watched.destroyed.count(address) == 1
