"""TensorFlow: its own loss, `tf.nn.sampled_softmax_loss`, in a `tf.function`."""

from __future__ import annotations

import os

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from .. import problem, verify


class Participant:
    version = tf.__version__
    form = "tf.nn.sampled_softmax_loss in tf.function; unique candidates; IndexedSlices"

    def open(self, files: problem.Files, threads: int) -> None:
        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        shape = files.shape
        self.files = files
        self.inputs = tf.constant(files.inputs)
        # By DLPack the variable takes the files' memory as it is, where tf.Variable(array)
        # would copy gigabytes.
        self.weights = tf.Variable(tf.experimental.dlpack.from_dlpack(files.weights.__dlpack__()), trainable=True)
        self.biases = tf.Variable(files.biases, trainable=True)
        self.labels = tf.constant(files.labels.reshape(-1, 1))

        def loss(values):
            return tf.reduce_mean(
                tf.nn.sampled_softmax_loss(
                    self.weights, self.biases, self.labels, self.inputs, shape.s, shape.c, sampled_values=values
                )
            )

        def gradients(values):
            with tf.GradientTape() as tape:
                tape.watch(self.inputs)
                value = loss(values)
            return value, tape.gradient(value, [self.inputs, self.weights, self.biases])

        self._loss = tf.function(lambda: loss(None))
        self._gradients = tf.function(lambda: gradients(None))
        self._given = tf.function(gradients)

    def forward(self, step: int):
        return self._loss().numpy()

    def forward_backward(self, step: int):
        value, _ = self._gradients()
        return value.numpy()

    def check(self) -> verify.Results:
        files = self.files
        values = (files.ids, files.true_count.reshape(-1, 1), files.sampled_count)
        value, (d_inputs, d_weights, d_biases) = self._given(tuple(tf.constant(array) for array in values))
        assert np.array_equal(d_weights.indices, d_biases.indices)
        return verify.Results(
            float(value), d_inputs.numpy(), d_weights.indices.numpy(), d_weights.values.numpy(), d_biases.values.numpy()
        )

    def sampler(self, s: int, c: int, name: str):
        """TensorFlow's candidate sampler alone, for one label."""
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        draw = getattr(tf.random, name + "_candidate_sampler" if name == "log_uniform" else "uniform_candidate_sampler")
        label = tf.zeros((1, 1), tf.int64)
        compiled = tf.function(lambda: draw(label, 1, s, True, c))
        return lambda: compiled().sampled_candidates.numpy()

    def close(self) -> None:
        del self.files, self.inputs, self.weights, self.biases, self.labels
        del self._loss, self._gradients, self._given
