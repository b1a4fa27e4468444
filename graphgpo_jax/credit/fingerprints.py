"""Fingerprints on device: 64 bits, as two uint32 lanes, of a masked sequence.

Two observations are one state of the graph exactly where their fingerprints
are equal. Accelerators have no 64-bit integers by default, so a fingerprint is
a pair of uint32 lanes, mixed with different constants.
"""

import chex
import jax
import jax.numpy as jnp

# Odd constants with well-spread bits; each lane has its own, so that the lanes
# collide independently.
_VALUE_MULTIPLIERS = (0x9E3779B1, 0x85EBCA6B)
_POSITION_MULTIPLIERS = (0xC2B2AE35, 0x27D4EB2F)
_LENGTH_MULTIPLIERS = (0x165667B1, 0xD3A2646D)


def _avalanche(word: chex.Array) -> chex.Array:
  """Bijection of uint32 in which each input bit moves every output bit."""
  word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
  word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
  return word ^ (word >> 16)


def _narrow(values) -> chex.Array:
  """Values as a device array, refusing what 32 bits would cut off."""
  if not hasattr(values, "dtype"):
    return jnp.asarray(values)  # Python integers that are too wide raise here.
  wide = values.dtype.kind in "iu" and values.dtype.itemsize > 4
  if wide and isinstance(values, jax.core.Tracer):
    raise TypeError(
      f"fingerprint takes integers of at most 32 bits, got {values.dtype}; "
      "split each into two words first"
    )
  if wide and values.size:
    low, high = int(values.min()), int(values.max())
    if low < -(2**31) or high >= 2**32 or (low < 0 and high >= 2**31):
      raise ValueError(
        f"fingerprint takes integers of at most 32 bits, got {low} to {high}; "
        "split each into two words first"
      )
    values = values.astype("int32" if low < 0 else "uint32")
  return jnp.asarray(values)


def fingerprint(
  values: chex.Array, mask: chex.Array | None = None
) -> chex.Array:
  """64-bit fingerprint of each masked sequence along the last axis.

  lane_i = mix(sum_k mix(a_i value_k + mix(b_i (k + 1))) + c_i length), where k
  counts the valid positions only. So padding on either side, or in between,
  never changes a fingerprint, while order and length do.

  Args:
    values: integers or booleans [..., L], such as token ids or cells, of at
      most 32 bits. Wider ones on the host are taken where they fit 32 bits.
    mask: bool [..., L], True where valid; everything is valid without it.

  Returns:
    uint32 [..., 2], the two lanes.

  Raises:
    TypeError: `values` are floats; round or view them as integers first. Or
      they are traced integers of more than 32 bits.
    ValueError: `values` on the host do not fit 32 bits.
  """
  values = _narrow(values)
  if not (
    jnp.issubdtype(values.dtype, jnp.integer) or values.dtype == jnp.bool_
  ):
    raise TypeError(
      f"fingerprint takes integers or booleans, got {values.dtype}; "
      "view floats as integers first"
    )
  if mask is None:
    mask = jnp.ones(values.shape, bool)
  chex.assert_equal_shape([values, mask])
  chex.assert_type(mask, bool)
  words = values.astype(jnp.uint32)
  position = jnp.cumsum(mask, axis=-1, dtype=jnp.uint32)
  length = jnp.sum(mask, axis=-1, dtype=jnp.uint32)
  lanes = []
  for value_multiplier, position_multiplier, length_multiplier in zip(
    _VALUE_MULTIPLIERS,
    _POSITION_MULTIPLIERS,
    _LENGTH_MULTIPLIERS,
    strict=True,
  ):
    where = _avalanche(position * jnp.uint32(position_multiplier))
    mixed = _avalanche(words * jnp.uint32(value_multiplier) + where)
    total = jnp.sum(jnp.where(mask, mixed, 0), axis=-1, dtype=jnp.uint32)
    lanes.append(_avalanche(total + length * jnp.uint32(length_multiplier)))
  return jnp.stack(lanes, axis=-1)
