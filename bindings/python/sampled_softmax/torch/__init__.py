"""Sampled softmax loss for PyTorch: CPU and CUDA tensors, autograd, torch.compile.

    import torch
    from sampled_softmax.torch import sampled_softmax_loss

    loss = sampled_softmax_loss(
        weights, biases, labels, inputs, num_sampled=1024, num_classes=100_000,
        reduction="mean", seed=0, step=step,
    )
    loss.backward()

Names and arguments are those of the package's NumPy functions, which are TensorFlow's
and MindSpore's. The engine is the one of the tensors' device; on the CPU the values and
gradients are those of the NumPy functions, bit for bit.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("sampled_softmax.torch needs PyTorch: pip install torch") from error

from .._errors import SampledSoftmaxError
from .losses import SampledSoftmaxLoss, sampled_softmax_loss
from .samplers import (
    AccidentalHits,
    SampledValues,
    Sampler,
    all_candidate_sampler,
    compute_accidental_hits,
    fixed_unigram_candidate_sampler,
    learned_unigram_candidate_sampler,
    log_uniform_candidate_sampler,
    uniform_candidate_sampler,
)

__all__ = [
    "AccidentalHits",
    "SampledSoftmaxError",
    "SampledSoftmaxLoss",
    "SampledValues",
    "Sampler",
    "all_candidate_sampler",
    "compute_accidental_hits",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "log_uniform_candidate_sampler",
    "sampled_softmax_loss",
    "uniform_candidate_sampler",
]
