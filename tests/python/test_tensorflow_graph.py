"""`sampled_softmax.tensorflow` in graphs: batch sizes, draws, state, threads, Keras's policies."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from adapters import import_sampled_softmax_tensorflow, same_bits
from problems import make_problem

tf, sst = import_sampled_softmax_tensorflow()

SIGNATURE = [tf.TensorSpec([None, 17], tf.float32), tf.TensorSpec([None, 1], tf.int64)]


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_one_graph_serves_every_batch_size(reduction: str) -> None:
    problem = make_problem(1)
    weights = tf.Variable(problem.weights)

    @tf.function(input_signature=SIGNATURE)
    def evaluate(inputs: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = sst.sampled_softmax_loss(
                weights, problem.biases, labels, inputs, 20, 50, seed=1, step=4, reduction=reduction
            )
        assert loss.shape.rank == (1 if reduction == "none" else 0)
        return loss, tape.gradient(loss, weights)

    for num_rows in (13, 1, 0, 7):
        inputs, labels = problem.inputs[:num_rows], problem.labels[:num_rows]
        loss, gradient = evaluate(inputs, labels)
        wanted, gradients = ss.value_and_grad(
            problem.weights, problem.biases, labels, inputs, 20, 50, seed=1, step=4, reduction=reduction
        )
        assert same_bits(loss, wanted)
        assert same_bits(gradient.indices, gradients.weights.indices)
        assert same_bits(gradient.values, gradients.weights.values)
    assert evaluate.experimental_get_tracing_count() == 1


def test_shapes_that_are_unknown_when_traced_are_checked_when_run() -> None:
    problem = make_problem(2)

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32), tf.TensorSpec([None, None], tf.float32)])
    def evaluate(inputs: Any, weights: Any) -> Any:
        return sst.sampled_softmax_loss(
            weights, problem.biases, problem.labels, inputs, 20, 50, 1, problem.sampled_values
        )

    assert same_bits(
        evaluate(problem.inputs, problem.weights), ss.sampled_softmax_loss(*problem.arrays, problem.sampled_values)
    )
    for inputs, weights in (
        (problem.inputs[:5], problem.weights),
        (problem.inputs[:, :5], problem.weights),
        (problem.inputs, problem.weights[:49]),
        (problem.inputs[0], problem.weights),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError):
            evaluate(inputs, weights)


def test_draws_go_on_from_call_to_call_in_either_mode() -> None:
    """A seed without a step: draws 0, 1, 2, ... of this process, as TensorFlow's samplers go on."""
    problem = make_problem(3, num_classes=5000, num_sampled=64)
    seed = 987_654_321

    def evaluate() -> Any:
        return sst.sampled_softmax_loss(*problem.arrays, seed=seed)

    compiled = tf.function(evaluate)
    losses = [evaluate(), compiled(), compiled(), evaluate()]
    for step, loss in enumerate(losses):
        assert same_bits(loss, ss.sampled_softmax_loss(*problem.arrays, seed=seed, step=step))


def test_draws_without_a_seed_are_new_in_every_call_of_a_graph() -> None:
    problem = make_problem(4, num_classes=5000, num_sampled=64)
    evaluate = tf.function(lambda: sst.sampled_softmax_loss(*problem.arrays))
    losses = {evaluate().numpy().tobytes() for _ in range(4)}
    assert len(losses) == 4


def test_step_may_be_a_variable_and_a_loop_counter() -> None:
    problem = make_problem(5, num_classes=5000, num_sampled=64)
    step = tf.Variable(7, dtype=tf.int64)

    @tf.function
    def in_a_loop() -> Any:
        losses = tf.TensorArray(tf.float32, 3)
        for i in tf.range(3):
            losses = losses.write(i, sst.sampled_softmax_loss(*problem.arrays, seed=2, step=step))
            step.assign_add(1)
        return losses.stack()

    wanted = [ss.sampled_softmax_loss(*problem.arrays, seed=2, step=7 + i) for i in range(3)]
    assert same_bits(in_a_loop(), np.stack(wanted))


def test_rank_tells_replicas_apart() -> None:
    problem = make_problem(6, num_classes=5000, num_sampled=64)
    ids = [
        sst.uniform_candidate_sampler(problem.labels, 1, 64, True, 5000, seed=1, step=1, rank=rank).sampled_candidates
        for rank in (0, 1)
    ]
    assert not same_bits(*ids)
    wanted = ss.Sampler("uniform", 5000, 64, seed=1, rank=1).sample(problem.labels, step=1)
    assert same_bits(ids[1], wanted.sampled_candidates)


@pytest.mark.parametrize("compiled", [False, True])
def test_module_is_the_numpy_class_and_its_step_is_saved(compiled: bool, tmp_path: Any) -> None:
    problem = make_problem(7, num_classes=5000, num_sampled=64)
    arrays = problem.arrays[:4]
    module, numpy = sst.SampledSoftmaxLoss(64, 5000, seed=3), ss.SampledSoftmaxLoss(64, 5000, seed=3)
    call = tf.function(module) if compiled else module
    for _ in range(3):
        assert same_bits(call(*arrays), numpy(*arrays))
    assert module.step.numpy() == numpy.step == 3

    path = tf.train.Checkpoint(loss=module).write(str(tmp_path / "checkpoint"))
    resumed = sst.SampledSoftmaxLoss(64, 5000, seed=3)
    tf.train.Checkpoint(loss=resumed).read(path).assert_consumed()
    assert same_bits(resumed(*arrays), numpy(*arrays))


def test_module_takes_given_candidates_and_reduces() -> None:
    problem = make_problem(8)
    for options in ({}, {"reduction": "mean", "probability_floor": 0.0}, {"remove_accidental_hits": False}):
        ours = sst.SampledSoftmaxLoss(20, 50, sampled_values=problem.sampled_values, **options)
        numpy = ss.SampledSoftmaxLoss(20, 50, sampled_values=problem.sampled_values, **options)
        assert same_bits(ours(*problem.arrays[:4]), numpy(*problem.arrays[:4]))
        assert ours.step.numpy() == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_sampler_object_draws_for_the_loss(compiled: bool) -> None:
    problem = make_problem(9)
    weights = np.arange(1.0, 51.0)
    ours, numpy = (ss.Sampler("fixed_unigram", 50, 20, seed=5, unigrams=weights, distortion=0.8) for _ in range(2))
    inputs = tf.Variable(problem.inputs)

    def evaluate() -> Any:
        with tf.GradientTape() as tape:
            loss = sst.sampled_softmax_loss(
                problem.weights, problem.biases, problem.labels, inputs, 20, 50, sampler=ours
            )
        return loss, tape.gradient(loss, inputs)

    call = tf.function(evaluate) if compiled else evaluate
    for _ in range(2):
        loss, gradient = call()
        wanted, gradients = ss.value_and_grad(*problem.arrays, sampler=numpy)
        assert same_bits(loss, wanted)
        assert same_bits(gradient, gradients.inputs)
    assert ours.step == numpy.step == 2


def test_threads_share_kernels() -> None:
    problem = make_problem(10, num_rows=64, num_classes=400, dim=32, num_sampled=100)
    evaluate = tf.function(lambda: sst.sampled_softmax_loss(*problem.arrays, problem.sampled_values))
    wanted = ss.sampled_softmax_loss(*problem.arrays, problem.sampled_values)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.extend(evaluate() for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert all(same_bits(result, wanted) for result in results)


def test_graph_that_was_saved_runs_where_the_module_is_imported(tmp_path: Any) -> None:
    problem = make_problem(11)

    class Model(tf.Module):
        def __init__(self) -> None:
            self.weights = tf.Variable(problem.weights)

        @tf.function(input_signature=SIGNATURE)
        def loss(self, inputs: Any, labels: Any) -> Any:
            return sst.sampled_softmax_loss(self.weights, problem.biases, labels, inputs, 20, 50, seed=1, step=2)

    tf.saved_model.save(Model(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    wanted = ss.sampled_softmax_loss(*problem.arrays, seed=1, step=2)
    assert same_bits(loaded.loss(problem.inputs, problem.labels), wanted)
