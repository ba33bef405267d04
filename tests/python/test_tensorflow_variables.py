"""`sampled_softmax.tensorflow` on variables, whose rows it takes in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from adapters import import_sampled_softmax_tensorflow, same_bits
from problems import make_problem

tf, sst = import_sampled_softmax_tensorflow()


def ops_of(function: Any) -> set[str]:
    """The kinds of ops in a graph."""
    return {op.type for op in function.get_concrete_function().graph.get_operations()}


def test_variables_are_read_by_rows_and_never_as_a_whole() -> None:
    problem = make_problem(1)
    weights, biases = tf.Variable(problem.weights), tf.Variable(problem.biases)
    arguments = (problem.labels, problem.inputs, 20, 50, 1, problem.sampled_values)
    in_place = ops_of(tf.function(lambda: sst.sampled_softmax_loss(weights, biases, *arguments)))
    assert "SampledSoftmaxGather" in in_place
    assert "ReadVariableOp" not in in_place
    # A tensor among them, and nothing is gained by taking the other's rows.
    assert "SampledSoftmaxGather" not in ops_of(
        tf.function(lambda: sst.sampled_softmax_loss(weights, problem.biases, *arguments))
    )


@pytest.mark.parametrize("labels_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("ignore_index", [0, 7, -1])
def test_ignored_rows_are_those_that_were_named(ignore_index: int, labels_dtype: Any) -> None:
    """Also where the ignored label is a class; and a row ignored in part is an error."""
    problem = make_problem(2, num_true=2)
    problem.labels[problem.labels == ignore_index] = 9
    problem.labels[3] = ignore_index
    problem.labels = problem.labels.astype(labels_dtype)
    variables = [tf.Variable(problem.weights), tf.Variable(problem.biases)]
    options = {"ignore_index": ignore_index, "reduction": "mean"}
    with tf.GradientTape() as tape:
        loss = sst.sampled_softmax_loss(
            *variables, problem.labels, problem.inputs, 20, 50, 2, problem.sampled_values, **options
        )
    wanted, gradients = ss.value_and_grad(*problem.arrays, problem.sampled_values, **options)
    assert same_bits(loss, wanted)
    for gradient, rows in zip(tape.gradient(loss, variables), gradients[1:], strict=True):
        assert same_bits(gradient.indices, rows.indices)
        assert same_bits(gradient.values, rows.values)
    problem.labels[4, 1] = ignore_index
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"labels\[4, 1\] = .*all or none are ignore_index"):
        sst.sampled_softmax_loss(
            *variables, problem.labels, problem.inputs, 20, 50, 2, problem.sampled_values, **options
        )


@pytest.mark.parametrize("compiled", [False, True])
def test_gradient_is_that_of_the_values_forward_saw(compiled: bool) -> None:
    """An update between forward and backward, by rows or of all, does not reach it."""
    problem = make_problem(3)
    weights, biases = tf.Variable(problem.weights), tf.Variable(problem.biases)

    def evaluate() -> Any:
        with tf.GradientTape() as tape:
            loss = sst.sampled_softmax_loss(
                weights, biases, problem.labels, problem.inputs, 20, 50, 1, problem.sampled_values
            )
        weights.scatter_sub(tf.IndexedSlices(tf.ones((2, 17)), tf.constant([0, 1])))
        weights.assign(weights * 3.0)
        return tape.gradient(loss, weights)

    gradient = tf.function(evaluate)() if compiled else evaluate()
    assert np.abs(weights.numpy()).max() > 2 * np.abs(problem.weights).max()
    wanted = ss.value_and_grad(*problem.arrays, problem.sampled_values)[1].weights
    assert same_bits(gradient.indices, wanted.indices)
    assert same_bits(gradient.values, wanted.values)


def test_second_loss_on_the_same_variables_adds_its_rows() -> None:
    problems = [make_problem(seed) for seed in (4, 5)]
    weights, biases = tf.Variable(problems[0].weights), tf.Variable(problems[0].biases)
    wanted = np.zeros((50, 17), np.float32)
    with tf.GradientTape() as tape:
        total = 0.0
        for problem in problems:
            arguments = (problem.labels, problem.inputs, 20, 50, 1, problem.sampled_values)
            total += sst.sampled_softmax_loss(weights, biases, *arguments, reduction="sum")
            gradients = ss.value_and_grad(weights.numpy(), biases.numpy(), *arguments, reduction="sum")[1]
            wanted[gradients.weights.indices] += gradients.weights.values
    np.testing.assert_allclose(tf.convert_to_tensor(tape.gradient(total, weights)), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("num_true", [1, 2])
def test_what_is_out_of_range_is_named_as_by_the_library(num_true: int, compiled: bool) -> None:
    problem = make_problem(6, num_true=num_true)
    weights, biases = tf.Variable(problem.weights), tf.Variable(problem.biases)
    ids, *counts = problem.sampled_values
    bad_labels, bad_ids = problem.labels.copy(), ids.copy()
    bad_labels[5, num_true - 1] = 50
    bad_ids[7] = -3
    for labels, values in ((bad_labels, problem.sampled_values), (problem.labels, (bad_ids, *counts))):
        with pytest.raises(ss.SampledSoftmaxError) as caught:
            ss.sampled_softmax_loss(problem.weights, problem.biases, labels, problem.inputs, 20, 50, num_true, values)
        message = caught.value.message
        assert "is outside [0, 50)" in message
        # The array's own name at this place: NumPy's and this module's callers call it so.
        place = message[message.index("[") :]

        def evaluate(labels: Any = labels, values: Any = values) -> Any:
            return sst.sampled_softmax_loss(weights, biases, labels, problem.inputs, 20, 50, num_true, values)

        with pytest.raises(tf.errors.InvalidArgumentError) as refused:
            tf.function(evaluate)() if compiled else evaluate()
        assert place in str(refused.value)


def test_shapes_of_variables_are_checked() -> None:
    problem = make_problem(7)
    weights, biases = tf.Variable(problem.weights), tf.Variable(problem.biases)
    arguments = (problem.labels, problem.inputs, 20, 50, 1, problem.sampled_values)
    with pytest.raises(ValueError, match=r"weights has shape \(49, 17\)"):
        sst.sampled_softmax_loss(tf.Variable(problem.weights[:49]), biases, *arguments)
    with pytest.raises(ValueError, match=r"biases has shape \(3,\)"):
        sst.sampled_softmax_loss(weights, tf.Variable(problem.biases[:3]), *arguments)
    with pytest.raises(TypeError, match="weights has dtype int64"):
        sst.sampled_softmax_loss(tf.Variable(problem.weights.astype(int)), biases, *arguments)
    # What a variable may hold later than it was made is checked when it is read.
    unknown = tf.Variable(problem.biases[:3], shape=tf.TensorShape([None]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"biases has shape \[3\]; \[50\] is needed"):
        sst.sampled_softmax_loss(weights, unknown, *arguments)
