"""Bad input: which exception, and that it names the argument and the numbers."""

from __future__ import annotations

import importlib
import pickle
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from problems import make_problem
from sampled_softmax import _abi, _errors

F32 = np.float32


def arguments(**changes: Any) -> dict[str, Any]:
    """Good arguments of `value_and_grad`, C = 50, d = 17, N = 13, S = 20, but for changes."""
    problem = make_problem()
    names = ("weights", "biases", "labels", "inputs", "num_sampled", "num_classes", "num_true")
    return {**dict(zip(names, problem.arrays, strict=True)), "seed": 1, **changes}


VALUES = make_problem().sampled_values
PROBLEM = make_problem()

# Found by the package before the library is called.
REFUSED_BY_PYTHON: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"weights": np.ones((49, 17), F32)}, ValueError, "weights has shape (49, 17); (50, 17) is needed"),
    ({"weights": np.ones((50, 16), F32)}, ValueError, "weights has shape (50, 16); (50, 17) is needed"),
    ({"weights": np.ones(50, F32)}, ValueError, "weights has shape (50,); a matrix is needed"),
    ({"weights": np.ones((50, 17), int)}, TypeError, "weights has dtype int64; float32, float16, bfloat16"),
    ({"weights": np.ones((50, 17))}, TypeError, "inputs is float32, weights is float64, biases is float32"),
    ({"biases": np.ones(50)}, TypeError, "inputs is float32, weights is float32, biases is float64"),
    ({"inputs": np.ones((13, 17))}, TypeError, "inputs is float64, weights is float32"),
    ({"inputs": np.ones((13, 17), complex)}, TypeError, "inputs has dtype complex128"),
    ({"inputs": np.ones((13, 0), F32)}, ValueError, "inputs has shape (13, 0); rows need at least one element"),
    ({"biases": np.ones(49, F32)}, ValueError, "biases has shape (49,); (50,) is needed"),
    ({"labels": np.ones((13, 2), int)}, ValueError, "labels has shape (13, 2); num_true = 1 columns are needed"),
    ({"labels": np.ones((12, 1), int)}, ValueError, "labels has 12 rows, but inputs has 13"),
    ({"labels": np.ones((13, 1))}, TypeError, "labels has dtype float64; integers are needed"),
    ({"labels": np.ones((13, 1), bool)}, TypeError, "labels has dtype bool; integers are needed"),
    ({"labels": np.full((13, 1), 2**63, "u8")}, ValueError, "labels[0, 0] = 9223372036854775808 does not fit int64"),
    ({"num_sampled": 0}, ValueError, "num_sampled = 0 is less than 1"),
    ({"num_sampled": 2.0}, TypeError, "num_sampled = 2.0 is not an integer"),
    ({"num_classes": 0}, ValueError, "num_classes = 0 is less than 1"),
    ({"num_true": 0}, ValueError, "num_true = 0 is less than 1"),
    ({"seed": -1}, ValueError, "seed = -1 is less than 0"),
    ({"seed": 2**64}, ValueError, "seed = 18446744073709551616 is greater than 18446744073709551615"),
    ({"step": -1}, ValueError, "step = -1 is less than 0"),
    ({"seed": None, "step": 3}, ValueError, "step = 3: a step picks a draw of a seed, and seed is None"),
    ({"reduction": "average"}, ValueError, "reduction = 'average' is none of 'none', 'mean', 'sum'"),
    ({"sampler": "zipf"}, ValueError, "sampler = 'zipf' is none of 'uniform', 'log_uniform'"),
    ({"sampler": "fixed_unigram"}, ValueError, "pass Sampler('fixed_unigram', ...)"),
    ({"sampler": ss.Sampler("uniform", 50, 19), "seed": None}, ValueError, "the sampler draws 19 of 50 classes"),
    ({"sampler": ss.Sampler("uniform", 50, 20)}, ValueError, "a Sampler brings its own seed"),
    ({"device": "tpu"}, ValueError, "device = 'tpu' is none of 'auto', 'cpu', 'cuda', 'cuda:<number>'"),
    ({"num_threads": -1}, ValueError, "num_threads = -1 is less than 0"),
    ({"sampled_values": np.ones(3)}, TypeError, "sampled_values is a ndarray; a list or tuple of three arrays"),
    ({"sampled_values": VALUES[:2]}, ValueError, "sampled_values has 2 elements"),
    ({"sampled_values": (VALUES[0][:19], *VALUES[1:])}, ValueError, "sampled_candidates has shape (19,)"),
    ({"sampled_values": (VALUES[0], VALUES[1][:9], VALUES[2])}, ValueError, "true_expected_count has shape (9, 1)"),
    ({"sampled_values": (*VALUES[:2], VALUES[2][:9])}, ValueError, "sampled_expected_count has shape (9,)"),
    ({"sampled_values": (VALUES[0] * 1.0, *VALUES[1:])}, TypeError, "sampled_candidates has dtype float64"),
    ({"sample_weights": np.ones(12)}, ValueError, "sample_weights has shape (12,); (13,) is needed"),
    ({"sample_weights": ["a"] * 13}, TypeError, "sample_weights has dtype <U1; real numbers are needed"),
    ({"grad_output": np.ones(12)}, ValueError, "grad_output has shape (12,); (13,) is needed"),
    ({"grad_output": np.ones(13), "reduction": "sum"}, ValueError, "grad_output has shape (13,); () is needed"),
]


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED_BY_PYTHON, ids=lambda value: str(value)[:60])
def test_what_numpy_knows_is_refused_before_the_call(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        ss.value_and_grad(**arguments(**changes))
    assert not isinstance(caught.value, ss.SampledSoftmaxError)


def changed(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


# Found by the library, with its status.
REFUSED_BY_THE_LIBRARY: list[tuple[dict[str, Any], int, str]] = [
    ({"labels": changed(PROBLEM.labels, (3, 0), 50)}, _abi.SSL_STATUS_LABEL_RANGE, "labels[3] = 50 is outside [0, 50)"),
    ({"labels": changed(PROBLEM.labels, (3, 0), -1)}, _abi.SSL_STATUS_LABEL_RANGE, "labels[3] = -1 is outside [0, 50)"),
    (
        {"labels": np.full((13, 1), 3_000_000_000, np.uint32)},
        _abi.SSL_STATUS_LABEL_RANGE,
        "labels[0] = 3000000000 is outside [0, 50)",
    ),
    (
        {"sampled_values": (changed(VALUES[0], 7, 50), *VALUES[1:])},
        _abi.SSL_STATUS_LABEL_RANGE,
        "ids[7] = 50 is outside [0, 50)",
    ),
    (
        {"sampled_values": (*VALUES[:2], changed(VALUES[2], 7, 0))},
        _abi.SSL_STATUS_EXPECTED_COUNT,
        "sampled_expected_count[7]",
    ),
    (
        {"sampled_values": (VALUES[0], changed(VALUES[1], (7, 0), np.nan), VALUES[2])},
        _abi.SSL_STATUS_EXPECTED_COUNT,
        "true_expected_count[7]",
    ),
    ({"num_sampled": 51}, 1000, "51"),
    ({"probability_floor": -1e-3}, 1000, "probability_floor"),
    ({"probability_floor": float("nan")}, 1000, "probability_floor"),
    ({"sampler": "all"}, 1000, "20"),
]


@pytest.mark.parametrize(("changes", "status", "message"), REFUSED_BY_THE_LIBRARY, ids=lambda value: str(value)[:60])
def test_what_the_library_refuses_carries_its_status_and_words(
    changes: dict[str, Any], status: int, message: str
) -> None:
    with pytest.raises(ss.SampledSoftmaxError) as caught:
        ss.value_and_grad(**arguments(**changes))
    error = caught.value
    assert isinstance(error, ValueError)
    # 1000 stands for the category: which of its statuses is the library's affair.
    assert error.status == status or (status == 1000 and error.status // 1000 == 1)
    assert message in error.message
    assert message in str(error)
    assert str(error.status) in str(error)


def test_label_of_a_reserved_id_is_an_error_and_not_nan() -> None:
    sampler = ss.Sampler("fixed_unigram", 50, 20, unigrams=np.ones(45), num_reserved_ids=5)
    with pytest.raises(ss.SampledSoftmaxError, match=r"labels\[4\] = 2: .* expected count is 0") as caught:
        ss.sampled_softmax_loss(
            *changed_label(PROBLEM.arrays, 4, 2), sampler=sampler, ignore_index=None, reduction="sum"
        )
    assert caught.value.status == _abi.SSL_STATUS_EXPECTED_COUNT


def changed_label(arrays: tuple[Any, ...], row: int, label: int) -> tuple[Any, ...]:
    labels = np.full_like(arrays[2], 49)
    labels[row] = label
    return (*arrays[:2], labels, *arrays[3:])


def test_missing_vocabulary_file_is_an_os_error_that_names_it(tmp_path: Any) -> None:
    missing = tmp_path / "nothing.csv"
    with pytest.raises(OSError, match=re.escape(str(missing))) as caught:
        ss.fixed_unigram_candidate_sampler([[0]], 1, 1, True, 3, vocab_file=missing)
    assert isinstance(caught.value, ss.SampledSoftmaxError)
    assert caught.value.status == _abi.SSL_STATUS_FILE


@pytest.mark.parametrize(
    "options",
    [{"unigrams": [-1, 2, 5]}, {"unigrams": [1, 2]}, {"unigrams": [0, 0, 0]}, {"unigrams": [1, np.inf, 1]}],
    ids=str,
)
def test_useless_unigrams_are_a_value_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ss.fixed_unigram_candidate_sampler([[0]], 1, 1, True, 3, **options)


def test_unigram_options_are_for_the_fixed_unigram_sampler_alone() -> None:
    with pytest.raises(ValueError, match="only 'fixed_unigram' takes unigrams"):
        ss.Sampler("uniform", 3, 1, unigrams=[1, 2, 3])


def test_cuda_says_why_not() -> None:
    with pytest.raises(ss.SampledSoftmaxError) as caught:
        ss.sampled_softmax_loss(**{**arguments(), "device": "cuda"})
    assert caught.value.status // 1000 == 2
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.message


@pytest.fixture
def device_of_the_environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    monkeypatch.setenv("SAMPLED_SOFTMAX_DEVICE", request.param)
    yield


@pytest.mark.parametrize("device_of_the_environment", ["cuda", "tpu"], indirect=True)
@pytest.mark.usefixtures("device_of_the_environment")
def test_device_of_the_environment_is_the_default_and_no_more() -> None:
    with pytest.raises((ss.SampledSoftmaxError, ValueError), match=r"CUDA|SAMPLED_SOFTMAX_DEVICE = 'tpu'"):
        ss.sampled_softmax_loss(**arguments())
    assert np.isfinite(ss.sampled_softmax_loss(**arguments(), device="cpu")).all()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (_abi.SSL_STATUS_INVALID_VALUE, ValueError),
        (_abi.SSL_STATUS_WORKSPACE, ValueError),
        (_abi.SSL_STATUS_DTYPE, TypeError),
        (_abi.SSL_STATUS_NO_BACKEND, RuntimeError),
        (_abi.SSL_STATUS_HOST_MEMORY, MemoryError),
        (_abi.SSL_STATUS_DEVICE_MEMORY, MemoryError),
        (_abi.SSL_STATUS_FILE, OSError),
        (_abi.SSL_STATUS_LAUNCH, RuntimeError),
        (_abi.SSL_STATUS_PANIC, RuntimeError),
        (1999, ValueError),
        (7777, RuntimeError),
    ],
)
def test_status_is_the_built_in_exception_that_fits(status: int, kind: type[Exception]) -> None:
    error = _errors.error_of(status)
    assert isinstance(error, ss.SampledSoftmaxError)
    assert isinstance(error, kind)
    assert error.status == status


def test_error_survives_pickling() -> None:
    for kind in (_errors.ArgumentError, _errors.DtypeError, _errors.FileError, _errors.OutOfMemoryError):
        error = kind(_abi.SSL_STATUS_FILE, "words.csv: no such file")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert (again.status, again.message, str(again)) == (error.status, error.message, str(error))


def test_message_is_that_of_the_failing_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def provoke(label: int) -> str:
        with pytest.raises(ss.SampledSoftmaxError) as caught:
            ss.value_and_grad(**arguments(labels=changed(PROBLEM.labels, (3, 0), label)))
        return caught.value.message

    labels = list(range(50, 90)) * 5
    with ThreadPoolExecutor(4) as pool:
        messages = list(pool.map(provoke, labels))
    assert messages == [f"labels[3] = {label} is outside [0, 50)" for label in labels]


def test_the_module_for_pytorch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "sampled_softmax.torch", raising=False)
    with pytest.raises(ImportError, match="pip install torch"):
        importlib.import_module("sampled_softmax.torch")
