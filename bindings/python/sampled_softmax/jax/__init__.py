"""Sampled softmax loss for JAX: under ``jit``, ``grad``, ``vmap`` and ``shard_map``.

    import jax
    from sampled_softmax.jax import value_and_grad

    @jax.jit
    def train_step(weights, biases, labels, inputs, step):
        loss, gradients = value_and_grad(
            weights, biases, labels, inputs, num_sampled=1024, num_classes=weights.shape[0],
            seed=0, step=step, reduction="mean",
        )
        rows = gradients.weights.indices
        weights = weights.at[rows].add(-0.1 * gradients.weights.values, mode="drop")
        return loss, weights, gradients.inputs

`sampled_softmax_loss` is for ``jax.grad``, whose gradient of the weights is dense;
`value_and_grad` gives the rows alone. Names and arguments are those of the NumPy
functions in `sampled_softmax`, and so are the values, bit for bit. The differences:

* **Draws.** All functions are pure: where the loss is to draw, it needs a ``seed``, an
  integer that is fixed when a function is traced, and a ``step``, which may be a traced
  array. There is no draw "new with every call".
* **64 bits.** Ids are int64 where ``jax_enable_x64`` is on, else int32; float64 needs
  it, as everywhere in JAX.
* **Errors.** What shapes and dtypes show is a ValueError or TypeError when a function is
  traced. What only the numbers show, such as a label outside [0, C), is an error when
  it runs, on the CPU: a ``jax.errors.JaxRuntimeError``, or a ValueError where JAX runs
  it at once. On a GPU the row's loss is NaN and its gradient 0.
* **Constants.** inputs, weights and biases are differentiated, once; labels,
  sample_weights and sampled_values are constants, as under ``jax.lax.stop_gradient``.
* **vmap.** If only what belongs to rows is mapped (inputs, labels, sample_weights,
  true_expected_count) and the reduction is "none", all rows are one call; the gradient
  of the inputs alike. Everything else is one call after another. The gradient of
  unmapped weights is then one dense array for each element of the map: rows belong in
  the leading axis of ``inputs``, where they cost none.
* **shard_map.** Each device computes its own rows with the whole of weights. Let every
  device draw with a step of its own, ``step * axis_size + axis_index``, or all with
  the same. Under ``jit`` alone, sharded arrays are first gathered.
* **Where.** On the device the arrays are on: CPU or CUDA. On CUDA a
  ``Sampler(..., generator="philox")`` draws on the device. Other draws are the host's,
  which waits for the device to read the step; to draw ahead of it instead, call a
  candidate sampler under ``jax.default_device`` of the CPU and pass ``sampled_values``.
"""

from __future__ import annotations

try:
    import jax as _jax
except ImportError as _error:
    raise ImportError("sampled_softmax.jax needs JAX: pip install jax (see https://docs.jax.dev for GPUs)") from _error

from ._results import Gradients, LearnedSampledValues, RowSparse, SampledValues
from .losses import SampledSoftmaxLoss, sampled_softmax_loss, value_and_grad
from .samplers import (
    all_candidate_sampler,
    fixed_unigram_candidate_sampler,
    learned_unigram_candidate_sampler,
    log_uniform_candidate_sampler,
    uniform_candidate_sampler,
)

del _jax

__all__ = [
    "Gradients",
    "LearnedSampledValues",
    "RowSparse",
    "SampledSoftmaxLoss",
    "SampledValues",
    "all_candidate_sampler",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "log_uniform_candidate_sampler",
    "sampled_softmax_loss",
    "uniform_candidate_sampler",
    "value_and_grad",
]
