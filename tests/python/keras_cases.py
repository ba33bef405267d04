"""The tests of `sampled_softmax.keras` on one backend, which Keras fixes for a process.

`test_keras_*.py` run this file, each with its own KERAS_BACKEND.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sampled_softmax as ss
from adapters import compiled_environment, same_bits
from problems import BFLOAT16, assert_close, make_problem, scattered

compiled_environment()

import keras  # noqa: E402
from sampled_softmax.keras import SampledSoftmaxLoss, sampled_softmax_loss  # noqa: E402

BACKEND = keras.backend.backend()
NUM_CLASSES, DIM = 300, 16


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Initial weights and the order of batches."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")


def numpy(value: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


def made(head: SampledSoftmaxLoss, problem: Any) -> SampledSoftmaxLoss:
    """The layer with the problem's weights."""
    head.build(problem.inputs.shape)
    head.kernel.assign(problem.weights)
    if head.use_bias:
        head.bias.assign(problem.biases)
    return head


def data(num_rows: int = 512) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(num_rows, DIM)).astype(np.float32), rng.integers(0, NUM_CLASSES, num_rows).astype(np.int32)


def model(head: SampledSoftmaxLoss) -> tuple[keras.Model, keras.Model]:
    """Of hidden vectors and labels, for training; and of hidden vectors, for serving."""
    features, labels = keras.Input((DIM,)), keras.Input((), dtype="int32")
    hidden = keras.layers.Dense(DIM, activation="tanh", dtype=head.dtype_policy)(features)
    return keras.Model([features, labels], head(hidden, labels)), keras.Model(features, head(hidden))


def test_the_backend_is_the_one_that_was_asked_for() -> None:
    assert sampled_softmax_loss.__module__.startswith(f"sampled_softmax.{BACKEND}")


@pytest.mark.parametrize("options", [{}, {"sampler": "log_uniform"}, {"remove_accidental_hits": False}], ids=str)
@pytest.mark.parametrize("num_true", [1, 2])
def test_losses_have_the_bits_of_the_numpy_binding(num_true: int, options: dict[str, Any]) -> None:
    problem = make_problem(num_true, num_true=num_true)
    head = made(SampledSoftmaxLoss(20, 50, num_true, seed=5, **options), problem)
    for step in range(2):
        loss = numpy(head(problem.inputs, problem.labels.astype(np.int32)))
        wanted = ss.sampled_softmax_loss(*problem.arrays, seed=5, step=step, **{"sampler": "uniform", **options})
        assert same_bits(loss, wanted)
    assert int(head.step) == 2
    assert len(head.losses) == 1
    np.testing.assert_allclose(numpy(head.losses[0]), wanted.mean(), rtol=1e-6)


def test_low_precision_inputs_meet_a_float32_kernel() -> None:
    problem = make_problem(3, dtypes=(np.float32, np.float32, BFLOAT16))
    head = made(SampledSoftmaxLoss(20, 50, seed=5, dtype="mixed_bfloat16"), problem)
    assert head.kernel.dtype == "float32"
    inputs = keras.ops.cast(problem.inputs.astype(np.float32), "bfloat16")
    loss = numpy(head(inputs, problem.labels.astype(np.int32)))
    assert same_bits(loss, ss.sampled_softmax_loss(*problem.arrays, seed=5, step=0, sampler="uniform"))


def test_sequences_keep_their_shape_and_ignored_rows_are_left_out_of_the_mean() -> None:
    problem = make_problem(4, num_rows=12)
    problem.labels[[2, 5]] = -1
    head = made(SampledSoftmaxLoss(20, 50, seed=1, ignore_index=-1, use_bias=False), problem)
    labels = problem.labels.reshape(3, 4).astype(np.int32)
    loss = numpy(head(problem.inputs.reshape(3, 4, 17), labels))
    arguments = (problem.weights, None, problem.labels, problem.inputs, 20, 50)
    options = {"seed": 1, "step": 0, "sampler": "uniform", "ignore_index": -1}
    assert same_bits(loss, ss.sampled_softmax_loss(*arguments, **options).reshape(3, 4))
    mean = ss.sampled_softmax_loss(*arguments, **options, reduction="mean")
    np.testing.assert_allclose(numpy(head.losses[0]), mean, rtol=1e-6)


def test_logits_without_labels() -> None:
    problem = make_problem(5)
    head = made(SampledSoftmaxLoss(20, 50), problem)
    assert_close(numpy(head(problem.inputs)), problem.inputs @ problem.weights.T + problem.biases)
    assert int(head.step) == 0


def test_one_step_of_sgd_is_the_numpy_bindings_gradient() -> None:
    problem = make_problem(6)
    head = made(SampledSoftmaxLoss(20, 50, seed=2), problem)
    features, labels = keras.Input((17,)), keras.Input((), dtype="int32")
    trained = keras.Model([features, labels], head(features, labels))
    trained.compile(keras.optimizers.SGD(1.0))
    trained.fit([problem.inputs, problem.labels[:, 0].astype(np.int32)], batch_size=13, epochs=1, verbose=0)
    _, gradients = ss.value_and_grad(*problem.arrays, seed=2, step=0, sampler="uniform", reduction="mean")
    assert_close(numpy(head.kernel), problem.weights - scattered(gradients.weights, 50))
    assert_close(numpy(head.bias), problem.biases - scattered(gradients.biases, 50))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_fit_learns_and_the_serving_model_has_its_weights(policy: str) -> None:
    features, labels = data()
    head = SampledSoftmaxLoss(60, NUM_CLASSES, seed=3, dtype=policy)
    training, serving = model(head)
    training.compile(keras.optimizers.Adam(0.05))
    history = training.fit([features, labels], epochs=12, batch_size=64, verbose=0).history["loss"]
    assert history[-1] < 0.3 * history[0]
    assert int(head.step) == 12 * 8
    predicted = serving.predict(features, verbose=0)
    assert predicted.shape == (512, NUM_CLASSES)
    assert np.mean(predicted.argmax(1) == labels) > 0.5


def test_model_is_saved_with_its_step_and_goes_on(tmp_path: Path) -> None:
    features, labels = data(64)
    training, _ = model(SampledSoftmaxLoss(60, NUM_CLASSES, seed=9, kernel_regularizer="l2", sampler="log_uniform"))
    training.compile(keras.optimizers.SGD(0.1))
    training.fit([features, labels], epochs=2, verbose=0)
    training.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    head = loaded.layers[-1]
    assert isinstance(head, SampledSoftmaxLoss)
    assert head.get_config() == training.layers[-1].get_config()
    assert int(head.step) == int(training.layers[-1].step) == 4
    batch = [features, labels]
    np.testing.assert_allclose(loaded.predict_on_batch(batch), training.predict_on_batch(batch), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_sampled": 51}, ValueError, "num_sampled = 51 is greater than num_classes = 50"),
        ({"num_true": 0}, ValueError, "num_true = 0"),
        ({"sampler": "zipf"}, ValueError, "sampler = 'zipf'"),
        ({"sampler": "learned_unigram"}, ValueError, "cannot be of a layer"),
        ({"seed": 1.5}, TypeError, "seed = 1.5"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SampledSoftmaxLoss(**{"num_sampled": 20, "num_classes": 50, **arguments})


def test_labels_of_a_float_dtype_are_refused_by_name() -> None:
    problem = make_problem(7)
    head = made(SampledSoftmaxLoss(20, 50), problem)
    with pytest.raises(TypeError, match=r"labels (has dtype|is) .*float32"):
        head(problem.inputs, keras.ops.convert_to_tensor(problem.labels.astype(np.float32)))


def test_label_out_of_range_is_named() -> None:
    problem = make_problem(8)
    head = made(SampledSoftmaxLoss(20, 50), problem)
    # Each backend has its own kind of error for what only the values show.
    with pytest.raises(Exception, match=r"labels\[\d+(, 0)?\] = \d+ is outside \[0, 50\)"):
        numpy(head(problem.inputs, (problem.labels + 50).astype(np.int32)))
