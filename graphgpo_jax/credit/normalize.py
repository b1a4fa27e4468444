"""Against what a step is compared: normalisers over segments of the steps.

A normaliser is called as `normalize(values, segment, mask, weight,
num_segments=..., center_singletons=...)`: `mean_std`, `fixed_floor` and
`mean_only`. Further keywords, such as epsilon, are fixed with
`functools.partial` where one is passed as a strategy.
"""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import sums


@chex.dataclass(frozen=True)
class _Statistics:
  """What each of E entries is compared with, its segment's statistics."""

  place: chex.Array  # int32 [E], the segment; S, dropped, for those outside
  weight: chex.Array  # float32 [E], from 0 to 1
  mask: chex.Array  # bool [E], gets a result
  deviation: chex.Array  # float32 [E], (x - mean) / scale
  scale: chex.Array  # float32 [E], at least greatest minus least; 1 where 0
  number: chex.Array  # float32 [E], observations
  level: chex.Array  # bool [E], all values that count are equal


def _power_of_two_above(values):
  """The least power of two above each positive float32."""
  # Cheaper than frexp and ldexp: the exponent's bits, and one more.
  bits = jax.lax.bitcast_convert_type(values, jnp.int32) & 0x7F800000
  least_normal = jnp.int32(1 << 23)
  floor = jax.lax.bitcast_convert_type(
    jnp.maximum(bits, least_normal), jnp.float32
  )
  return 2.0 * floor


def _statistics(values, segment, mask, weight, num_segments):
  """Deviations from the mean in units of the segment's scale."""
  chex.assert_rank([values, segment, mask, weight], 1)
  chex.assert_equal_shape([values, segment, mask, weight])
  chex.assert_type(mask, bool)
  inside = (segment >= 0) & (segment < num_segments)
  place = jnp.where(inside, segment, num_segments)
  weight = jnp.where(inside, weight, 0.0).astype(jnp.float32)
  counted = weight > 0

  lowest, highest = sums.segment_range(
    values,
    jnp.where(counted, place, num_segments),
    num_segments=num_segments,
  )
  # The bounds of a segment without an entry cross.
  level = lowest >= highest
  # A power of two, so that dividing by it rounds nothing.
  scale = _power_of_two_above(jnp.where(level, 0.5, highest - lowest))[place]
  # Seen from the least value: the mean of values that differ in their last
  # digits alone would lose just these.
  units = (values - jnp.where(level, 0.0, lowest)[place]) / scale
  level = level[place]
  inner = jnp.where(counted & ~level, jnp.clip(units, 0.0, 1.0), 0.0)
  number, total = jnp.unstack(
    sums.segment_sum_of_units(
      jnp.stack([weight, weight * inner], axis=1),
      place,
      num_segments=num_segments,
    ),
    axis=1,
  )
  mean = total / jnp.where(number > 0, number, 1.0)
  return _Statistics(
    place=place,
    weight=weight,
    mask=mask & inside,
    deviation=jnp.where(mask | counted, units - mean[place], 0.0),
    scale=scale,
    number=number[place],
    level=level,
  )


def _standard_deviation(found, num_segments, ddof):
  """Of each entry's segment, float32 [E], in the unit of the values."""
  squares = sums.segment_sum_of_units(
    jnp.where(found.level, 0.0, found.weight * found.deviation**2),
    found.place,
    num_segments=num_segments,
  )
  return found.scale * jnp.sqrt(
    squares[found.place] / jnp.maximum(found.number - ddof, 1.0)
  )


def mean_std(
  values: chex.Array,
  segment: chex.Array,
  mask: chex.Array,
  weight: chex.Array,
  *,
  num_segments: int,
  ddof: int = 1,
  epsilon: float = 1e-6,
  center_singletons: bool = True,
) -> chex.Array:
  """Deviation from the segment's mean in units of its standard deviation.

  A = (x - mean) / (std + epsilon), statistics over the weighted entries of the
  segment. Where they are all equal the result is exactly 0: the mean of equal
  float32 values can miss them by as much as epsilon, and that noise divided by
  epsilon would be an advantage.

  Args:
    values: float32 [E].
    segment: int32 [E] in [0, num_segments); entries outside get 0.
    mask: bool [E], entries that get a result; others are 0.
    weight: float32 or bool [E], from 0 to 1: how much an entry counts in the
      statistics. 1 for every step, or for one step of each rollout, or shares
      that add up to 1 for each distinct edge. Their sum is the number of
      observations.
    num_segments: static number of segments.
    ddof: 1 for the sample's deviation (the recipe), 0 for the population's.
    epsilon: keeps small deviations from being blown up.
    center_singletons: a segment with one observation gives 0. If False it
      has mean 0 and deviation 1, as the recipe has it for a whole task.

  Returns:
    float32 [E], no unit. No gradient flows through it.
  """
  found = _statistics(values, segment, mask, weight, num_segments)
  std = _standard_deviation(found, num_segments, ddof)
  result = found.scale * found.deviation / (std + epsilon)
  result = jnp.where(found.level, 0.0, result)
  if not center_singletons:
    alone = (found.number > 0) & (found.number < 1.5)
    result = jnp.where(alone, values / (1.0 + epsilon), result)
  return jax.lax.stop_gradient(jnp.where(found.mask, result, 0.0))


def fixed_floor(
  values: chex.Array,
  segment: chex.Array,
  mask: chex.Array,
  weight: chex.Array,
  *,
  num_segments: int,
  floor: float = 0.1,
  ddof: int = 0,
  center_singletons: bool = True,
) -> chex.Array:
  """Deviation from the mean in units of a deviation of at least the floor.

  A = (x - mean) / max(std, floor): small differences stay small, where
  `mean_std` would blow them up to unit size. Exactly 0 where the values that
  count in a segment are all equal.

  Args:
    values: float32 [E].
    segment: int32 [E] in [0, num_segments); entries outside get 0.
    mask: bool [E], entries that get a result; others are 0.
    weight: float32 or bool [E], from 0 to 1: how much an entry counts in the
      statistics; see `mean_std`.
    num_segments: static number of segments.
    floor: least deviation that is divided by, above 0, in the unit of
      `values`.
    ddof: 0 for the population's deviation, 1 for the sample's.
    center_singletons: a segment with one observation gives 0. If False it
      has mean 0 and deviation 1.

  Returns:
    float32 [E], no unit. No gradient flows through it.

  Reference: arXiv 2609.35082 (CRBC).
  """
  found = _statistics(values, segment, mask, weight, num_segments)
  std = _standard_deviation(found, num_segments, ddof)
  result = found.scale * found.deviation / jnp.maximum(std, floor)
  result = jnp.where(found.level, 0.0, result)
  if not center_singletons:
    alone = (found.number > 0) & (found.number < 1.5)
    result = jnp.where(alone, values / jnp.maximum(floor, 1.0), result)
  return jax.lax.stop_gradient(jnp.where(found.mask, result, 0.0))


def mean_only(
  values: chex.Array,
  segment: chex.Array,
  mask: chex.Array,
  weight: chex.Array,
  *,
  num_segments: int,
  center_singletons: bool = True,
) -> chex.Array:
  """Deviation from the segment's mean: A = x - mean.

  Exactly 0 where the values that count in a segment are all equal.

  Args:
    values: float32 [E].
    segment: int32 [E] in [0, num_segments); entries outside get 0.
    mask: bool [E], entries that get a result; others are 0.
    weight: float32 or bool [E], from 0 to 1: how much an entry counts in the
      mean.
    num_segments: static number of segments.
    center_singletons: a segment with one observation gives 0; if False its
      value itself.

  Returns:
    float32 [E], in the unit of `values`. No gradient flows through it.
  """
  found = _statistics(values, segment, mask, weight, num_segments)
  result = jnp.where(found.level, 0.0, found.scale * found.deviation)
  if not center_singletons:
    alone = (found.number > 0) & (found.number < 1.5)
    result = jnp.where(alone, values, result)
  return jax.lax.stop_gradient(jnp.where(found.mask, result, 0.0))


def leave_one_out(
  values: chex.Array, mask: chex.Array, weight: chex.Array
) -> chex.Array:
  """Value minus the mean of the others' values.

  A_m = x_m - (sum_{k != m} x_k) / (M - 1); 0 for M = 1, and exactly 0 where
  all values that count are equal.

  Args:
    values: float32 [E], one value per rollout, repeated on its steps.
    mask: bool [E], entries that get a result; others are 0.
    weight: float32 or bool [E], 1 on one entry per rollout, else 0.

  Returns:
    float32 [E], in the unit of `values`. No gradient flows through it.

  Reference: arXiv 2402.14740 (RLOO).
  """
  one = jnp.zeros(values.shape, jnp.int32)
  centered = mean_only(values, one, mask, weight, num_segments=1)
  number = jnp.sum(weight, dtype=jnp.float32)
  return centered * number / jnp.maximum(number - 1.0, 1.0)
