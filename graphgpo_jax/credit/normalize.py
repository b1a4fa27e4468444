"""Against what a step is compared: normalisers over segments of the steps.

A normaliser is called as `normalize(values, segment, mask, weight,
num_segments=..., center_singletons=...)`: `mean_std` and `mean_only` are the
two. Further keywords, such as epsilon, are fixed with `functools.partial` where
one is passed as a strategy.
"""

import chex
import jax
import jax.numpy as jnp


def _statistics(values, segment, mask, weight, num_segments):
  """Mean, number and equality of the weighted values, spread to each entry."""
  chex.assert_rank([values, segment, mask, weight], 1)
  chex.assert_equal_shape([values, segment, mask, weight])
  chex.assert_type(mask, bool)
  inside = (segment >= 0) & (segment < num_segments)
  place = jnp.where(inside, segment, num_segments)
  weight = jnp.where(inside, weight, 0.0).astype(jnp.float32)
  counted = weight > 0

  def per_segment(reduce, entries, fill):
    return reduce(jnp.where(counted, entries, fill), place, num_segments + 1)

  number = per_segment(jax.ops.segment_sum, weight, 0.0)
  total = per_segment(jax.ops.segment_sum, weight * values, 0.0)
  highest = per_segment(jax.ops.segment_max, values, -jnp.inf)
  lowest = per_segment(jax.ops.segment_min, values, jnp.inf)
  mean = total / jnp.where(number > 0, number, 1.0)
  level = (highest == lowest) | (number == 0.0)
  return place, weight, mask & inside, mean[place], number[place], level[place]


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
    weight: float32 or bool [E], at least 0: how much an entry counts in the
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
  place, weight, mask, mean, number, level = _statistics(
    values, segment, mask, weight, num_segments
  )
  deviation = jnp.where(mask | (weight > 0), values - mean, 0.0)
  squares = jax.ops.segment_sum(weight * deviation**2, place, num_segments + 1)
  std = jnp.sqrt(squares[place] / jnp.maximum(number - ddof, 1.0))
  result = jnp.where(level, 0.0, deviation / (std + epsilon))
  if not center_singletons:
    result = jnp.where(
      (number > 0) & (number < 1.5), values / (1.0 + epsilon), result
    )
  return jax.lax.stop_gradient(jnp.where(mask, result, 0.0))


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
    weight: float32 or bool [E], at least 0: how much an entry counts in the
      mean.
    num_segments: static number of segments.
    center_singletons: a segment with one observation gives 0; if False its
      value itself.

  Returns:
    float32 [E], in the unit of `values`. No gradient flows through it.
  """
  _, _, mask, mean, number, level = _statistics(
    values, segment, mask, weight, num_segments
  )
  result = jnp.where(level, 0.0, values - mean)
  if not center_singletons:
    result = jnp.where((number > 0) & (number < 1.5), values, result)
  return jax.lax.stop_gradient(jnp.where(mask, result, 0.0))


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
