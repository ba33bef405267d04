"""JAX has no candidate sampler and no sampled softmax: the plain composition, in one jit.

Candidates come from `jax.random` by the inverse of the log-uniform distribution, with
replacement, which costs less than distinct ones. The gradient is taken with respect to
the gathered rows, so it is row-sparse, as TensorFlow's `IndexedSlices` are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .. import problem, verify


def _draw(step, labels, s: int, c: int):
    """Candidates, and expected counts of them and of the labels, as S P(k)."""
    u = jax.random.uniform(jax.random.key(step), (s,))
    ids = jnp.minimum(jnp.expm1(u * jnp.log1p(c)).astype(jnp.int32), c - 1)

    def expected(k):
        return s * jnp.log1p(1 / (k + 1.0)) / jnp.log1p(c)

    return ids, expected(ids), expected(labels)


def _loss(inputs, true_rows, rows, true_biases, biases, labels, ids, counts, true_counts):
    """The mean loss, of rows that are gathered already."""
    z_true = jnp.sum(inputs * true_rows, axis=1) + true_biases - jnp.log(true_counts)
    z = inputs @ rows.T + (biases - jnp.log(counts))
    z = jnp.where(labels[:, None] == ids, -jnp.inf, z)
    return jnp.mean(jnp.logaddexp(jax.nn.logsumexp(z, axis=1), z_true) - z_true)


def _gathered(function, inputs, weights, biases, labels, ids, counts, true_counts):
    return function(
        inputs, weights[labels], weights[ids], biases[labels], biases[ids], labels, ids, counts, true_counts
    )


_gradients = jax.value_and_grad(_loss, argnums=(0, 1, 2, 3, 4))


class Participant:
    version = jax.__version__
    form = "jit of a composition; candidates with replacement from jax.random; gradient of gathered rows"

    def open(self, files: problem.Files, threads: int) -> None:
        # Its threads are as many as the cores it may use, which the harness has set.
        shape = files.shape
        self.files = files
        # Arrays of NumPy that begin at a page are taken as they are, without a copy.
        self.arrays = tuple(
            jax.device_put(array)
            for array in (files.inputs, files.weights, files.biases, files.labels.astype(np.int32))
        )

        def drawing(function):
            def call(inputs, weights, biases, labels, step):
                drawn = _draw(step, labels, shape.s, shape.c)
                return drawn[0], _gathered(function, inputs, weights, biases, labels, *drawn)

            return jax.jit(call)

        self._forward, self._backward = drawing(_loss), drawing(_gradients)

    def forward(self, step: int):
        _, loss = jax.block_until_ready(self._forward(*self.arrays, step))
        return loss

    def forward_backward(self, step: int):
        _, (loss, _) = jax.block_until_ready(self._backward(*self.arrays, step))
        return loss

    def check(self) -> verify.Results:
        files = self.files
        call = jax.jit(lambda *arrays: _gathered(_gradients, *arrays))
        given = (files.ids.astype(np.int32), files.sampled_count, files.true_count)
        loss, (d_inputs, d_true, d_rows, d_true_biases, d_biases) = call(*self.arrays, *given)
        return verify.Results(
            float(loss),
            np.asarray(d_inputs),
            np.concatenate([files.labels, files.ids]),
            np.concatenate([d_true, d_rows]),
            np.concatenate([d_true_biases, d_biases]),
        )

    def close(self) -> None:
        del self.files, self.arrays, self._forward, self._backward
        jax.clear_caches()
