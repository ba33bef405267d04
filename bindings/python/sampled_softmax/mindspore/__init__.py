"""Sampled softmax for MindSpore: the deprecated ``nn.SampledSoftmaxLoss``, kept alive.

    from sampled_softmax.mindspore import SampledSoftmaxLoss    # was: from mindspore.nn import ...

    loss = SampledSoftmaxLoss(num_sampled=64, num_classes=10_000)
    value = loss(weights, biases, labels, logits)

The cell works in GRAPH_MODE and PYNATIVE_MODE, on the CPU; float32, float16 and bfloat16
in any mixture, or all float64. Gradients of weights and biases are dense, as those of
MindSpore's class were: an AOT operator must know the shape of its outputs before it runs.

The operators are compiled at their first use, in a few seconds, and kept in a cache of
the user's; ``python -m sampled_softmax.mindspore build`` does it beforehand.
"""

from __future__ import annotations

from .._require import require

require("mindspore", "mindspore", __name__)

from .._compile import BuildError  # noqa: E402
from ._custom import build  # noqa: E402
from ._function import (  # noqa: E402
    SampledValues,
    all_candidate_sampler,
    learned_unigram_candidate_sampler,
    log_uniform_candidate_sampler,
    sampled_softmax_loss,
    uniform_candidate_sampler,
)
from ._loss import SampledSoftmaxLoss  # noqa: E402

__all__ = [
    "BuildError",
    "SampledSoftmaxLoss",
    "SampledValues",
    "all_candidate_sampler",
    "build",
    "learned_unigram_candidate_sampler",
    "log_uniform_candidate_sampler",
    "sampled_softmax_loss",
    "uniform_candidate_sampler",
]
