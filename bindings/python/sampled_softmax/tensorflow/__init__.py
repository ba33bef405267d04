"""Sampled softmax for TensorFlow: a drop-in for ``tf.nn.sampled_softmax_loss``.

    import tensorflow as tf
    from sampled_softmax.tensorflow import sampled_softmax_loss

    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(sampled_softmax_loss(weights, biases, labels, inputs, num_sampled, num_classes))
    gradients = tape.gradient(loss, [weights, biases, hidden])

It works eagerly and inside ``tf.function``, with any batch size. The gradients of weights
and biases are ``tf.IndexedSlices`` of unique ascending rows, which every optimizer of
TensorFlow and Keras takes; inputs, weights and biases may be float32, float16 or bfloat16
in any mixture, or all float64.

The ops are compiled against the installed TensorFlow at their first use, in about ten
seconds, and kept in a cache of the user's; ``python -m sampled_softmax.tensorflow build``
does it beforehand. On a GPU the kernels run on TensorFlow's stream, and backward waits
once for the number of its rows. XLA (``jit_compile=True``) cannot compile them.
"""

from __future__ import annotations

from .._require import require

require("tensorflow", "tensorflow", __name__)

from .._compile import BuildError  # noqa: E402
from ._losses import SampledSoftmaxLoss, sampled_softmax_loss  # noqa: E402
from ._ops import build  # noqa: E402
from ._samplers import (  # noqa: E402
    SampledValues,
    all_candidate_sampler,
    fixed_unigram_candidate_sampler,
    learned_unigram_candidate_sampler,
    log_uniform_candidate_sampler,
    uniform_candidate_sampler,
)

__all__ = [
    "BuildError",
    "SampledSoftmaxLoss",
    "SampledValues",
    "all_candidate_sampler",
    "build",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "log_uniform_candidate_sampler",
    "sampled_softmax_loss",
    "uniform_candidate_sampler",
]
