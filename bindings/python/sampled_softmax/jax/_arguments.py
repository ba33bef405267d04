"""What callers pass, as arrays of JAX, checked against one another."""

from __future__ import annotations

from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._arrays import integer
from .._seed import MOST
from ._calls import FLOATS
from ._words import has_64_bits, to_words, words_of


def array(name: str, value: Any) -> jax.Array:
    """Raises TypeError for what is no array."""
    if value is None:
        raise TypeError(f"{name} is None; an array is needed")
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.dtype.itemsize == 8:
        _fits(name, value)
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} is a {type(value).__name__}, which is no array: {error}") from None


def floats(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> jax.Array:
    """An array of a dtype that the library computes in."""
    checked = array(name, value)
    if checked.dtype.name not in FLOATS:
        raise TypeError(f"{name} has dtype {checked.dtype}; float32, float16, bfloat16 or float64 is needed")
    if shape is not None and checked.shape != shape:
        raise ValueError(f"{name} has shape {checked.shape}; {shape} is needed")
    return checked


def cast_floats(name: str, value: ArrayLike, dtype: Any, shape: tuple[int, ...]) -> jax.Array:
    """Real numbers of any dtype as `dtype`, and a constant to ``jax.grad``."""
    checked = array(name, value)
    if not (jnp.issubdtype(checked.dtype, jnp.floating) or jnp.issubdtype(checked.dtype, jnp.integer)):
        raise TypeError(f"{name} has dtype {checked.dtype}; real numbers are needed")
    if checked.shape != shape:
        raise ValueError(f"{name} has shape {checked.shape}; {shape} is needed")
    return jax.lax.stop_gradient(checked.astype(dtype))


def integers(name: str, value: ArrayLike) -> jax.Array:
    """Integers; raises TypeError for other dtypes."""
    checked = array(name, value)
    if not jnp.issubdtype(checked.dtype, jnp.integer):
        # An empty list is of a floating dtype; there is nothing in it to misread.
        if checked.size == 0 and not isinstance(value, (np.ndarray, jax.Array)):
            return checked.astype(jnp.int32)
        raise TypeError(f"{name} has dtype {checked.dtype}; integers are needed")
    return checked


def labels(name: str, value: ArrayLike, num_true: int) -> jax.Array:
    """[N, num_true], int32 or int64; [N] is taken as [N, 1] if num_true is 1."""
    checked = integers(name, value)
    if checked.ndim == 1 and num_true == 1:
        checked = checked.reshape(-1, 1)
    if checked.ndim != 2 or checked.shape[1] != num_true:
        raise ValueError(
            f"{name} has shape {checked.shape}; num_true = {num_true} columns are needed, or a vector if num_true is 1"
        )
    if checked.dtype in (jnp.int32, jnp.int64):
        return checked
    return checked.astype(jnp.int64 if checked.dtype.itemsize >= 4 and has_64_bits() else jnp.int32)


def step_words(step: SupportsIndex | jax.Array) -> jax.Array:
    """[2] words of a step: an integer 0 .. 2^64 - 1, or a scalar array of integers, which
    may be traced. Raises TypeError and ValueError."""
    if not isinstance(step, (jax.Array, np.ndarray)):
        return jnp.asarray(words_of(integer("step", step, 0, MOST)))
    checked = integers("step", step)
    if checked.shape != ():
        raise ValueError(f"step has shape {checked.shape}; a scalar is needed")
    return to_words(checked)


def classes(name: str, value: SupportsIndex) -> int:
    """A number of classes whose ids JAX has a type for."""
    number = integer(name, value)
    if number > np.iinfo(np.int32).max and not has_64_bits():
        raise ValueError(f"{name} = {number} is greater than {np.iinfo(np.int32).max}: turn jax_enable_x64 on")
    return number


def _fits(name: str, value: np.ndarray) -> None:
    """JAX would keep the low 32 bits, and so make one class of another."""
    if value.size == 0 or has_64_bits():
        return
    least, most = int(value.min()), int(value.max())
    if least < np.iinfo(np.int32).min or most > np.iinfo(np.int32).max:
        worst = most if most > np.iinfo(np.int32).max else least
        raise ValueError(f"{name} has {worst}, which does not fit int32: turn jax_enable_x64 on")
