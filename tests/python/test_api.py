"""The functions: loss and gradients against float64, layouts, dtypes, draws, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from problems import BFLOAT16, Problem, assert_close, make_problem, scattered
from sampled_softmax import _call

F16, F32, F64 = np.float16, np.float32, np.float64
MIXTURES = [
    (F32, F32, F32),
    (F64, F64, F64),
    (F16, F16, F16),
    (BFLOAT16, BFLOAT16, BFLOAT16),
    (F32, F32, BFLOAT16),
    (F16, F32, BFLOAT16),
]


def both(problem: Problem, **options: Any) -> tuple[Any, ss.Gradients]:
    return ss.value_and_grad(*problem.arrays, sampled_values=problem.sampled_values, **options)


def assert_equals_reference(problem: Problem, options: dict[str, Any], wanted: Any) -> None:
    loss, gradients = both(problem, **options)
    assert_close(np.asarray(loss), wanted["loss"])
    assert_close(gradients.inputs, wanted["d_inputs"])
    num_classes = problem.weights.shape[0]
    np.testing.assert_array_less(gradients.weights.indices[:-1], gradients.weights.indices[1:])
    assert gradients.weights.values.dtype == problem.weights.dtype
    assert_close(scattered(gradients.weights, num_classes).astype(problem.weights.dtype), wanted["d_weights"])
    if problem.biases is None:
        assert gradients.biases is None
    else:
        assert gradients.biases.values.dtype == problem.biases.dtype
        assert_close(scattered(gradients.biases, num_classes).astype(problem.biases.dtype), wanted["d_biases"])


@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("dtypes", MIXTURES, ids=lambda dtypes: "-".join(np.dtype(d).name for d in dtypes))
def test_loss_and_gradients_equal_float64(dtypes: tuple[Any, Any, Any], num_true: int) -> None:
    problem = make_problem(dtypes=dtypes, num_true=num_true)
    loss, gradients = both(problem)
    assert loss.dtype == (F64 if dtypes[2] is F64 else F32)
    assert gradients.inputs.dtype == problem.inputs.dtype
    assert_equals_reference(problem, {}, problem.reference())


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("floor", [0.0, 1e-3])
@pytest.mark.parametrize("removal", [True, False])
def test_every_option_equals_float64(reduction: str, floor: float, removal: bool) -> None:
    problem = make_problem(3, num_true=2)
    problem.labels[4] = -7
    rng = np.random.default_rng(1)
    sample_weights = rng.uniform(0, 2, problem.labels.shape[0]).astype(F32)
    sample_weights[2] = 0
    shape = problem.labels.shape[0] if reduction == "none" else ()
    options: dict[str, Any] = {
        "remove_accidental_hits": removal,
        "reduction": reduction,
        "probability_floor": floor,
        "ignore_index": -7,
        "sample_weights": sample_weights,
        "grad_output": rng.normal(size=shape).astype(F32),
    }
    assert_equals_reference(problem, options, problem.reference(**options))


def test_no_biases_is_as_biases_of_zero() -> None:
    problem = make_problem(biased=False)
    assert_equals_reference(problem, {}, problem.reference())
    loss, _ = both(problem)
    problem.biases = np.zeros(50, F32)
    np.testing.assert_array_equal(loss, both(problem)[0])


@pytest.mark.parametrize("biased", [True, False])
def test_dense_gradients_are_the_scattered_sparse_ones(biased: bool) -> None:
    problem = make_problem(biased=biased)
    sparse, dense = both(problem)[1], both(problem, dense=True)[1]
    np.testing.assert_array_equal(dense.inputs, sparse.inputs)
    np.testing.assert_array_equal(dense.weights, scattered(sparse.weights, 50))
    if biased:
        np.testing.assert_array_equal(dense.biases, scattered(sparse.biases, 50))
    else:
        assert dense.biases is None


def test_loss_function_and_value_and_grad_give_the_same_loss() -> None:
    problem = make_problem()
    loss = ss.sampled_softmax_loss(*problem.arrays, sampled_values=problem.sampled_values)
    np.testing.assert_array_equal(loss, both(problem)[0])


def test_reduced_loss_is_a_scalar_and_an_unreduced_one_is_not() -> None:
    problem = make_problem()
    assert both(problem)[0].shape == (13,)
    for reduction in ("mean", "sum"):
        assert np.ndim(both(problem, reduction=reduction)[0]) == 0


def apart(array: np.ndarray) -> np.ndarray:
    room = np.full((2 * array.shape[0], array.shape[1] + 3), 99, array.dtype)
    room[::2, 1:-2] = array
    return room[::2, 1:-2]


def unaligned(array: np.ndarray) -> np.ndarray:
    raw = np.empty(array.nbytes + 1, np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "rows apart": apart,
    "columns first": np.asfortranarray,
    "rows backwards": lambda array: array[::-1].copy()[::-1],
    "columns apart": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
    "other byte order": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "read only": read_only,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_the_arrays_does_not_change_a_bit(layout: str) -> None:
    problem = make_problem()
    loss, gradients = both(problem)
    problem.weights, problem.inputs = LAYOUTS[layout](problem.weights), LAYOUTS[layout](problem.inputs)
    problem.biases = LAYOUTS[layout](problem.biases.reshape(-1, 1))[:, 0]
    again, gradients_again = both(problem)
    np.testing.assert_array_equal(again, loss)
    np.testing.assert_array_equal(gradients_again.inputs, gradients.inputs)
    np.testing.assert_array_equal(gradients_again.weights.values, gradients.weights.values)


def test_broadcast_rows_are_read_as_equal_rows() -> None:
    problem = make_problem()
    problem.inputs = np.broadcast_to(problem.inputs[:1], problem.inputs.shape)
    loss, _ = both(problem)
    assert_close(loss, problem.reference()["loss"])


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i8", ">i4"])
def test_every_integer_dtype_of_labels_gives_the_same_bits(dtype: str) -> None:
    problem = make_problem(num_true=2)
    loss, _ = both(problem)
    problem.labels = problem.labels.astype(dtype)
    np.testing.assert_array_equal(both(problem)[0], loss)


def test_labels_of_one_column_may_be_a_vector() -> None:
    problem = make_problem()
    arguments = list(problem.arrays)
    arguments[2] = problem.labels[:, 0]
    ids, true, sampled = problem.sampled_values
    loss = ss.sampled_softmax_loss(*arguments, sampled_values=(ids, true[:, 0], sampled))
    np.testing.assert_array_equal(loss, both(problem)[0])


def test_expected_counts_in_float64_are_used_in_float64() -> None:
    problem = make_problem(dtypes=(F64, F64, F64))
    ids, true, sampled = problem.sampled_values
    problem.sampled_values = (ids, true + 1e-12, sampled.astype(F64))
    assert_equals_reference(problem, {}, problem.reference())


def test_empty_batch_has_an_empty_loss_and_no_gradient() -> None:
    problem = make_problem(num_rows=0)
    loss, gradients = both(problem)
    assert loss.shape == (0,)
    assert gradients.inputs.shape == (0, 17)
    assert not scattered(gradients.weights, 50).any()
    for reduction in ("mean", "sum"):
        assert both(problem, reduction=reduction)[0] == 0.0


def test_arguments_are_not_written_to() -> None:
    problem = make_problem()
    before = [np.copy(array) for array in (*problem.arrays[:4], *problem.sampled_values)]
    both(problem)
    for array, copy in zip((*problem.arrays[:4], *problem.sampled_values), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_number_of_threads_does_not_change_a_bit() -> None:
    problem = make_problem(num_rows=300, num_classes=2000, dim=64, num_sampled=500)
    loss, gradients = both(problem, num_threads=1)
    for num_threads in (2, 7):
        again, gradients_again = both(problem, num_threads=num_threads)
        np.testing.assert_array_equal(again, loss)
        np.testing.assert_array_equal(gradients_again.inputs, gradients.inputs)
        np.testing.assert_array_equal(gradients_again.weights.values, gradients.weights.values)


def test_concurrent_calls_do_not_disturb_one_another() -> None:
    problems = [make_problem(seed, num_rows=40 + seed) for seed in range(16)]
    wanted = [both(problem) for problem in problems]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(both, problems * 20))
    for index, (loss, gradients) in enumerate(results):
        wanted_loss, wanted_gradients = wanted[index % 16]
        np.testing.assert_array_equal(loss, wanted_loss)
        np.testing.assert_array_equal(gradients.weights.values, wanted_gradients.weights.values)


def test_call_within_a_call_takes_structs_of_its_own() -> None:
    with _call.frame() as outer:
        outer.batch.num_rows = 12345
        both(make_problem())
        assert outer.batch.num_rows == 12345


def test_steady_calls_reuse_structs_and_scratch() -> None:
    problem = make_problem()
    both(problem)
    with _call.frame() as first:
        places = first.workspace.address, first.rows.address
    both(problem)
    both(make_problem(num_rows=3))
    with _call.frame() as second:
        assert second is first
        assert (second.workspace.address, second.rows.address) == places
