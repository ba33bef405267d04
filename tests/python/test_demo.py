"""The demo's own parts, on a corpus made here: what it reads, its gradients, its results."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tokenize
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

# Not examples/ itself: it has folders called as the frameworks are, which would hide them.
sys.path.insert(0, str(ROOT))

from examples.language_model import full_softmax, report, session, threads, tokens, train
from examples.language_model.model import LanguageModel, RowGradient, Shape, sum_rows
from examples.language_model.optimizer import Adagrad
from examples.language_model.sampled_output import SAMPLERS, SampledOutput

NAMES = ["alpha", "beta", "gamma", "delta", "omega"]


def write_corpus(folder: Path, num_files: int = 12) -> Path:
    """Small files of regular code, with one name in each that no other has."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_files):
        lines = [f"only_in_{number} = 'text'  # a comment"]
        for i in range(40):
            name, other = NAMES[(number + i) % 5], NAMES[(number + 2 * i) % 5]
            lines += [f"def {name}({other}):", f"    return {other}.{name}({i % 3}) + [{name}]"]
        (folder / f"module_{number}.py").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_corpus(tmp_path / "sources")


@pytest.fixture
def corpus(folder):
    return tokens.read_corpus(folder)


# Reading ------------------------------------------------------------------------------


def visible_tokens(path: Path) -> list[str]:
    """An independent reading: what of a file's tokens is not white space."""
    items = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [item.string for item in items if item.string.strip()]


def test_decoding_gives_back_the_text_but_for_rare_tokens(folder, corpus):
    paths = sorted(folder.glob("*.py"))
    kept_out = tokens.held_out_files([path.name for path in paths])
    for ids, wanted in ((corpus.train, False), (corpus.held_out, True)):
        texts = [text for i, path in enumerate(paths) if (i in kept_out) == wanted for text in visible_tokens(path)]
        expected = [tokens.UNKNOWN if text.startswith("only_in_") else text for text in texts]
        assert corpus.decode(ids) == expected


def test_classes_are_those_seen_three_times_most_frequent_first():
    files = [["b", "a", "a", "c"], ["a", "b", "b", "d", "a"], ["c", "e"]]
    # a 4, <unk> 4 (c, c, d, e), b 3
    assert tokens.vocabulary(files) == [tokens.UNKNOWN, "a", "b"]


def test_no_file_is_both_trained_on_and_held_out(folder, corpus):
    assert corpus.num_files == 12
    assert corpus.num_tokens == sum(len(visible_tokens(path)) for path in folder.glob("*.py"))
    one_file = len(visible_tokens(folder / "module_0.py"))
    assert 0 < len(corpus.held_out) <= 2 * one_file


def test_a_file_that_is_not_python_is_left_out_and_counted(folder):
    (folder / "broken.py").write_text("def (:\n  '''never closed\n")
    corpus = tokens.read_corpus(folder)
    assert (corpus.num_files, corpus.num_skipped) == (12, 1)


def test_a_pool_of_processes_reads_the_same_tokens(folder, monkeypatch):
    paths = tokens.source_files(folder)
    alone = tokens.tokenize_files(paths)
    monkeypatch.setattr(tokens, "_FILES_WORTH_A_POOL", 1)
    assert tokens.tokenize_files(paths) == alone


def test_the_cache_serves_until_a_file_changes(folder, tmp_path, monkeypatch):
    first = tokens.load_corpus(folder, tmp_path / "cache")
    reads = []
    monkeypatch.setattr(tokens, "read_corpus", lambda *_, read=tokens.read_corpus: reads.append(folder) or read(folder))
    again = tokens.load_corpus(folder, tmp_path / "cache")
    assert not reads
    assert again.classes == first.classes
    np.testing.assert_array_equal(again.train, first.train)
    np.testing.assert_array_equal(again.held_out, first.held_out)

    (folder / "module_0.py").write_text("changed = 1\n")
    changed = tokens.load_corpus(folder, tmp_path / "cache")
    assert reads and changed.num_tokens < first.num_tokens


# Threads ------------------------------------------------------------------------------


def test_the_number_of_threads_reaches_blas_and_the_chunks():
    def blas_threads():
        return {info["num_threads"] for info in threads._controller.info() if info["user_api"] == "blas"}

    try:
        for count in (1, 2):
            threads.use(count)
            assert blas_threads() <= {count}
            meeting = threading.Barrier(count)
            inside = threads.run_in_parallel(
                lambda _, m=meeting: m.wait(10) >= 0 and blas_threads() <= {1}, range(count)
            )
            assert inside == [True] * count
            assert blas_threads() <= {count}
    finally:
        threads.use(threads.num_cores())


# Gradients ----------------------------------------------------------------------------


def small_model(dtype=np.float64):
    """A model of 23 classes with a batch of 9 rows in which labels and tokens repeat."""
    random = np.random.default_rng(7)
    shape = Shape(num_classes=23, context=3, embedding_dim=4, hidden_dim=6, dim=5)
    model = LanguageModel(shape, random.integers(1, 50, 23), seed=1, dtype=dtype)
    # Larger than at the start of training, so that no gradient is nearly zero.
    model.parameters["weights"] *= 5
    model.parameters["embeddings"] *= 3
    return model, random.integers(0, 12, (9, 3)), random.integers(0, 8, 9)


def make_run(model, value_and_grad, batches=None):
    return train.Run("run", model, value_and_grad, 0.1, batches)


def dense(gradient, like):
    """A gradient of a table as an array of the table's shape."""
    if not isinstance(gradient, RowGradient):
        return gradient
    if gradient.indices is None:
        return gradient.values
    whole = np.zeros_like(like)
    whole[gradient.indices] = gradient.values
    return whole


def test_gradient_of_every_parameter_equals_central_differences(monkeypatch):
    monkeypatch.setattr(full_softmax, "CHUNK", 7)
    model, contexts, labels = small_model()
    _, gradients = make_run(model, full_softmax.FullSoftmax().value_and_grad).gradients(contexts, labels)
    run = make_run(model, full_softmax.FullSoftmax().value_and_grad)
    assert gradients.keys() == model.parameters.keys()

    step = 1e-5
    for name, parameter in model.parameters.items():
        numeric = np.empty_like(parameter)
        for place in np.ndindex(parameter.shape):
            value = parameter[place]
            losses = []
            for moved in (value + step, value - step):
                parameter[place] = moved
                losses.append(run.gradients(contexts, labels)[0])
            parameter[place] = value
            numeric[place] = (losses[0] - losses[1]) / (2 * step)
        np.testing.assert_allclose(
            dense(gradients[name], parameter), numeric, rtol=1e-6, atol=1e-9, err_msg=f"of {name}"
        )


@pytest.mark.parametrize("chunk", [7, 23, 100])
def test_full_softmax_by_chunks_equals_the_formula(chunk, monkeypatch):
    monkeypatch.setattr(full_softmax, "CHUNK", chunk)
    model, contexts, labels = small_model()
    weights, biases = model.parameters["weights"], model.parameters["biases"]
    inputs, _ = model.forward(contexts)
    # Logits near +-1000: no exponential may overflow.
    inputs *= 300
    logits = inputs @ weights.T + biases
    top = logits.max(axis=1, keepdims=True)
    log_sum_exp = (top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True)))[:, 0]
    losses = log_sum_exp - logits[np.arange(9), labels]
    loss, _ = full_softmax.FullSoftmax().value_and_grad(weights, biases, labels, inputs)
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-13)
    np.testing.assert_allclose(
        full_softmax.cross_entropy(weights, biases, labels, inputs), losses, rtol=1e-12, atol=1e-9
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-5)])
def test_full_softmax_equals_the_library_sampling_every_class(dtype, tolerance):
    model, contexts, labels = small_model(dtype)
    counts = np.ones(23)
    full = make_run(model, full_softmax.FullSoftmax().value_and_grad).gradients(contexts, labels)
    output = SampledOutput("all", 23, counts, seed=0)
    sampled = make_run(model, output.value_and_grad).gradients(contexts, labels)
    np.testing.assert_allclose(sampled[0], full[0], rtol=tolerance)
    for name, parameter in model.parameters.items():
        a, b = dense(sampled[1][name], parameter), dense(full[1][name], parameter)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max(), err_msg=name)


def test_rows_of_one_index_are_added():
    indices, values = np.array([5, 2, 5, 9, 2, 5]), np.arange(12.0).reshape(6, 2)
    summed = sum_rows(indices, values)
    assert summed.indices.tolist() == [2, 5, 9]
    np.testing.assert_array_equal(summed.values, [values[[1, 4]].sum(0), values[[0, 2, 5]].sum(0), values[3]])


def test_adagrad_leaves_rows_without_a_gradient_alone_and_steps_the_others_alike():
    random = np.random.default_rng(3)
    table, values = random.standard_normal((8, 3)), random.standard_normal((2, 3))
    rows = np.array([1, 6])
    sparse, whole = {"table": table.copy()}, {"table": table.copy()}
    by_rows, by_all = Adagrad(sparse, 0.1), Adagrad(whole, 0.1)
    padded = np.zeros_like(table)
    padded[rows] = values
    for _ in range(3):
        by_rows.step({"table": RowGradient(rows, values)})
        by_all.step({"table": RowGradient(None, padded)})
    np.testing.assert_allclose(sparse["table"], whole["table"], rtol=1e-15)
    others = np.setdiff1d(np.arange(8), rows)
    np.testing.assert_array_equal(sparse["table"][others], table[others])
    assert (sparse["table"][rows] != table[rows]).all()


# Training -----------------------------------------------------------------------------


def options(folder, out, **changed):
    made = {
        "data": folder,
        "sampler": list(SAMPLERS),
        "seconds": 1.0,
        "sampled": None,
        "batch": 32,
        "dim": 16,
        "context": 4,
        "learning_rate": 0.1,
        "full_learning_rate": 0.1,
        "held_out": 200,
        "no_full": False,
        "threads": 2,
        "seed": 0,
        "out": out,
    }
    return session.Options(**{**made, **changed})


def test_perplexity_falls_with_every_sampler_and_with_the_full_softmax(folder, corpus, tmp_path):
    chosen = options(folder, tmp_path)
    num_sampled = session.check_sizes(corpus, chosen)
    sampled, full = session.make_runs(corpus, chosen, num_sampled)
    held_out = train.HeldOut(corpus.held_out, chosen.context, chosen.held_out)
    assert [run.name for run in sampled] == [f"sampled, {name}" for name in SAMPLERS]
    for run in [*sampled, *full]:
        before = run.evaluate(held_out).perplexity
        for _ in range(150):
            run.step()
        after = run.evaluate(held_out).perplexity
        assert after < before / 2, run.name


def test_runs_start_alike_and_see_the_same_batches(folder, corpus, tmp_path):
    sampled, full = session.make_runs(corpus, options(folder, tmp_path), 2)
    first, last = sampled[0], full[0]
    for name, parameter in first.model.parameters.items():
        np.testing.assert_array_equal(parameter, last.model.parameters[name])
    for _ in range(200):  # more than once through the text
        for ours, theirs in zip(first._batches.next(), last._batches.next(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_label_is_the_token_after_its_context():
    contexts, labels = train.Batches(np.arange(50), context=3, batch_size=20, seed=0).next()
    np.testing.assert_array_equal(contexts, labels[:, None] + [-3, -2, -1])
    assert len(set(labels)) == 20


def test_the_lead_is_read_off_straight_lines_in_log_perplexity():
    def points(*pairs):
        return [train.Point(seconds, 1, 1, perplexity) for seconds, perplexity in pairs]

    # From 400 to 100 between 10 and 20 s: 200 is half way.
    fast = points((0, 300), (10, 400), (20, 100), (40, 25))
    assert report.seconds_to_reach(fast, 200) == pytest.approx(15)
    assert report.seconds_to_reach(fast, 25) == pytest.approx(40)
    assert report.seconds_to_reach(fast, 24) is None


# The command --------------------------------------------------------------------------


def start(arguments, **pipes):
    paths = [str(ROOT / "bindings" / "python"), str(ROOT)]
    return subprocess.Popen(
        [sys.executable, "-m", "examples.language_model", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **pipes,
    )


def check_results(out: Path, output: str) -> dict:
    """The table, the picture and the numbers are there, and agree."""
    results = json.loads((out / "results.json").read_text())
    assert (out / "perplexity.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    table = output.partition("----")[2].splitlines()
    for name, points in results["runs"].items():
        line = next(line for line in table if line.startswith(name))
        assert f"{points[-1]['perplexity']:,.1f}" in line
        assert f"{points[-1]['steps']:,}" in line
    return results


def test_a_session_leaves_a_table_a_picture_and_numbers(folder, tmp_path):
    out = tmp_path / "results"
    samplers = ["uniform", "log-uniform", "unigram"]
    demo = start(["--data", folder, "--seconds", 0.6, "--out", out, "--sampler", *samplers, "--batch", 32])
    output, progress = demo.communicate(timeout=120)
    assert demo.returncode == 0, progress
    results = check_results(out, output)
    assert list(results["runs"]) == [*(f"sampled, {name}" for name in samplers), "full softmax"]
    for points in results["runs"].values():
        assert points[0]["seconds"] == 0
        assert points[-1]["seconds"] >= 0.6
        assert points[-1]["steps"] > 0
    assert not {"\r", "\x1b"} & set(output + progress), "control characters in a pipe"


def test_ctrl_c_leaves_a_table_a_picture_and_numbers(folder, tmp_path):
    out = tmp_path / "results"
    demo = start(["--data", folder, "--seconds", 600, "--out", out])
    lines = []
    while not lines or not lines[-1].startswith("sampled") or "  0.0 s" in lines[-1]:
        lines.append(demo.stderr.readline())
        assert lines[-1], "".join(lines)
    demo.send_signal(signal.SIGINT)
    asked = time.monotonic()
    output, progress = demo.communicate(timeout=60)
    assert time.monotonic() - asked < 30
    assert demo.returncode == 130, "".join(lines) + progress
    assert "Traceback" not in progress
    results = check_results(out, output)
    assert results["runs"]["sampled, unigram"][-1]["steps"] > 0
    assert "interrupted" in output


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such folder: {}"),
        (lambda folder: folder.mkdir(), "no Python sources (*.py) in {}"),
        (lambda folder: write_corpus(folder, 1), "1 of 1 files in {} are valid Python, but at least 2 are needed"),
    ],
    ids=["missing", "empty", "one-file"],
)
def test_a_folder_that_cannot_serve_is_named_in_the_error(make, message, tmp_path):
    folder = tmp_path / "given"
    make(folder)
    demo = start(["--data", folder, "--out", tmp_path / "results"])
    _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert message.format(folder) in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "results" / "perplexity.png").exists()


def test_more_sampled_than_classes_is_refused_with_both_numbers(folder, corpus, tmp_path):
    with pytest.raises(tokens.CorpusError, match=f"has {corpus.num_classes} classes, fewer than --sampled 5,000"):
        session.check_sizes(corpus, options(folder, tmp_path, sampled=5000))


def test_a_text_shorter_than_the_context_is_refused_with_both_numbers(folder, corpus, tmp_path):
    short = f"{len(corpus.held_out)} held-out tokens, but with --context 5000 at least 5001"
    with pytest.raises(tokens.CorpusError, match=short):
        session.check_sizes(corpus, options(folder, tmp_path, context=5000))
