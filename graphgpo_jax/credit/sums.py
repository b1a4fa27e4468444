"""Sums over segments that stay exact however many entries a segment has.

Adding float32 values one by one loses what lies below the total's last bit:
after some millions of entries a mean is off by whole per cents. Values from 0
to 1 are therefore cut into limbs of a few bits, and the limbs added as
integers, which is exact and does not depend on their order.
"""

import chex
import jax
import jax.numpy as jnp

# Up to so many entries plain float32 sums are off by 1e-5 at most in practice.
PLAIN_LIMIT = 4096

_FRACTION_BITS = 24  # of float32


def segment_range(
  values: chex.Array, segment: chex.Array, *, num_segments: int
) -> tuple[chex.Array, chex.Array]:
  """Least and greatest value of each segment.

  Args:
    values: float32 [E].
    segment: int32 [E]; entries outside [0, num_segments) are left out.
    num_segments: static number of segments, S.

  Returns:
    Two float32 [S]; +inf and -inf for a segment without an entry.
  """
  # The greatest of the negative is the least: one scatter does both.
  both = jnp.stack([-values, values], axis=1)
  if num_segments == 1:
    both = jnp.where((segment == 0)[:, None], both, -jnp.inf)
    bounds = jnp.max(both, axis=0, keepdims=True)
  else:
    bounds = jax.ops.segment_max(both, segment, num_segments)
  return -bounds[:, 0], bounds[:, 1]


def _segment_sum(values, segment, num_segments):
  """`jax.ops.segment_sum`, but a reduction where there is one segment."""
  if num_segments > 1:
    return jax.ops.segment_sum(values, segment, num_segments)
  inside = (segment == 0).reshape(-1, *[1] * (values.ndim - 1))
  return jnp.sum(jnp.where(inside, values, 0), axis=0, keepdims=True)


def segment_sum_of_units(
  units: chex.Array, segment: chex.Array, *, num_segments: int
) -> chex.Array:
  """Sum of the values of each segment, values from 0 to 1.

  Up to `PLAIN_LIMIT` entries in all the values are added in float32. Beyond,
  each is cut into limbs of b bits such that E limbs fit into int32, down to a
  remainder that adds less than 2^-24 to any sum.

  Args:
    units: float32 [E, ...], each from 0 to 1.
    segment: int32 [E]; entries outside [0, num_segments) are left out.
    num_segments: static number of segments, S.

  Returns:
    float32 [S, ...].
  """
  chex.assert_rank(segment, 1)
  chex.assert_equal_shape_prefix([units, segment], 1)
  if units.shape[0] <= PLAIN_LIMIT:
    return _segment_sum(units, segment, num_segments)
  size_bits = (units.shape[0] - 1).bit_length()
  limb_bits = 30 - size_bits
  if limb_bits < 1:
    raise ValueError(f"at most 2**29 entries fit, got {units.shape[0]}")
  num_limbs = -(-(_FRACTION_BITS + size_bits) // limb_bits)
  total = jnp.zeros((num_segments, *units.shape[1:]), jnp.float32)
  rest, scale = units, 1.0
  for _ in range(num_limbs):
    # Exact: times a power of two, and the parts before and after the point.
    rest = rest * 2.0**limb_bits
    limb = jnp.floor(rest)
    rest = rest - limb
    scale *= 2.0**-limb_bits
    added = _segment_sum(limb.astype(jnp.int32), segment, num_segments)
    total = total + scale * added.astype(jnp.float32)
  return total
