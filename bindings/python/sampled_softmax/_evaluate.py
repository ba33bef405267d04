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
from ._arrays import Array, address, as_array, cast_floats, host, wide_integers
from ._call import frame
from ._errors import error_of
from ._gradients import make_outputs
from ._handle import CPU, Config, Engine, cache
from ._options import Options, Upstream
from ._place import place_of
from ._tensors import Tensors, check_tensors, loss_dtype
from ._update import check_update


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
    place = place_of(options.engine, tensors)
    step = None
    if upstream is not None and upstream.update is not None:
        step = check_update(upstream.update, weights, biases, tensors, place)
    candidates = _candidates(tensors, options)
    tensors = place.take_all(tensors)
    if candidates is not None:
        candidates = Candidates(*(place.take("sampled_values", array) for array in candidates))
    handle = cache.get(_config(options, candidates, place.engine))
    num_rows = tensors.inputs.shape[0]
    reduced = options.reduction != _abi.SSL_REDUCTION_NONE
    loss = place.empty((1 if reduced else num_rows,), loss_dtype(tensors.inputs))
    outputs = None
    with frame() as call:
        tensors.set_batch(call, options.ignore_index)
        if candidates is None:
            number, counts_dtype = options.step or 0, _counts_dtype(loss)
            log_sum_exp = call.draw(
                options.num_sampled, num_rows, tensors.labels.size, counts_dtype, number, place.allocate
            )
        else:
            log_sum_exp = call.log_sum_exp(num_rows, place.allocate)
            call.set_candidates(
                _abi.SSL_CANDIDATES_GIVEN,
                _counts_dtype(candidates.sampled),
                address(candidates.ids),
                address(candidates.sampled),
                address(candidates.true),
            )
        call.fill_loss(0, address(loss), log_sum_exp, place.status)
        if upstream is None:
            call.forward(handle, allocate=place.allocate)
        else:
            shape = () if reduced else (num_rows,)
            outputs = make_outputs(
                tensors, options.num_sampled, upstream.grad_output, shape, upstream.dense, step, place
            )
            outputs.set_gradients(call, tensors)
            call.forward_backward(handle, allocate=place.allocate)
        status = place.wait()
    if status:
        _raise_as_the_cpu_does(status, tensors, options, candidates)
    value = place.give(loss)
    if reduced:
        value = value[0] if isinstance(value, np.ndarray) else value.reshape()
    return value if outputs is None else (value, outputs.result(place))


def _raise_as_the_cpu_does(status: int, tensors: Tensors, options: Options, candidates: Candidates | None) -> None:
    """A device says that something is wrong with its data, the CPU engine says what."""
    if candidates is not None:
        ids, true, sampled = map(host, candidates)
        options = options._replace(sampled_values=(ids, true, sampled))
    evaluate(
        host(tensors.weights),
        None if tensors.biases is None else host(tensors.biases),
        host(tensors.labels),
        host(tensors.inputs),
        options._replace(engine=CPU, sample_weights=None),
        None,
    )
    raise error_of(status, "found on the device, and not by the CPU engine")


def _counts_dtype(array: Array) -> int:
    return _abi.SSL_DTYPE_FLOAT64 if array.dtype == np.float64 else _abi.SSL_DTYPE_FLOAT32


def _config(options: Options, candidates: Candidates | None, engine: Engine) -> Config:
    if isinstance(options.sampler, int) and candidates is None:
        sampler, sampling, seed = options.sampler, _abi.SSL_SAMPLING_UNIQUE, options.seed
    else:
        # Given ids may repeat, and be more than there are classes.
        sampler, sampling, seed = _abi.SSL_SAMPLER_CALLER, _abi.SSL_SAMPLING_REPLACEMENT, 0
    # By position, for speed.
    return Config(
        options.num_classes, options.num_sampled, options.num_true, sampler, sampling, _abi.SSL_COUNTS_TF,
        options.hits, options.reduction, seed, 0, options.probability_floor, engine.backend, engine.device,
        options.num_threads,
    )  # fmt: skip


def _candidates(tensors: Tensors, options: Options) -> Candidates | None:
    """Given or drawn by a sampler object; None where the loss itself is to draw."""
    if options.sampled_values is not None:
        return _given(tensors, options.sampled_values, options.num_sampled)
    sampler = options.sampler
    if isinstance(sampler, int):
        return None
    # Such a sampler lives on the host, whatever the labels do.
    avoid, labels = None, host(tensors.labels)
    if options.hits == _abi.SSL_HITS_EXCLUDE:
        avoid = labels
        if options.ignore_index is not None:
            avoid = avoid[avoid != options.ignore_index]
    ids, true, sampled = sampler.draw(
        "labels", labels, options.step, avoid=avoid, dtype=loss_dtype(tensors.inputs), ignore_index=options.ignore_index
    )
    return Candidates(ids, true, sampled)


def _given(tensors: Tensors, values: Any, num_sampled: int) -> Candidates:
    sampled_candidates, true_expected_count, sampled_expected_count = values
    ids = wide_integers("sampled_candidates", sampled_candidates)
    if ids.shape != (num_sampled,):
        raise ValueError(f"sampled_candidates has shape {ids.shape}; (num_sampled,) = ({num_sampled},) is needed")
    true, sampled = as_array(true_expected_count), as_array(sampled_expected_count)
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
