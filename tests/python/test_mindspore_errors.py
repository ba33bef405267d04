"""`sampled_softmax.mindspore` and bad input; building it; where MindSpore is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapters import import_sampled_softmax_mindspore, without_compilers
from conftest import ROOT, run
from problems import make_problem

ms, ssm = import_sampled_softmax_mindspore()

PROBLEM = make_problem(1, num_rows=6)
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "bindings" / "python"), "GLOG_v": "3"}


@pytest.fixture(params=["PYNATIVE_MODE", "GRAPH_MODE"])
def mode(request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each of MindSpore's modes, standing in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    ms.set_context(mode=getattr(ms, request.param), device_target="CPU")
    yield request.param
    ms.set_context(mode=ms.PYNATIVE_MODE)


def arrays(**changes: Any) -> list[Any]:
    """Weights, biases, labels and logits as tensors, some of them changed."""
    named = {"weights": PROBLEM.weights, "biases": PROBLEM.biases, "labels": PROBLEM.labels, "logits": PROBLEM.inputs}
    return [ms.Tensor(value) for value in {**named, **changes}.values()]


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"weights": PROBLEM.weights[:49]}, ValueError, r"weights has shape \(49, 17\); \(50, 17\) is needed"),
        ({"biases": PROBLEM.biases[:3]}, ValueError, r"biases has shape \(3,\)"),
        ({"labels": PROBLEM.labels[:5]}, ValueError, r"labels has shape \(5, 1\)"),
        ({"labels": np.repeat(PROBLEM.labels, 2, 1)}, ValueError, r"labels has shape \(6, 2\)"),
        ({"labels": PROBLEM.labels.astype(np.float32)}, TypeError, "labels has dtype Float32"),
        ({"logits": PROBLEM.inputs[:, :5]}, ValueError, r"weights has shape \(50, 17\); \(50, 5\) is needed"),
        ({"logits": PROBLEM.inputs.astype(int)}, TypeError, "logits has dtype Int64"),
        ({"weights": PROBLEM.weights.astype(float)}, TypeError, "float64 is for all or none"),
    ],
    ids=["weights", "biases", "labels: rows", "labels: columns", "labels: dtype", "logits", "logits: dtype", "double"],
)
def test_what_shapes_and_dtypes_show(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ssm.SampledSoftmaxLoss(20, 50)(*arrays(**changes)).asnumpy()


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize(
    ("labels", "num_sampled", "message"),
    [
        (PROBLEM.labels + 50, 20, r"labels\[0\] = \d+ is outside \[0, 50\)"),
        (PROBLEM.labels - 50, 20, r"labels\[0\] = -\d+ is outside \[0, 50\)"),
        (np.arange(6).reshape(-1, 1), 45, "45"),
    ],
    ids=["too large", "negative", "too many excluded"],
)
def test_what_the_values_show_is_a_runtime_error(labels: np.ndarray, num_sampled: int, message: str) -> None:
    """And the process goes on: another cell computes as before."""
    with pytest.raises(RuntimeError, match=message):
        ssm.SampledSoftmaxLoss(num_sampled, 50)(*arrays(labels=labels)).asnumpy()
    assert np.isfinite(ssm.SampledSoftmaxLoss(num_sampled - 5, 50)(*arrays()).asnumpy()).all()


@pytest.mark.usefixtures("mode")
def test_second_derivative_is_refused() -> None:
    weights, biases, labels, inputs = arrays()
    loss = ssm.SampledSoftmaxLoss(20, 50, reduction="sum")

    def forward(inputs: Any) -> Any:
        return loss(weights, biases, labels, inputs)

    with pytest.raises(RuntimeError, match="second derivative of SampledSoftmaxLoss is not defined"):
        ms.grad(ms.grad(forward))(inputs).asnumpy()


VALUES = (np.zeros(4, int), np.ones((6, 1)), np.ones(4))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"num_true": 0}, ValueError),
        ({"num_true": 8}, ValueError),
        ({"num_sampled": 8}, ValueError),
        ({"seed": -1}, ValueError),
        ({"reduction": "invalid"}, ValueError),
        ({"remove_accidental_hits": 1}, TypeError),
        ({"sampled_values": (*VALUES, VALUES[0])}, ValueError),
        ({"sampled_values": np.zeros(3)}, TypeError),
        ({"sampled_values": (VALUES[0][:3], *VALUES[1:])}, ValueError),
        ({"sampled_values": (VALUES[0] * 1.0, *VALUES[1:])}, TypeError),
        ({"num_sampled": 4.0}, TypeError),
        ({"sampler": "zipf"}, ValueError),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_when_the_loss_is_made(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ssm.SampledSoftmaxLoss(**{"num_sampled": 4, "num_classes": 7, **arguments})


def test_migrating_is_one_import() -> None:
    """The deprecated class's constructor, argument by argument, then its call."""
    import inspect

    theirs = inspect.signature(ms.nn.SampledSoftmaxLoss.__init__)
    ours = inspect.signature(ssm.SampledSoftmaxLoss.__init__)
    for mine, parameter in zip(ours.parameters.values(), theirs.parameters.values(), strict=False):
        assert (mine.name, mine.default) == (parameter.name, parameter.default)
    for cell in (ms.nn.SampledSoftmaxLoss, ssm.SampledSoftmaxLoss):
        loss = cell(4, 50, 1, None, True, 0, "none")(*arrays())
        assert loss.shape == (6,)


def test_command_prints_the_path_of_what_it_made() -> None:
    path = Path(run([sys.executable, "-m", "sampled_softmax.mindspore", "build"], env=ENVIRONMENT).strip())
    assert path == ssm.build()
    assert path.name.startswith(f"mindspore-{ms.__version__}-")


def test_without_a_compiler_the_error_says_what_to_do(tmp_path: Path) -> None:
    environment = {
        **ENVIRONMENT,
        **without_compilers(tmp_path / "bin"),
        "SAMPLED_SOFTMAX_CACHE_DIR": str(tmp_path / "c"),
    }
    script = (
        "import sampled_softmax.mindspore as ssm\n"
        "try: ssm.SampledSoftmaxLoss(4, 7)\n"
        "except ssm.BuildError as error: print(error)\n"
    )
    message = run([sys.executable, "-c", script], env=environment, cwd=tmp_path)
    assert "no C++ compiler was found" in message
    assert "python -m sampled_softmax.mindspore build" in message


def test_missing_mindspore_is_an_import_error_that_says_what_to_install() -> None:
    script = "import sys; sys.modules['mindspore'] = None\nimport sampled_softmax.mindspore"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ImportError: sampled_softmax.mindspore needs mindspore: pip install mindspore" in done.stderr
