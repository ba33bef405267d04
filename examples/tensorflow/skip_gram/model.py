"""The model, its loss in two ways, and a compiled training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from sampled_softmax.tensorflow import log_uniform_candidate_sampler, sampled_softmax_loss

# Words to either side of a word that it is to predict: the labels of a row.
REACH = 2
NUM_TRUE = 2 * REACH

Loss = Callable[["SkipGram", tf.Tensor, tf.Tensor, tf.Tensor, int], tf.Tensor]


class SkipGram(tf.Module):
    """A vector for each word as a centre, and another as a neighbour."""

    def __init__(self, num_classes: int, dim: int, seed: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        random = tf.random.Generator.from_seed(seed)
        self.centres = tf.Variable(random.normal((num_classes, dim)) * 0.1, name="centres")
        self.weights = tf.Variable(random.normal((num_classes, dim)) * dim**-0.5, name="weights")
        self.biases = tf.Variable(tf.zeros(num_classes), name="biases")

    def neighbours(self, words: tf.Tensor, count: int, frequent: int) -> tf.Tensor:
        """The `count` words, of the `frequent` first, nearest to each by the angle between their vectors."""
        vectors = tf.math.l2_normalize(self.centres[:frequent], axis=1)
        closeness = tf.matmul(tf.gather(vectors, words), vectors, transpose_b=True)
        return tf.math.top_k(closeness, count + 1).indices[:, 1:]


def library_loss(model: SkipGram, labels: tf.Tensor, inputs: tf.Tensor, step: tf.Tensor, num_sampled: int) -> tf.Tensor:
    """What a user writes: the draw, the loss and its gradients in one call."""
    return sampled_softmax_loss(
        model.weights, model.biases, labels, inputs, num_sampled, model.num_classes, NUM_TRUE,
        seed=0, step=step, reduction="mean",
    )  # fmt: skip


def tensorflow_loss(
    model: SkipGram, labels: tf.Tensor, inputs: tf.Tensor, step: tf.Tensor, num_sampled: int
) -> tf.Tensor:
    """TensorFlow's own function on the same sampled words."""
    sampled_values = log_uniform_candidate_sampler(
        labels, NUM_TRUE, num_sampled, True, model.num_classes, seed=0, step=step
    )
    loss = tf.nn.sampled_softmax_loss(
        model.weights, model.biases, labels, inputs, num_sampled, model.num_classes, NUM_TRUE, tuple(sampled_values)
    )
    return tf.reduce_mean(loss)


def rows_once(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """Repeated rows summed. Keras's optimizers take each as a gradient of its own, whose
    square Adagrad then adds up one by one. The library's gradients have no such rows."""
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def training_step(model: SkipGram, loss: Loss, num_sampled: int, learning_rate: float) -> Any:
    """A compiled function of (centres [N], labels [N, T], step) that learns and returns the loss."""
    optimizer = tf.keras.optimizers.Adagrad(learning_rate)
    variables = [model.centres, model.weights, model.biases]
    optimizer.build(variables)
    signature = [
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None, NUM_TRUE], tf.int64),
        tf.TensorSpec([], tf.int64),
    ]

    @tf.function(input_signature=signature)
    def train(centres: tf.Tensor, labels: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(model, labels, tf.gather(model.centres, centres), step, num_sampled)
        d_centres, d_weights, d_biases = tape.gradient(value, variables)
        if loss is not library_loss:
            d_weights, d_biases = rows_once(d_weights), rows_once(d_biases)
        optimizer.apply_gradients(zip((rows_once(d_centres), d_weights, d_biases), variables, strict=True))
        return value

    return train
