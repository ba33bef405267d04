"""The module of this package that serves Keras's backend, and how they differ."""

from __future__ import annotations

import importlib
from typing import Any

import keras

_SERVED = ("tensorflow", "jax", "torch")

BACKEND = keras.config.backend()
if BACKEND not in _SERVED:
    raise ImportError(f"sampled_softmax.keras serves the backends {', '.join(_SERVED)}; Keras uses {BACKEND!r}")

_module = importlib.import_module(f"..{BACKEND}", __package__)

sampled_softmax_loss = _module.sampled_softmax_loss
uniform_candidate_sampler = _module.uniform_candidate_sampler
log_uniform_candidate_sampler = _module.log_uniform_candidate_sampler
learned_unigram_candidate_sampler = _module.learned_unigram_candidate_sampler
fixed_unigram_candidate_sampler = _module.fixed_unigram_candidate_sampler
all_candidate_sampler = _module.all_candidate_sampler

# XLA has no kernel for TensorFlow's custom ops; on the other backends Keras may compile.
SUPPORTS_JIT = BACKEND != "tensorflow"


def step_of(variable: Any) -> Any:
    """The value of a step variable as the backend's function takes it: PyTorch's draws are
    made on the host and need a number, the others take a tensor of the graph."""
    return int(variable.value) if BACKEND == "torch" else keras.ops.convert_to_tensor(variable)
