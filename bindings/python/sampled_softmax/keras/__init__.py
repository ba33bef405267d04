"""Sampled softmax for Keras 3, on its TensorFlow, JAX and PyTorch backends.

    import keras
    from sampled_softmax.keras import SampledSoftmaxLoss

    hidden = keras.layers.Dense(128)(features)
    head = SampledSoftmaxLoss(num_sampled=1024, num_classes=100_000)
    training = keras.Model([features, labels], head(hidden, labels))
    training.compile("adam")                       # the layer brings the loss
    training.fit(...)
    serving = keras.Model(features, head(hidden))  # full logits, with the same weights

`SampledSoftmaxLoss` is the output layer and its loss in one, since the point is never to
compute all logits in training. `sampled_softmax_loss` and the candidate samplers are those
of the backend in use, on its own tensors: `sampled_softmax.tensorflow`, ``.jax``, ``.torch``.
"""

from __future__ import annotations

from .._require import require

require("keras", "keras", __name__)

from ._backend import (  # noqa: E402
    all_candidate_sampler,
    fixed_unigram_candidate_sampler,
    learned_unigram_candidate_sampler,
    log_uniform_candidate_sampler,
    sampled_softmax_loss,
    uniform_candidate_sampler,
)
from ._layer import SampledSoftmaxLoss  # noqa: E402

__all__ = [
    "SampledSoftmaxLoss",
    "all_candidate_sampler",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "log_uniform_candidate_sampler",
    "sampled_softmax_loss",
    "uniform_candidate_sampler",
]
