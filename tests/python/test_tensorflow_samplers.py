"""The candidate samplers of `sampled_softmax.tensorflow` draw what the NumPy binding draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from adapters import import_sampled_softmax_tensorflow, same_bits

tf, sst = import_sampled_softmax_tensorflow()

LABELS = np.array([[3, 4], [49, 0], [7, 7]])


def assert_same(ours: Any, numpy: ss.SampledValues) -> None:
    assert ours._fields == numpy._fields
    for actual, wanted in zip(ours, numpy, strict=True):
        assert same_bits(actual, wanted)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("name", ["uniform", "log_uniform"])
def test_ids_and_counts_are_the_numpy_bindings(name: str, unique: bool, compiled: bool) -> None:
    sampler = f"{name}_candidate_sampler"
    arguments = (LABELS, 2, 20, unique, 50, 11)
    ours = getattr(sst, sampler)
    call = tf.function(ours) if compiled else ours
    assert_same(call(*arguments, step=6), getattr(ss, sampler)(*arguments, step=6))


def test_learned_sampler_counts_the_labels_it_has_seen() -> None:
    for step in range(3):
        ours = sst.learned_unigram_candidate_sampler(LABELS, 2, 20, True, 50, seed=77, step=step)
        assert_same(ours, ss.learned_unigram_candidate_sampler(LABELS, 2, 20, True, 50, seed=77, step=step))


@pytest.mark.parametrize("by_file", [False, True])
def test_fixed_unigram_sampler_takes_weights_and_files(by_file: bool, tmp_path: Path) -> None:
    weights = np.arange(1, 49) ** 0.5
    source: dict[str, Any] = {"unigrams": weights}
    if by_file:
        (tmp_path / "vocabulary").write_text("".join(f"word,{weight!r}\n" for weight in weights.tolist()))
        source = {"vocab_file": str(tmp_path / "vocabulary")}
    arguments = {"distortion": 0.7, "num_reserved_ids": 2, "seed": 4, "step": 1, **source}
    labels = LABELS + 2 - 4 * (LABELS == 49)
    ours = sst.fixed_unigram_candidate_sampler(labels, 2, 10, True, 50, **arguments)
    assert_same(ours, ss.fixed_unigram_candidate_sampler(labels, 2, 10, True, 50, **arguments))


def test_all_candidates() -> None:
    assert_same(sst.all_candidate_sampler(LABELS, 2, 50, True), ss.all_candidate_sampler(LABELS, 2, 50, True))


def test_they_serve_tensorflows_own_loss_and_tensorflows_serve_ours() -> None:
    rng = np.random.default_rng(0)
    weights, biases, inputs = (rng.normal(size=shape).astype(np.float32) for shape in ((50, 8), 50, (3, 8)))
    shape = (2, 20, True, 50)
    for drawn in (
        sst.log_uniform_candidate_sampler(LABELS, *shape, seed=1),
        tf.random.log_uniform_candidate_sampler(LABELS, *shape, seed=1),
    ):
        arguments = (weights, biases, LABELS, inputs, 20, 50, 2, drawn)
        np.testing.assert_allclose(
            sst.sampled_softmax_loss(*arguments), tf.nn.sampled_softmax_loss(*arguments), rtol=1e-5
        )


def test_labels_out_of_range_are_named_as_the_caller_names_them() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"true_classes\[1, 0\] = 49 is outside \[0, 49\)"):
        sst.uniform_candidate_sampler(LABELS, 2, 20, True, 49, seed=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_true": 3}, ValueError, "true_classes has shape"),
        ({"true_classes": LABELS * 1.0}, TypeError, "true_classes has dtype float64"),
        ({"seed": -1}, ValueError, "seed = -1"),
        ({"num_sampled": 0}, ValueError, "num_sampled = 0"),
        ({"step": 3}, ValueError, "seed is None"),
        ({"seed": 1, "step": 0.5}, TypeError, "step has dtype float32"),
        ({"seed": 1, "step": [1, 2]}, ValueError, "step has shape"),
        ({"rank": -1}, ValueError, "rank = -1"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"true_classes": LABELS, "num_true": 2, "num_sampled": 5, "unique": True, "range_max": 50}
    with pytest.raises(error, match=message):
        sst.uniform_candidate_sampler(**{**good, **arguments})


def test_a_distortion_that_is_no_number_is_refused_though_a_handle_of_another_is_kept() -> None:
    def draw(distortion: float) -> Any:
        return sst.fixed_unigram_candidate_sampler(
            LABELS, 2, 5, True, 50, unigrams=np.arange(1.0, 51), seed=3, distortion=distortion
        )

    draw(0.75)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"distortion = NaN"):
        draw(float("nan"))


def test_file_that_is_not_there() -> None:
    with pytest.raises(tf.errors.NotFoundError, match="no-such-file"):
        sst.fixed_unigram_candidate_sampler(LABELS, 2, 5, True, 50, vocab_file="/no-such-file")
    with pytest.raises(ValueError, match="neither"):
        sst.fixed_unigram_candidate_sampler(LABELS, 2, 5, True, 50)
