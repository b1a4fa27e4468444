"""What a state is worth by the returns that were seen from it."""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import signals, sums

# Halves of float32's 24 bits: sums of 2^12 such numbers are exact.
_HALF = 2.0**12


def segment_mean(
  values: chex.Array,
  segment: chex.Array,
  mask: chex.Array,
  *,
  num_segments: int,
) -> chex.Array:
  """Mean of the values of each segment, the same whatever their order.

  The mean of equal values is that value to the last bit, and the same values
  have the same mean wherever they stand: what is compared later must not
  differ by rounding alone.

  Args:
    values: float32 [E].
    segment: int32 [E]; entries outside [0, num_segments) are left out.
    mask: bool [E], entries that count.
    num_segments: static number of segments, S.

  Returns:
    float32 [S], in the unit of `values`; 0 for a segment without an entry. No
    gradient flows through it.
  """
  chex.assert_rank([values, segment, mask], 1)
  chex.assert_equal_shape([values, segment, mask])
  inside = mask & (segment >= 0) & (segment < num_segments)
  place = jnp.where(inside, segment, num_segments)
  lowest, highest = sums.segment_range(values, place, num_segments=num_segments)
  # The bounds of a segment without an entry cross.
  level = lowest >= highest
  # A power of two, so that dividing by it rounds nothing.
  _, exponent = jnp.frexp(jnp.where(level, 0.5, highest - lowest))
  scale = jnp.ldexp(jnp.float32(1.0), exponent)
  counts = inside & ~level[place]
  units = jnp.where(counts, (values - lowest[place]) / scale[place], 0.0)
  # Cut in two, so that neither sum rounds and their order does not matter.
  upper = jnp.floor(jnp.clip(units, 0.0, 1.0) * _HALF) / _HALF
  lower = jnp.round((units - upper) * _HALF * _HALF) / _HALF
  number, upper, lower = jnp.unstack(
    sums.segment_sum_of_units(
      jnp.stack([inside.astype(jnp.float32), upper, lower], axis=1),
      place,
      num_segments=num_segments,
    ),
    axis=1,
  )
  total = upper + lower / _HALF
  mean = lowest + scale * (total / jnp.maximum(number, 1.0))
  mean = jnp.where(level, lowest, mean)
  return jax.lax.stop_gradient(jnp.where(number > 0, mean, 0.0))


def outcome_to_go(steps: graph_lib.Steps, *, discount: float) -> chex.Array:
  """Return of each step's rollout, discounted by the steps that were left.

  Z_t = discount^(T-t) R, with T the steps of the rollout and t from 0: at its
  last step discount * R.

  Args:
    steps: Steps of one group, [E].
    discount: in [0, 1]; 1 gives every step its rollout's return.

  Returns:
    float32 [E], reward units; 0 in padding. Equal for equal R and T - t to the
    last bit. No gradient flows through it.

  Reference: arXiv 2606.22995 (G2PO).
  """
  at_end = jnp.where(steps.mask & steps.last, steps.episode_return, 0.0)
  return discount * signals.discounted_return(
    at_end, steps.last, steps.mask, discount=discount
  )


def mean_of_state(
  steps: graph_lib.Steps, values: chex.Array, *, max_nodes: int
) -> chex.Array:
  """Mean over the steps that leave each state: V(s) = mean of x_t, s_t = s.

  With `signals.discounted_return` it is the mean discounted return of the
  state, with `outcome_to_go` the mean discounted outcome.

  Args:
    steps: Steps of one group, [E].
    values: float32 [E], one per step.
    max_nodes: N.

  Returns:
    float32 [N], in the unit of `values`; 0 for nodes that no step leaves, the
    sink among them. No gradient flows through it.
  """
  return segment_mean(values, steps.source, steps.mask, num_segments=max_nodes)


def mean_outcome(
  steps: graph_lib.Steps, *, max_nodes: int, discount: float = 1.0
) -> chex.Array:
  """Mean return of the rollouts that came through each node, visit by visit.

  Phi(s) = mean over visits of discount^(T-t) R. The node that a rollout ends
  in is visited at t = T: SUCCESS has the mean return of the successful
  rollouts, and where a failure ended its return counts.

  Args:
    steps: Steps of one group, [E].
    max_nodes: N.
    discount: in [0, 1].

  Returns:
    float32 [N], reward units; 0 for nodes without a visit. No gradient flows
    through it.

  Reference: arXiv 2609.02236 (PGPO), with discount 1.
  """
  ends = steps.mask & steps.last
  return segment_mean(
    jnp.concatenate(
      [outcome_to_go(steps, discount=discount), steps.episode_return]
    ),
    jnp.concatenate([steps.source, steps.target]),
    jnp.concatenate([steps.mask, ends]),
    num_segments=max_nodes,
  )


def at_ends_of_steps(
  steps: graph_lib.Steps,
  potential: chex.Array,
  *,
  success_value: chex.Numeric | None = None,
  fail_value: chex.Numeric | None = None,
  unknown: chex.Numeric = 0.0,
) -> tuple[chex.Array, chex.Array]:
  """What each step's source and target are worth.

  Args:
    steps: Steps of one group, [E].
    potential: float32 [N].
    success_value: worth of SUCCESS; `potential[SUCCESS]` without it.
    fail_value: worth of FAIL, where a rollout without success ends; without it
      that is the state which its last step led to.
    unknown: worth of a state without a node.

  Returns:
    Two float32 [E], source and target, in the unit of `potential`; 0 in
    padding. No gradient flows through them.
  """
  chex.assert_rank([steps.source, potential], 1)
  num_nodes = potential.shape[0]

  def look_up(nodes):
    inside = (nodes >= 0) & (nodes < num_nodes)
    return jnp.where(inside, potential[jnp.where(inside, nodes, 0)], unknown)

  here, there = look_up(steps.source), look_up(steps.target)
  if success_value is not None:
    there = jnp.where(steps.target == graph_lib.SUCCESS, success_value, there)
  if fail_value is not None:
    there = jnp.where(steps.last & ~steps.success, fail_value, there)
  return jax.lax.stop_gradient(
    (
      jnp.where(steps.mask, here, 0.0).astype(jnp.float32),
      jnp.where(steps.mask, there, 0.0).astype(jnp.float32),
    )
  )
