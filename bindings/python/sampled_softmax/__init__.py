"""Sampled softmax loss for NumPy arrays: forward, backward, and candidate samplers.

    import numpy as np
    import sampled_softmax as ss

    loss, gradients = ss.value_and_grad(
        weights, biases, labels, inputs, num_sampled=64, num_classes=1000, reduction="mean"
    )
    weights[gradients.weights.indices] -= 0.1 * gradients.weights.values

The names and arguments are TensorFlow's (`sampled_softmax_loss`, the candidate
samplers) and MindSpore's (`SampledSoftmaxLoss`). The work is done by the shared library
of the same name, on the arrays where they lie.
"""

from __future__ import annotations

from ._device import DeviceArray
from ._errors import SampledSoftmaxError
from ._gradients import Gradients, RowSparse
from ._library import LIBRARY as _LIBRARY
from ._library import version as _version
from ._place import to_device
from ._sampler import SampledValues, Sampler
from ._update import SGD, Adagrad, RowAdagrad
from .losses import SampledSoftmaxLoss, sampled_softmax_loss, value_and_grad
from .samplers import (
    AccidentalHits,
    all_candidate_sampler,
    compute_accidental_hits,
    fixed_unigram_candidate_sampler,
    learned_unigram_candidate_sampler,
    log_uniform_candidate_sampler,
    uniform_candidate_sampler,
)

__version__ = "0.2.0"

__all__ = [
    "SGD",
    "AccidentalHits",
    "Adagrad",
    "DeviceArray",
    "Gradients",
    "RowAdagrad",
    "RowSparse",
    "SampledSoftmaxError",
    "SampledSoftmaxLoss",
    "SampledValues",
    "Sampler",
    "all_candidate_sampler",
    "compute_accidental_hits",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "library_version",
    "log_uniform_candidate_sampler",
    "sampled_softmax_loss",
    "to_device",
    "uniform_candidate_sampler",
    "value_and_grad",
]


def library_version() -> str:
    """The version of the shared library in use, as ``"major.minor.patch"``."""
    return ".".join(map(str, _version(_LIBRARY)))
