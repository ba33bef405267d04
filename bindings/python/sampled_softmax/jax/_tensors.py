"""The operands of a loss, from a caller's arrays and candidates given or drawn."""

from __future__ import annotations

from typing import SupportsIndex

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import _abi
from .._handle import Config
from .._options import Options
from . import _shim
from ._arguments import array, cast_floats, floats, integers, labels, step_words
from ._calls import Program, alike
from ._operations import Loss, Operands, sample
from ._words import to_words


def make_operands(
    weights: ArrayLike,
    biases: ArrayLike | None,
    true: ArrayLike,
    inputs: ArrayLike,
    options: Options,
    step: SupportsIndex | jax.Array,
) -> tuple[Loss, Operands]:
    """Checks all there is to check before the program runs, and draws if need be.

    Raises ValueError (shapes), TypeError (dtypes), and `SampledSoftmaxError` for a
    configuration that the library refuses.
    """
    x = floats("inputs", inputs)
    if x.ndim != 2 or x.shape[1] < 1:
        raise ValueError(f"inputs has shape {x.shape}; a matrix with rows of at least one element is needed")
    num_rows, dim = x.shape
    w = floats("weights", weights)
    if w.shape != (options.num_classes, dim):
        raise ValueError(
            f"weights has shape {w.shape}; ({options.num_classes}, {dim}) is needed, from num_classes = "
            f"{options.num_classes} and inputs of shape {x.shape}"
        )
    true_classes = labels("labels", true, options.num_true)
    if true_classes.shape[0] != num_rows:
        raise ValueError(f"labels has {true_classes.shape[0]} rows, but inputs has {num_rows}")
    b = jnp.zeros(0, w.dtype) if biases is None else floats("biases", biases, (options.num_classes,))
    _all_or_none_double(x, w, None if biases is None else b)
    dtype = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
    row_weights = jnp.zeros(0, dtype)
    if options.sample_weights is not None:
        row_weights = cast_floats("sample_weights", options.sample_weights, dtype, (num_rows,))

    if options.sampled_values is not None:
        ids, true_count, sampled_count = _given(options, true_classes.shape)
    else:
        program = _drawing(options)
        program.prepare()
        ids, true_count, sampled_count = sample(program, true_classes, step_words(step), dtype)
    program = Program(_shim.fields_of(_config(options)), "", options.ignore_index)
    program.prepare()
    operands = Operands(x, w, b, true_classes, row_weights, ids, true_count, sampled_count)
    return Loss(program), Operands(*alike(operands))


def _config(options: Options) -> Config:
    """Of the loss: its candidates are known by then, whoever drew them."""
    return Config(
        num_classes=options.num_classes,
        num_sampled=options.num_sampled,
        num_true=options.num_true,
        sampler=_abi.SSL_SAMPLER_CALLER,
        # Given ids may repeat, and be more than there are classes.
        sampling=_abi.SSL_SAMPLING_REPLACEMENT,
        hits=options.hits,
        reduction=options.reduction,
        probability_floor=options.probability_floor,
        num_threads=options.num_threads,
    )


def _drawing(options: Options) -> Program:
    """What draws. Only the exclusion of labels is of the loss and not of the sampler."""
    exclude = options.hits == _abi.SSL_HITS_EXCLUDE
    hits = _abi.SSL_HITS_EXCLUDE if exclude else _abi.SSL_HITS_MASK
    if isinstance(options.sampler, int):
        config = Config(
            num_classes=options.num_classes,
            num_sampled=options.num_sampled,
            sampler=options.sampler,
            seed=options.seed,
            num_threads=1,
        )
    else:
        config = options.sampler._config
    config = config._replace(num_true=options.num_true, hits=hits)
    return Program(_shim.fields_of(config), _shim.name_of_unigrams(config), options.ignore_index)


def _given(options: Options, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """sampled_values, checked: ids as words, counts of one dtype."""
    candidates, true_count, sampled_count = options.sampled_values
    ids = integers("sampled_candidates", candidates)
    if ids.shape != (options.num_sampled,):
        raise ValueError(
            f"sampled_candidates has shape {ids.shape}; (num_sampled,) = ({options.num_sampled},) is needed"
        )
    true_count = array("true_expected_count", true_count)
    sampled_count = array("sampled_expected_count", sampled_count)
    wide = true_count.dtype.itemsize > 4 or sampled_count.dtype.itemsize > 4
    dtype = jnp.float64 if wide else jnp.float32
    if true_count.ndim == 1 and shape[1] == 1:
        true_count = true_count.reshape(-1, 1)
    return (
        to_words(ids),
        cast_floats("true_expected_count", true_count, dtype, shape),
        cast_floats("sampled_expected_count", sampled_count, dtype, (options.num_sampled,)),
    )


def _all_or_none_double(inputs: jax.Array, weights: jax.Array, biases: jax.Array | None) -> None:
    dtypes = {"inputs": inputs.dtype, "weights": weights.dtype}
    if biases is not None:
        dtypes["biases"] = biases.dtype
    if len({dtype == jnp.float64 for dtype in dtypes.values()}) > 1:
        told = ", ".join(f"{name} is {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"{told}: float64 is for all of them or none")
