"""`sampled_softmax.tensorflow`: the NumPy binding's bits, TensorFlow's function, its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from adapters import import_sampled_softmax_tensorflow, same_bits
from peer_cases import SEEDS, Case, draw_case
from problems import BFLOAT16, Problem, make_problem

tf, sst = import_sampled_softmax_tensorflow()

# Of weights, biases, inputs: uniform, and as mixed precision has them.
DTYPES = {
    "float32": (np.float32,) * 3,
    "float64": (np.float64,) * 3,
    "float16": (np.float16,) * 3,
    "bfloat16": (BFLOAT16,) * 3,
    "bfloat16 inputs": (np.float32, np.float32, BFLOAT16),
    "float16 inputs, bfloat16 weights": (BFLOAT16, np.float32, np.float16),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "mean": {"reduction": "mean"},
    "sum": {"reduction": "sum"},
    "hits kept": {"remove_accidental_hits": False},
    "floor": {"probability_floor": 1e-20},
    "one thread": {"num_threads": 1},
}


@pytest.fixture(params=["eager", "compiled"])
def wrap(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """A function as it is, and as a graph."""
    return tf.function if request.param == "compiled" else lambda function: function


def value_and_grad(wrap: Any, problem: Problem, grad_output: Any = None, **options: Any) -> tuple[Any, Any]:
    """The loss and gradients of (weights, inputs, biases), all of them variables."""
    variables = [tf.Variable(problem.weights), tf.Variable(problem.inputs)]
    if problem.biases is not None:
        variables.append(tf.Variable(problem.biases))
    num_classes = problem.weights.shape[0]
    options = {"sampled_values": problem.sampled_values, **options}

    def evaluate() -> Any:
        with tf.GradientTape() as tape:
            loss = sst.sampled_softmax_loss(
                variables[0],
                variables[2] if len(variables) > 2 else None,
                problem.labels,
                variables[1],
                problem.sampled_values[0].size,
                num_classes,
                problem.labels.shape[1],
                **options,
            )
        return loss, tape.gradient(loss, variables, output_gradients=grad_output)

    return wrap(evaluate)()


def assert_same_gradients(gradients: Any, wanted: ss.Gradients) -> None:
    assert same_bits(gradients[1], wanted.inputs)
    for gradient, rows in zip((gradients[0], *gradients[2:]), (wanted.weights, wanted.biases), strict=False):
        assert isinstance(gradient, tf.IndexedSlices)
        assert same_bits(gradient.indices, rows.indices)
        assert same_bits(gradient.values, rows.values)


@pytest.mark.parametrize("dtypes", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("num_true", [1, 3])
def test_loss_and_gradients_have_the_bits_of_the_numpy_binding(wrap: Any, dtypes: Any, num_true: int) -> None:
    problem = make_problem(num_true, num_true=num_true, dtypes=dtypes)
    upstream = np.linspace(-1, 2, 13).astype(np.float64 if dtypes[0] == np.float64 else np.float32)
    loss, gradients = value_and_grad(wrap, problem, tf.constant(upstream))
    wanted, wanted_gradients = ss.value_and_grad(
        *problem.arrays, sampled_values=problem.sampled_values, grad_output=upstream
    )
    assert same_bits(loss, wanted)
    assert_same_gradients(gradients, wanted_gradients)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_have_the_bits_of_the_numpy_binding(wrap: Any, options: dict[str, Any]) -> None:
    problem = make_problem(5, num_true=2)
    loss, gradients = value_and_grad(wrap, problem, **options)
    wanted, wanted_gradients = ss.value_and_grad(*problem.arrays, sampled_values=problem.sampled_values, **options)
    assert same_bits(loss, wanted)
    assert_same_gradients(gradients, wanted_gradients)


def test_ignored_and_weighted_rows_and_no_biases(wrap: Any) -> None:
    problem = make_problem(6, biased=False)
    problem.labels[2] = -7
    problem.inputs[4] = np.nan
    weights = np.linspace(0, 1, 13).astype(np.float32)
    weights[4] = 0
    options = {"ignore_index": -7, "sample_weights": weights, "reduction": "mean"}
    loss, gradients = value_and_grad(wrap, problem, **options)
    wanted, wanted_gradients = ss.value_and_grad(*problem.arrays, sampled_values=problem.sampled_values, **options)
    assert np.isfinite(loss)
    assert same_bits(loss, wanted)
    assert_same_gradients(gradients, wanted_gradients)


@pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "all"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_it_draws_are_the_numpy_bindings_draws(wrap: Any, sampler: str, dtype: Any) -> None:
    problem = make_problem(7, num_sampled=50 if sampler == "all" else 20, dtypes=(dtype,) * 3)
    options = {"sampler": sampler, "seed": 2**64 - 3, "step": 2**63 + 5}
    loss, gradients = value_and_grad(wrap, problem, sampled_values=None, **options)
    wanted, wanted_gradients = ss.value_and_grad(*problem.arrays, **options)
    assert same_bits(loss, wanted)
    assert_same_gradients(gradients, wanted_gradients)


@pytest.mark.parametrize("seed", SEEDS[::4])
@pytest.mark.parametrize("remove", [True, False])
def test_agrees_with_tensorflows_own_function_on_the_same_ids(seed: int, remove: bool) -> None:
    """Values and all gradients within 1e-5 of the largest element, as positional arguments."""
    case = draw_case(seed, unique_candidates=True)
    results = [_by(function, case, remove) for function in (sst.sampled_softmax_loss, tf.nn.sampled_softmax_loss)]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1.0, np.abs(theirs).max()))


def _by(function: Any, case: Case, remove: bool) -> list[np.ndarray]:
    variables = [tf.Variable(array) for array in (case.weights, case.biases, case.inputs)]
    weights, biases, inputs = variables
    with tf.GradientTape() as tape:
        loss = function(
            weights, biases, case.labels, inputs, case.num_sampled, case.num_classes, case.num_true,
            case.sampled_values, remove, 1, "loss",
        )  # fmt: skip
    gradients = tape.gradient(loss, variables, output_gradients=tf.constant(case.grad_output))
    return [loss.numpy(), *(tf.convert_to_tensor(gradient).numpy() for gradient in gradients)]


def test_partitioned_weights_are_taken_as_tensorflow_takes_them() -> None:
    problem = make_problem(8)
    parts = [tf.Variable(problem.weights[:17]), tf.Variable(problem.weights[17:])]
    arguments = (problem.biases, problem.labels, problem.inputs, 20, 50, 1, problem.sampled_values)
    with tf.GradientTape(persistent=True) as tape:
        ours = sst.sampled_softmax_loss(parts, *arguments)
        whole = sst.sampled_softmax_loss(problem.weights, *arguments)
    assert same_bits(ours, whole)
    gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(ours, parts)]
    assert [gradient.shape[0] for gradient in gradients] == [17, 33]
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


def test_rows_of_the_gradient_are_unique_and_ascend_where_tensorflow_repeats_them() -> None:
    case = draw_case(4, unique_candidates=True)
    weights = tf.Variable(case.weights)
    rows = {}
    for name, function in {"ours": sst.sampled_softmax_loss, "theirs": tf.nn.sampled_softmax_loss}.items():
        with tf.GradientTape() as tape:
            loss = function(weights, case.biases, case.labels, case.inputs, case.num_sampled, case.num_classes,
                            case.num_true, case.sampled_values)  # fmt: skip
        gradient = tape.gradient(loss, weights)
        assert gradient.dense_shape.numpy().tolist() == list(case.weights.shape)
        rows[name] = gradient.indices.numpy()
    assert np.all(np.diff(rows["ours"]) > 0)
    assert len(set(rows["theirs"])) < len(rows["theirs"])
    assert set(rows["ours"]) == set(rows["theirs"])


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad"])
def test_optimizers_take_the_sparse_gradient(optimizer: str) -> None:
    """The same step as with the dense one, and rows that were not reached stay."""
    problem = make_problem(9, num_rows=3, num_sampled=8)
    after = []
    for dense in (False, True):
        variables = [tf.Variable(problem.weights), tf.Variable(problem.biases)]
        with tf.GradientTape() as tape:
            loss = sst.sampled_softmax_loss(
                *variables, problem.labels, problem.inputs, 8, 50, 1, problem.sampled_values
            )
        gradients = tape.gradient(loss, variables)
        reached = gradients[0].indices.numpy()
        if dense:
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        getattr(tf.keras.optimizers, optimizer)(0.1).apply_gradients(zip(gradients, variables, strict=True))
        after.append(variables[0].numpy())
    np.testing.assert_allclose(after[0], after[1], rtol=1e-6)
    others = np.setdiff1d(np.arange(50), reached)
    assert others.size > 20
    assert same_bits(after[0][others], problem.weights[others])


def test_only_what_is_asked_for_need_be_differentiable() -> None:
    problem = make_problem(10)
    inputs = tf.Variable(problem.inputs)
    with tf.GradientTape() as tape:
        loss = sst.sampled_softmax_loss(
            problem.weights, None, problem.labels, inputs, 20, 50, 1, problem.sampled_values
        )
    wanted = ss.value_and_grad(problem.weights, None, *problem.arrays[2:], problem.sampled_values)[1]
    assert same_bits(tape.gradient(loss, inputs), wanted.inputs)


def test_any_dtype_of_labels_serves() -> None:
    problem = make_problem(11)
    wanted = ss.sampled_softmax_loss(*problem.arrays, problem.sampled_values)
    for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        labels = problem.labels.astype(dtype)
        for shaped in (labels, labels[:, 0]):
            loss = sst.sampled_softmax_loss(
                problem.weights, problem.biases, shaped, problem.inputs, 20, 50, 1, problem.sampled_values
            )
            assert same_bits(loss, wanted), dtype


def test_kernels_for_a_gpu_are_registered() -> None:
    """They compile without CUDA's headers; running them takes a GPU build of TensorFlow."""
    from tensorflow.python.framework import kernels

    sst.uniform_candidate_sampler([[1]], 1, 2, True, 5)
    for op in ("SampledSoftmaxSample", "SampledSoftmaxForward", "SampledSoftmaxBackward"):
        devices = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(op).kernel}
        assert devices == {"CPU", "GPU"}
