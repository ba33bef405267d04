"""64-bit numbers as pairs of 32-bit words, the low one first.

The library's ids and steps have 64 bits, and JAX has no such type unless
``jax_enable_x64`` is on. Between JAX and the library they are therefore uint32 [..., 2]
always, the memory of a little-endian 64-bit integer.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def has_64_bits() -> bool:
    """Whether ``jax_enable_x64`` is on, here and now."""
    return jax.dtypes.canonicalize_dtype(np.int64) == np.int64


def to_words(integers: jax.Array) -> jax.Array:
    """[...] integers of any dtype as words [..., 2]."""
    dtype = integers.dtype
    if dtype.itemsize == 8:
        return jax.lax.bitcast_convert_type(integers, jnp.uint32)
    if jnp.issubdtype(dtype, jnp.unsignedinteger):
        low = integers.astype(jnp.uint32)
        return jnp.stack([low, jnp.zeros_like(low)], axis=-1)
    signed = integers.astype(jnp.int32)
    high = signed >> 31
    return jax.lax.bitcast_convert_type(jnp.stack([signed, high], axis=-1), jnp.uint32)


def from_words(words: jax.Array) -> jax.Array:
    """Words [..., 2] as int64 [...], or as int32 where JAX has no int64.

    Numbers must then fit int32: `losses` and `samplers` see to it that there are no
    more classes than that.
    """
    if has_64_bits():
        return jax.lax.bitcast_convert_type(words, jnp.int64)
    return jax.lax.bitcast_convert_type(words[..., 0], jnp.int32)


def words_of(number: int) -> np.ndarray:
    """[2] words of an integer 0 .. 2^64 - 1."""
    return np.array([number & 0xFFFFFFFF, number >> 32], np.uint32)
