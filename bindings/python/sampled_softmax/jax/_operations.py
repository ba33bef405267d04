"""The operations of the library on traced arrays, and what ``vmap`` makes of them.

`bindings/jax/sampled_softmax_jax.cc` has the other side: the order of arguments and
results is its. An array of no elements stands for what is not there or not wanted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import _abi
from ._calls import Program, call


class Operands(NamedTuple):
    """What a loss is computed of."""

    inputs: jax.Array
    weights: jax.Array
    biases: jax.Array
    labels: jax.Array
    sample_weights: jax.Array
    ids: jax.Array
    """[S, 2] words."""
    true_count: jax.Array
    sampled_count: jax.Array

    @property
    def dtype(self) -> Any:
        """Of the loss."""
        return jnp.float64 if self.inputs.dtype == jnp.float64 else jnp.float32


# Of the operands, those that have an element or a row for each row of the inputs.
_ROW_OPERANDS = (0, 3, 4, 6)


class Loss(NamedTuple):
    """A program of the loss and which gradients it gives."""

    program: Program
    d_inputs: bool = True
    d_weights: bool = True
    d_biases: bool = True
    dense: bool = False

    @property
    def reduced(self) -> bool:
        """Whether the loss is a scalar."""
        return self.program.fields[7] != _abi.SSL_REDUCTION_NONE


def forward(loss: Loss, operands: Operands) -> tuple[jax.Array, jax.Array]:
    """The loss, [N] or [], and log-sum-exps for `backward`, [N, 2] words."""
    return tuple(_forward(Loss(loss.program))(*operands))


def backward(
    loss: Loss, operands: Operands, log_sum_exp: jax.Array, grad_output: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Gradients of inputs, weights and biases, and the rows' ids [capacity, 2] words if
    sparse. `grad_output` has the shape and dtype of the loss."""
    return tuple(_backward(loss)(*operands, log_sum_exp, grad_output))


def forward_backward(loss: Loss, operands: Operands, grad_output: jax.Array) -> tuple[jax.Array, ...]:
    """The loss, and what `backward` gives."""
    return tuple(_forward_backward(loss)(*operands, grad_output))


@functools.partial(jax.jit, static_argnums=(0, 3))
def sample(program: Program, labels: jax.Array, step: jax.Array, dtype: Any) -> tuple[jax.Array, ...]:
    """Ids [S, 2] words, expected counts [N, T] and [S] of `dtype`; `step` is [2] words."""
    return tuple(_sample(program, dtype)(labels, step))


@functools.partial(jax.jit, static_argnums=0)
def learn(program: Program, labels: jax.Array, step: jax.Array, counts: jax.Array) -> tuple[jax.Array, ...]:
    """`sample` in float32 from learned counts [C, 2] words, then the new counts."""
    results = [((program.fields[1], 2), jnp.uint32), (labels.shape, jnp.float32)]
    results += [((program.fields[1],), jnp.float32), (counts.shape, jnp.uint32)]
    return call("learn", program, [labels, step, counts], results)


# A function is made once for what it is of, so that JAX finds what it has compiled for it.
@functools.lru_cache(maxsize=1024)
def _sample(program: Program, dtype: Any) -> Callable[..., Any]:
    num_sampled, hits = program.fields[1], program.fields[6]
    name = "sample_on_device" if program.fields[12] == _abi.SSL_GENERATOR_PHILOX else "sample"

    def run(labels: jax.Array, step: jax.Array) -> tuple[jax.Array, ...]:
        results = [((num_sampled, 2), jnp.uint32), (labels.shape, dtype), ((num_sampled,), dtype)]
        return call(name, program, [labels, step], results)

    # Where labels are excluded, each batch has a draw of its own.
    return _by_rows(run, (0,), (False, True, False), together=hits != _abi.SSL_HITS_EXCLUDE)


@functools.lru_cache(maxsize=1024)
def _forward(loss: Loss) -> Callable[..., Any]:
    def run(*args: jax.Array) -> tuple[jax.Array, ...]:
        operands = Operands(*args)
        num_rows = operands.inputs.shape[0]
        results = [(() if loss.reduced else (num_rows,), operands.dtype), ((num_rows, 2), jnp.uint32)]
        return call("forward", loss.program, args, results)

    return _once(_by_rows(run, _ROW_OPERANDS, (True, True), together=not loss.reduced))


@functools.lru_cache(maxsize=1024)
def _backward(loss: Loss) -> Callable[..., Any]:
    def run(*args: jax.Array) -> tuple[jax.Array, ...]:
        results = _gradients(loss, Operands(*args[:8]))
        d_inputs, d_weights, d_biases, ids, _ = call(
            "backward", loss.program, args, results, rooms=(1, 2), room_on_cpu=loss.dense
        )
        return d_inputs, d_weights, d_biases, ids

    inputs_alone = not loss.reduced and not loss.d_weights and not loss.d_biases
    batched = _by_rows(run, (*_ROW_OPERANDS, 8, 9), (True, False, False, False), together=inputs_alone)
    return _once(batched)


@functools.lru_cache(maxsize=1024)
def _forward_backward(loss: Loss) -> Callable[..., Any]:
    def run(*args: jax.Array) -> tuple[jax.Array, ...]:
        operands = Operands(*args[:8])
        num_rows = operands.inputs.shape[0]
        results = [(() if loss.reduced else (num_rows,), operands.dtype), ((num_rows, 2), jnp.uint32)]
        value, _, d_inputs, d_weights, d_biases, ids, _ = call(
            "forward_backward",
            loss.program,
            args,
            results + _gradients(loss, operands),
            rooms=(3, 4),
            room_on_cpu=loss.dense,
        )
        return value, d_inputs, d_weights, d_biases, ids

    return _once(_by_rows(run, (), (), together=False))


def _gradients(loss: Loss, operands: Operands) -> list[tuple[tuple[int, ...], Any]]:
    """Shapes and dtypes of d_inputs, d_weights, d_biases, row ids, number of rows."""
    inputs, weights, biases = operands.inputs, operands.weights, operands.biases
    num_classes, dim = weights.shape
    rows = num_classes if loss.dense else min(num_classes, operands.ids.shape[0] + operands.labels.size)
    d_weights, d_biases = loss.d_weights, loss.d_biases and biases.size > 0
    sparse = not loss.dense and (d_weights or d_biases)
    return [
        (inputs.shape if loss.d_inputs else (0,), inputs.dtype),
        ((rows, dim) if d_weights else (0,), weights.dtype),
        ((rows,) if d_biases else (0,), biases.dtype),
        ((rows if sparse else 0, 2), jnp.uint32),
        ((1 if sparse else 0, 2), jnp.uint32),
    ]


def _by_rows(
    run: Callable[..., Any], row_args: Sequence[int], row_results: Sequence[bool], together: bool
) -> Callable[..., Any]:
    """`run` with a rule for ``vmap``: where `together` and nothing but row arguments is
    mapped, all rows are one call, and results that belong to no row are not mapped; else
    there is one call after another, and all are.
    """
    mapped = jax.custom_batching.custom_vmap(run)

    @mapped.def_vmap
    def rule(axis_size: int, in_batched: Sequence[bool], *args: jax.Array) -> tuple[Any, Any]:
        if together and not any(is_mapped for i, is_mapped in enumerate(in_batched) if i not in row_args):
            merged = [
                _merge(arg, is_mapped, axis_size) if i in row_args else arg
                for i, (arg, is_mapped) in enumerate(zip(args, in_batched, strict=True))
            ]
            results = mapped(*merged)
            split = [
                result.reshape(axis_size, result.shape[0] // axis_size, *result.shape[1:]) if of_rows else result
                for result, of_rows in zip(results, row_results, strict=True)
            ]
            return tuple(split), tuple(row_results)

        def one(some: list[jax.Array]) -> tuple[jax.Array, ...]:
            rest = iter(some)
            both = zip(args, in_batched, strict=True)
            return mapped(*(next(rest) if is_mapped else arg for arg, is_mapped in both))

        results = jax.lax.map(one, [arg for arg, is_mapped in zip(args, in_batched, strict=True) if is_mapped])
        return results, tuple(True for _ in results)

    return mapped


def _merge(arg: jax.Array, is_mapped: bool, axis_size: int) -> jax.Array:
    """[B, N, ...] as [B N, ...]; what is not mapped is repeated, and what is absent stays."""
    if not is_mapped:
        if arg.ndim == 1 and arg.size == 0:
            return arg
        arg = jnp.broadcast_to(arg, (axis_size, *arg.shape))
    return arg.reshape(arg.shape[0] * arg.shape[1], *arg.shape[2:])


def _once(run: Callable[..., Any]) -> Callable[..., Any]:
    """`run`, whose derivative is refused by a name that its caller knows."""
    refusing = jax.custom_vjp(run)

    def refuse(*_: Any) -> Any:
        raise NotImplementedError(
            "sampled_softmax.jax: the loss has first derivatives only, and what value_and_grad returns has none"
        )

    refusing.defvjp(refuse, refuse)
    return refusing
