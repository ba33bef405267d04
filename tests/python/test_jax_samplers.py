"""The candidate samplers in JAX draw what NumPy's draw, under jit, for any step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from jax_problems import RUN_ERRORS, equal, jax, jnp, ssj

C, S = 500, 64
LABELS = np.random.default_rng(0).integers(0, C, (11, 2))
UNIGRAMS = np.random.default_rng(1).uniform(0.1, 4, C)


def same(ours: Any, theirs: Any) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        equal(mine, other)


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("name", ["uniform", "log_uniform", "fixed_unigram"])
def test_a_draw_is_numpys(name: str, unique: bool) -> None:
    options = {"unigrams": UNIGRAMS, "distortion": 0.75} if name == "fixed_unigram" else {}
    ours, theirs = (getattr(module, f"{name}_candidate_sampler") for module in (ssj, ss))
    traces = []

    @jax.jit
    def jitted(labels: Any, step: Any) -> Any:
        traces.append(step)
        return ours(labels, 2, S, unique, C, seed=6, step=step, **options)

    for step in range(4):
        wanted = theirs(LABELS, 2, S, unique, C, seed=6, step=step, **options)
        same(jitted(LABELS, step), wanted)
        same(ours(LABELS, 2, S, unique, C, seed=6, step=step, **options), wanted)
    assert len(traces) == 1


def test_all_classes() -> None:
    same(ssj.all_candidate_sampler(LABELS, 2, C, True), ss.all_candidate_sampler(LABELS, 2, C, True))


def test_weights_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.csv"
    path.write_text("".join(f"item {k},{weight}\n" for k, weight in enumerate(UNIGRAMS)))
    options: dict[str, Any] = {"vocab_file": path, "seed": 2, "step": 1}
    same(
        ssj.fixed_unigram_candidate_sampler(LABELS, 2, S, True, C, **options),
        ss.fixed_unigram_candidate_sampler(LABELS, 2, S, True, C, **options),
    )


@pytest.mark.parametrize("wide", [False, True])
def test_a_learned_sampler_takes_and_returns_what_it_learned(wide: bool) -> None:
    with jax.enable_x64(wide):
        sampler = ss.Sampler("learned_unigram", C, S, seed=5)
        counts = None
        for step in range(3):
            labels = (LABELS + step) % 7
            ours = ssj.learned_unigram_candidate_sampler(labels, 2, S, True, C, 5, step=step, learned_counts=counts)
            same(ours[:3], sampler.sample(labels))
            counts = ours.learned_counts
            equal(counts, sampler.learned_counts)
            assert counts.dtype == (jnp.int64 if wide else jnp.int32)


def test_a_learned_sampler_is_carried_through_scan() -> None:
    def body(counts: Any, step: Any) -> Any:
        drawn = ssj.learned_unigram_candidate_sampler(LABELS, 2, S, True, C, 5, step=step, learned_counts=counts)
        return drawn.learned_counts, drawn.sampled_candidates

    _, ids = jax.lax.scan(body, jnp.ones(C, jnp.int32), jnp.arange(3))
    sampler = ss.Sampler("learned_unigram", C, S, seed=5)
    equal(ids, np.stack([sampler.sample(LABELS).sampled_candidates for _ in range(3)]))


def test_ids_have_64_bits_where_jax_has() -> None:
    assert ssj.uniform_candidate_sampler(LABELS, 2, S, True, C, 0).sampled_candidates.dtype == jnp.int32
    with jax.enable_x64(True):
        many = 2**40
        ours = ssj.uniform_candidate_sampler(LABELS, 2, S, True, many, 0)
        assert ours.sampled_candidates.dtype == jnp.int64 and int(ours.sampled_candidates.max()) > 2**33
        same(ours, ss.uniform_candidate_sampler(LABELS, 2, S, True, many, 0))


def test_steps_of_a_map_draw_one_by_one() -> None:
    mapped = jax.vmap(lambda step: ssj.uniform_candidate_sampler(LABELS, 2, S, True, C, 3, step=step))(jnp.arange(3))
    for step in range(3):
        wanted = ss.uniform_candidate_sampler(LABELS, 2, S, True, C, 3, step=step)
        same(jax.tree.map(lambda array, step=step: array[step], mapped), wanted)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"seed": None}, ValueError, "seed = None"),
        ({"seed": -1}, ValueError, "seed = -1 is less than 0"),
        ({"seed": 1.5}, TypeError, "seed = 1.5 is not an integer"),
        ({"step": -1}, ValueError, "step = -1 is less than 0"),
        ({"step": jnp.arange(2)}, ValueError, r"step has shape \(2,\); a scalar is needed"),
        ({"step": jnp.float32(1)}, TypeError, "step has dtype float32; integers are needed"),
        ({"num_sampled": C + 1}, ValueError, "num_sampled"),
        ({"num_sampled": 0}, ValueError, "num_sampled = 0 is less than 1"),
        ({"range_max": 2**31}, ValueError, "range_max = 2147483648 is greater than .* jax_enable_x64"),
        ({"num_true": 3}, ValueError, r"true_classes has shape \(11, 2\); num_true = 3 columns"),
        ({"true_classes": LABELS + 0.5}, TypeError, "true_classes has dtype float32; integers are needed"),
        ({"true_classes": None}, TypeError, "true_classes is None"),
        ({"true_classes": LABELS + 2**32}, ValueError, "true_classes has .* does not fit int32"),
        ({"true_classes": LABELS + C}, RUN_ERRORS, r"labels\[0, 0\] = .* is outside \[0, 500\)"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], error: Any, message: str) -> None:
    arguments = {
        "true_classes": LABELS,
        "num_true": 2,
        "num_sampled": S,
        "unique": True,
        "range_max": C,
        "seed": 0,
        "step": 0,
        **change,
    }
    with pytest.raises(error, match=message):
        jax.block_until_ready(ssj.uniform_candidate_sampler(**arguments))


def test_bad_learned_counts_are_named() -> None:
    with pytest.raises(ValueError, match=r"learned_counts has shape \(3,\); \(500,\) is needed"):
        ssj.learned_unigram_candidate_sampler(LABELS, 2, S, True, C, 0, learned_counts=np.ones(3, int))
    with pytest.raises(RUN_ERRORS, match=r"learned_counts\[4\] = 0"):
        counts = np.ones(C, int)
        counts[4] = 0
        jax.block_until_ready(ssj.learned_unigram_candidate_sampler(LABELS, 2, S, True, C, 0, learned_counts=counts))


def test_unigrams_cannot_be_traced() -> None:
    with pytest.raises(TypeError, match="unigrams is traced"):
        jax.jit(lambda w: ssj.fixed_unigram_candidate_sampler(LABELS, 2, S, True, C, unigrams=w, seed=0))(UNIGRAMS)


def test_unigrams_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="unigrams"):
        ssj.fixed_unigram_candidate_sampler(LABELS, 2, S, True, C, unigrams=UNIGRAMS[:7], seed=0)
    with pytest.raises(ValueError, match="exactly one of vocab_file and unigrams"):
        ssj.fixed_unigram_candidate_sampler(LABELS, 2, S, True, C, seed=0)
    with pytest.raises(OSError, match="nowhere"):
        ssj.fixed_unigram_candidate_sampler(LABELS, 2, S, True, C, vocab_file="/nowhere", seed=0)
