"""The output layer of a classifier with very many classes, and its loss."""

from __future__ import annotations

from typing import Any, SupportsIndex

import keras

from .._arrays import integer
from .._options import sampler_code
from .._seed import MOST
from ._backend import SUPPORTS_JIT, sampled_softmax_loss, step_of


@keras.saving.register_keras_serializable(package="sampled_softmax")
class SampledSoftmaxLoss(keras.layers.Layer):
    """A dense layer to `num_classes` logits, trained by sampled softmax.

    Called with labels it draws candidates, adds the mean of the rows' losses to the
    model's losses, and returns the losses. Called without it returns the logits of all
    classes, ``inputs @ kernel.T + bias``.

    Args:
        num_sampled, num_classes, num_true: S, C, T.
        remove_accidental_hits: leave out of a row the sampled classes that are among
            its labels.
        seed: with `step`, all that decides a draw.
        sampler: ``"uniform"``, ``"log_uniform"`` (classes numbered from the most
            frequent to the least) or ``"all"`` (the full softmax; S = C).
        use_bias: whether there is a bias.
        probability_floor: epsilon of -ln(p + epsilon); 0 is the exact loss.
        ignore_index: rows whose labels all equal it have loss 0 and gradient 0, and are
            left out of the mean.
        num_threads: on the CPU; 0 is the environment's SAMPLED_SOFTMAX_NUM_THREADS.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            kernel_constraint, bias_constraint: as in `keras.layers.Dense`.

    Attributes:
        kernel: [C, d], one row a class, in the layer's variable dtype. bias: [C] or None.
        step: int32, not trained, saved with the model: the number of the next draw.

    Call arguments:
        inputs: [..., d], float32, float16 or bfloat16; under a mixed policy the kernel
            stays as it is, and no copy of it in the lower precision is made.
        labels: [...] or [..., T] of integers, [...] only if T is 1; or None.

    Returns:
        [...] float32 losses, or [..., C] logits.

    On the TensorFlow backend the gradient of the kernel is row-sparse (``IndexedSlices``)
    and the layer turns XLA off in ``compile(jit_compile="auto")``; on the others it is
    dense. Raises ValueError and TypeError when made, and when called what
    `sampled_softmax_loss` of the backend raises.
    """

    def __init__(
        self,
        num_sampled: SupportsIndex,
        num_classes: SupportsIndex,
        num_true: SupportsIndex = 1,
        remove_accidental_hits: bool = True,
        seed: SupportsIndex = 0,
        *,
        sampler: str = "uniform",
        use_bias: bool = True,
        probability_floor: float = 0.0,
        ignore_index: SupportsIndex | None = None,
        num_threads: SupportsIndex = 0,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = integer("num_classes", num_classes)
        self.num_sampled = integer("num_sampled", num_sampled)
        self.num_true = integer("num_true", num_true)
        if self.num_sampled > self.num_classes:
            raise ValueError(f"num_sampled = {num_sampled} is greater than num_classes = {num_classes}")
        sampler_code(sampler)
        if sampler == "learned_unigram":
            raise ValueError("sampler = 'learned_unigram' keeps counts outside of the model; it cannot be of a layer")
        self.remove_accidental_hits = bool(remove_accidental_hits)
        self.seed = integer("seed", seed, 0, MOST)
        self.sampler = sampler
        self.use_bias = use_bias
        self.probability_floor = float(probability_floor)
        self.ignore_index = None if ignore_index is None else integer("ignore_index", ignore_index, -(2**63))
        self.num_threads = integer("num_threads", num_threads, 0)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.supports_jit = SUPPORTS_JIT

    def build(self, inputs_shape: Any, labels_shape: Any = None) -> None:
        """Makes kernel, bias and step for inputs [..., d]."""
        # Not cast by a mixed policy: a cast would copy all rows, of which few are read.
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.num_classes, inputs_shape[-1]),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            autocast=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.num_classes,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                autocast=False,
            )
        self.step = self.add_weight(
            name="step", shape=(), initializer="zeros", dtype="int32", trainable=False, autocast=False
        )

    def call(self, inputs: Any, labels: Any = None) -> Any:
        """Losses where there are labels, logits where there are none."""
        if labels is None:
            return self._logits(inputs)
        shape = keras.ops.shape(inputs)
        rows = keras.ops.reshape(inputs, (-1, inputs.shape[-1]))
        classes = keras.ops.reshape(labels, (-1, self.num_true))
        loss = sampled_softmax_loss(
            self.kernel.value,
            None if self.bias is None else self.bias.value,
            classes,
            rows,
            self.num_sampled,
            self.num_classes,
            self.num_true,
            None,
            self.remove_accidental_hits,
            self.seed,
            sampler=self.sampler,
            step=step_of(self.step),
            probability_floor=self.probability_floor,
            ignore_index=self.ignore_index,
            num_threads=self.num_threads,
        )
        self.step.assign(self.step + 1)
        self.add_loss(self._mean(loss, classes))
        return keras.ops.reshape(loss, shape[:-1])

    def compute_output_spec(self, inputs: Any, labels: Any = None) -> keras.KerasTensor:
        """Shape and dtype of what `call` returns, without a call."""
        if labels is None:
            return keras.KerasTensor((*inputs.shape[:-1], self.num_classes), dtype=self.compute_dtype)
        double = keras.backend.standardize_dtype(inputs.dtype) == "float64"
        return keras.KerasTensor(inputs.shape[:-1], dtype="float64" if double else "float32")

    def get_config(self) -> dict[str, Any]:
        """All that `__init__` takes."""
        plain = (
            "num_sampled", "num_classes", "num_true", "remove_accidental_hits", "seed", "sampler", "use_bias",
            "probability_floor", "ignore_index", "num_threads",
        )  # fmt: skip
        config = {name: getattr(self, name) for name in plain}
        for name in ("kernel", "bias"):
            for kind in ("initializer", "regularizer", "constraint"):
                serialize = getattr(keras, f"{kind}s").serialize
                config[f"{name}_{kind}"] = serialize(getattr(self, f"{name}_{kind}"))
        return {**super().get_config(), **config}

    def _logits(self, inputs: Any) -> Any:
        kernel = keras.ops.cast(self.kernel, inputs.dtype)
        logits = keras.ops.matmul(inputs, keras.ops.transpose(kernel))
        return logits if self.bias is None else logits + keras.ops.cast(self.bias, inputs.dtype)

    def _mean(self, loss: Any, classes: Any) -> Any:
        if self.ignore_index is None:
            return keras.ops.mean(loss)
        kept = keras.ops.any(keras.ops.not_equal(classes, self.ignore_index), axis=-1)
        count = keras.ops.sum(keras.ops.cast(kept, loss.dtype))
        return keras.ops.sum(loss) / keras.ops.maximum(count, 1)
