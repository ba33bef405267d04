"""The output layer's loss by the library: S sampled classes in place of all C."""

import numpy as np
import sampled_softmax

from .model import RowGradient

#: The samplers by the name they have on the command line.
SAMPLERS = {
    "uniform": "uniform",
    "log-uniform": "log_uniform",
    "unigram": "fixed_unigram",
}


class SampledOutput:
    """Sampled softmax with one of `SAMPLERS`, or with "all": every class, each once.

    `counts` [C] of the classes in the text trained on are the unigram sampler's weights.
    0 threads are as many as there are cores.
    """

    def __init__(self, sampler, num_sampled, counts, seed, num_threads=0):
        # A class that only the held-out text has must be drawn at times all the same, or
        # nothing would ever lower its logit.
        options = {"unigrams": np.maximum(counts, 1.0)} if sampler == "unigram" else {}
        self._num_threads = num_threads
        self._sampler = sampled_softmax.Sampler(
            SAMPLERS.get(sampler, sampler),
            len(counts),
            num_sampled,
            seed=seed,
            **options,
        )

    def value_and_grad(self, weights, biases, labels, inputs):
        """Mean loss, and `(d_inputs [N, d], d_weights, d_biases)`, the last two as
        `RowGradient` of the rows that the labels and the sample reach."""
        loss, gradients = sampled_softmax.value_and_grad(
            weights,
            biases,
            labels,
            inputs,
            self._sampler.num_sampled,
            self._sampler.range_max,
            sampler=self._sampler,
            reduction="mean",
            num_threads=self._num_threads,
        )
        return float(loss), (
            gradients.inputs,
            RowGradient(*gradients.weights),
            RowGradient(*gradients.biases),
        )
