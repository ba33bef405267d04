"""One call of a handler: platforms, workspace, aliases, mesh axes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import _abi
from .._library import LIBRARY
from . import _shim

FLOATS = {
    "float32": _abi.SSL_DTYPE_FLOAT32,
    "float16": _abi.SSL_DTYPE_FLOAT16,
    "bfloat16": _abi.SSL_DTYPE_BFLOAT16,
    "float64": _abi.SSL_DTYPE_FLOAT64,
}


class Program(NamedTuple):
    """What of a call is fixed when it is traced."""

    fields: tuple[int, ...]
    """``ssl_config`` by value."""
    unigrams: str = ""
    ignore_index: int | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """The handlers' attributes."""
        return {
            "config": np.array(self.fields, np.int64),
            "unigrams": self.unigrams,
            "has_ignore_index": np.int64(self.ignore_index is not None),
            "ignore_index": np.int64(self.ignore_index or 0),
        }

    def prepare(self) -> None:
        """Makes the handles, on the CPU and on this process's GPUs."""
        _shim.prepare(self.fields, self.unigrams)
        for device in cuda_devices():
            _shim.prepare(self.fields, self.unigrams, _abi.SSL_BACKEND_CUDA, device)


@functools.cache
def cuda_devices() -> tuple[int, ...]:
    """Ordinals of the GPUs of this process; none where the library cannot use them."""
    if not LIBRARY.ssl_backend_available(_abi.SSL_BACKEND_CUDA):
        return ()
    try:
        devices = jax.local_devices(backend="cuda")
    except RuntimeError:
        return ()
    return tuple(device.local_hardware_id for device in devices)


def varying_axes(arrays: Sequence[jax.Array]) -> frozenset[str]:
    """Mesh axes of ``shard_map`` along which any of the arrays differs."""
    return frozenset().union(*(_axes_of(jax.typeof(array)) for array in arrays))


def alike(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """The arrays, each taken to differ along all axes along which any does.

    What is replicated is so made into what each device holds for itself; the transpose
    of that, in a gradient, is the sum over the devices.
    """
    axes = varying_axes(arrays)
    return [_varying(array, axes) for array in arrays]


def call(
    name: str,
    program: Program,
    args: Sequence[jax.Array],
    results: Sequence[tuple[tuple[int, ...], Any]],
    rooms: Sequence[int] = (),
    room_on_cpu: bool = True,
) -> tuple[jax.Array, ...]:
    """Calls a handler that needs no workspace, or, where `args` begin with the eight
    operands of a loss, one that does.

    Args:
        results: (shape, dtype) of each.
        rooms: results that the library adds into: for each, in this order, an argument
            of zeros follows `args`, and shares its memory.
        room_on_cpu: whether the rooms are needed on the CPU, too; if not, arguments of
            no elements stand for them there.
    """
    args = alike(args)
    axes = varying_axes(args)
    needs_workspace = name not in ("sample", "sample_on_device", "learn")

    def on(platform: str) -> Callable[..., tuple[jax.Array, ...]]:
        with_rooms = room_on_cpu or platform != "cpu"
        size = _workspace(program, args) if needs_workspace and platform != "cpu" else 0
        outputs = [*results, *([((size,), jnp.uint8)] if needs_workspace else [])]
        shapes = [_result(shape, dtype, args[0]) for shape, dtype in outputs]
        aliases = {len(args) + i: result for i, result in enumerate(rooms)} if with_rooms else {}

        def run(*args: jax.Array) -> tuple[jax.Array, ...]:
            zeros = [jnp.zeros(results[i][0] if with_rooms else (0,), results[i][1]) for i in rooms]
            zeros = [_varying(zero, axes) for zero in zeros]
            made = jax.ffi.ffi_call(_shim.target(name), shapes, input_output_aliases=aliases, vmap_method="sequential")
            return tuple(made(*args, *zeros, **program.attributes))[: len(results)]

        return run

    if not cuda_devices():
        return on("cpu")(*args)
    return jax.lax.platform_dependent(*args, cpu=on("cpu"), cuda=on("cuda"))


def _workspace(program: Program, operands: Sequence[jax.Array]) -> int:
    """Bytes of workspace on a GPU: the most that any of them asks for."""
    inputs, weights, biases = operands[:3]
    if inputs.dtype == jnp.float64:
        # The CUDA engine has no float64, and says so when it is asked to run.
        return 0
    batch = _abi.ssl_batch(
        num_rows=inputs.shape[0],
        dim=inputs.shape[1],
        inputs_dtype=FLOATS[inputs.dtype.name],
        weights_dtype=FLOATS[weights.dtype.name],
        biases_dtype=FLOATS[biases.dtype.name],
    )
    return max(_shim.prepare(program.fields, "", _abi.SSL_BACKEND_CUDA, device, batch) for device in cuda_devices())


def _result(shape: tuple[int, ...], dtype: Any, like: jax.Array) -> jax.ShapeDtypeStruct:
    """A result that differs along the mesh axes along which `like` does."""
    typed = jax.typeof(like)
    if not _axes_of(typed):
        return jax.ShapeDtypeStruct(shape, dtype)
    mesh = jax.sharding.NamedSharding(jax.sharding.get_abstract_mesh(), jax.sharding.PartitionSpec())
    name = "manual_axis_type" if hasattr(typed, "manual_axis_type") else "vma"
    return jax.ShapeDtypeStruct(shape, dtype, sharding=mesh, **{name: getattr(typed, name)})


def _axes_of(typed: Any) -> frozenset[str]:
    # JAX renamed it in 0.10. Where it is neither, that must fail: axes that go unseen
    # are gradients that are not summed over the devices.
    axes: frozenset[str] = typed.manual_axis_type.varying if hasattr(typed, "manual_axis_type") else typed.vma
    return axes


def _varying(array: jax.Array, axes: frozenset[str]) -> jax.Array:
    missing = axes - varying_axes([array])
    return jax.lax.pcast(array, tuple(sorted(missing)), to="varying") if missing else array
