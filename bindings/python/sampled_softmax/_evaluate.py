"""One evaluation of the loss: arrays, candidates, the call, the results.

`losses` has the public faces; they differ in what they let the caller choose, and meet
here. Shapes and dtypes are checked before the library is called, everything that lies
in the arrays (labels, ids, expected counts) by the library.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _abi
from ._arrays import Array, address, cast_floats, integers
from ._call import frame
from ._gradients import make_outputs
from ._handle import Config, cache
from ._options import Options, Upstream
from ._tensors import Tensors, check_tensors


class Candidates(NamedTuple):
    """Candidates that are known before the call; counts of one dtype."""

    ids: Array
    true: Array
    sampled: Array


def evaluate(
    weights: ArrayLike,
    biases: ArrayLike | None,
    labels: ArrayLike,
    inputs: ArrayLike,
    options: Options,
    upstream: Upstream | None,
) -> Any:
    """The loss, or (loss, `Gradients`) where there is an upstream."""
    tensors = check_tensors(
        weights, biases, labels, inputs, options.num_classes, options.num_true, options.sample_weights
    )
    candidates = _candidates(tensors, options)
    handle = cache.get(_config(options, candidates))
    num_rows = tensors.inputs.array.shape[0]
    reduced = options.reduction != _abi.SSL_REDUCTION_NONE
    loss = np.empty(1 if reduced else num_rows, dtype=tensors.dtype)
    with frame() as call:
        tensors.set_batch(call.batch, options.ignore_index)
        call.set_loss(address(loss), None)
        if candidates is None:
            call.draw(options.num_sampled, num_rows, tensors.labels.size, _counts_dtype(loss), options.step or 0)
        else:
            call.keep_log_sum_exp(num_rows)
            call.set_candidates(
                _abi.SSL_CANDIDATES_GIVEN,
                _counts_dtype(candidates.sampled),
                address(candidates.ids),
                address(candidates.sampled),
                address(candidates.true),
            )
        if upstream is None:
            call.forward(handle)
            return loss[0] if reduced else loss
        shape = () if reduced else (num_rows,)
        outputs = make_outputs(tensors, options.num_sampled, upstream.grad_output, shape, upstream.dense)
        outputs.set_gradients(call, tensors)
        call.forward_backward(handle)
        return (loss[0] if reduced else loss), outputs.result(call.num_rows.value)


def _counts_dtype(array: Array) -> int:
    return _abi.SSL_DTYPE_FLOAT64 if array.dtype == np.float64 else _abi.SSL_DTYPE_FLOAT32


def _config(options: Options, candidates: Candidates | None) -> Config:
    if isinstance(options.sampler, int) and candidates is None:
        sampler, sampling, seed = options.sampler, _abi.SSL_SAMPLING_UNIQUE, options.seed
    else:
        # Given ids may repeat, and be more than there are classes.
        sampler, sampling, seed = _abi.SSL_SAMPLER_CALLER, _abi.SSL_SAMPLING_REPLACEMENT, 0
    return Config(
        num_classes=options.num_classes,
        num_sampled=options.num_sampled,
        num_true=options.num_true,
        sampler=sampler,
        sampling=sampling,
        hits=options.hits,
        reduction=options.reduction,
        seed=seed,
        probability_floor=options.probability_floor,
        backend=options.engine.backend,
        device=options.engine.device,
        num_threads=options.num_threads,
    )


def _candidates(tensors: Tensors, options: Options) -> Candidates | None:
    """Given or drawn by a sampler object; None where the loss itself is to draw."""
    if options.sampled_values is not None:
        return _given(tensors, options.sampled_values, options.num_sampled)
    sampler = options.sampler
    if isinstance(sampler, int):
        return None
    avoid = None
    if options.hits == _abi.SSL_HITS_EXCLUDE:
        avoid = tensors.labels
        if options.ignore_index is not None:
            avoid = avoid[avoid != options.ignore_index]
    ids, true, sampled = sampler.draw(
        "labels", tensors.labels, options.step, avoid=avoid, dtype=tensors.dtype, ignore_index=options.ignore_index
    )
    return Candidates(ids, true, sampled)


def _given(tensors: Tensors, values: Any, num_sampled: int) -> Candidates:
    sampled_candidates, true_expected_count, sampled_expected_count = values
    ids = integers("sampled_candidates", sampled_candidates).astype(np.int64, copy=False)
    if ids.shape != (num_sampled,):
        raise ValueError(f"sampled_candidates has shape {ids.shape}; (num_sampled,) = ({num_sampled},) is needed")
    true, sampled = np.asarray(true_expected_count), np.asarray(sampled_expected_count)
    dtype: np.dtype[Any] = np.dtype(np.float32)
    if true.dtype.itemsize > 4 or sampled.dtype.itemsize > 4:
        dtype = np.dtype(np.float64)
    shape = tensors.labels.shape
    if true.ndim == 1 and shape[1] == 1:
        true = true.reshape(-1, 1)
    return Candidates(
        ids,
        cast_floats("true_expected_count", true, dtype, shape),
        cast_floats("sampled_expected_count", sampled, dtype, (num_sampled,)),
    )
