"""The estimator with a memory across updates: tigpo."""

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize as normalize_lib
from graphgpo_jax.credit.estimators import parts, paths

Credit = parts.Credit
StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps


def frozen_scores(
  steps: Steps,
  *,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  per_rollout: bool = False,
) -> tuple[chex.Array, chex.Array]:
  """Episode scores of a visit, to be compared with at a later one.

  What `episode_advantage` takes its statistics over: the return of each step's
  rollout minus the step's penalty, or with `per_rollout` the return alone,
  once a rollout.

  Args:
    steps: Steps of one group, [E].
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    per_rollout: count each rollout once instead of each step.

  Returns:
    float32 [E], reward units, and bool [E], True where a score counts.
  """
  if per_rollout:
    counted = steps.mask & steps.last
    return jnp.where(counted, steps.episode_return, 0.0), counted
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  score = jnp.where(steps.mask, steps.episode_return - penalty, 0.0)
  return score, steps.mask


def cross_time_advantage(
  steps: Steps,
  penalty: chex.Array,
  past_scores: chex.Array,
  past_mask: chex.Array,
  *,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  per_rollout: bool = False,
) -> chex.Array:
  """Advantage of each step's rollout over this and an earlier visit.

  A^CT = (score - mean) / (std + epsilon), mean and deviation over the scores
  of this visit and the frozen ones of the earlier. A group whose rollouts all
  end alike thus still learns where the earlier visit ended otherwise.

  Args:
    steps: Steps of one group, [E].
    penalty: float32 [E], reward units.
    past_scores: float32 [S], the earlier visit's, see `frozen_scores`.
    past_mask: bool [S], True where a score counts.
    normalize: normaliser, `mean_std` or `mean_only`.
    per_rollout: count each rollout once instead of each step.

  Returns:
    float32 [E], no unit (that of the return under `mean_only`); 0 in padding.

  Reference: arXiv 2609.03383.
  """
  chex.assert_rank([past_scores, past_mask], 1)
  chex.assert_equal_shape([past_scores, past_mask])
  score, counted = steps.episode_return, steps.mask
  if per_rollout:
    counted = steps.mask & steps.last
  else:
    score = score - penalty
  both = jnp.concatenate([score, past_scores])
  found = normalize(
    both,
    jnp.zeros(both.shape, jnp.int32),
    jnp.concatenate([steps.mask, jnp.zeros_like(past_mask)]),
    jnp.concatenate([counted, past_mask]),
    num_segments=1,
    center_singletons=per_rollout,
  )
  return found[: score.shape[0]]


def tigpo(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  past_scores: chex.Array | None = None,
  past_mask: chex.Array | None = None,
  omega: float = 0.1,
  success_reward: float = 10.0,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  add_step_cost: bool = False,
  normalize_distance: bool = False,
  scale_free: bool = False,
  unreachable_margin: float = 1.0,
  distinct_edges: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 1.0,
  episode_weight: float = 1.0,
) -> Credit:
  """TiGPO: GraphGPO on the graph of this and earlier updates.

  A = step_weight * A^S + episode_weight * A^CT, where A^S is GraphGPO's graph
  advantage with distances over the union of this visit's graph and the task's
  stored one, compared among the current steps that leave the same state, and
  A^CT the episode advantage over this and an earlier visit's scores.

  The union comes in with `distance` (`memory_graph.with_stored_edges`), so
  that only current steps are given credit. Without stored edges and scores
  this is `graphgpo`.

  Args:
    steps: Steps of this visit, [E].
    graph: their StateGraph, with N nodes.
    distance: float32 [N], shortest distances over the union, +inf where
      unreachable.
    past_scores: float32 [S], frozen scores of an earlier visit, see
      `frozen_scores`; none without it.
    past_mask: bool [S], True where one counts; all do without it.
    omega: see `graphgpo`, as all that follow.
    success_reward: reward of a successful rollout, in reward units.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    add_step_cost: exponent d(s') + c instead of d(s').
    normalize_distance: exponent d(s') - d(s) + 1.
    scale_free: exponent relative to the source's best step.
    unreachable_margin: in cost units.
    distinct_edges: every distinct edge of this visit counts once.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of both parts, `mean_std` or `mean_only`.
    step_weight: l_step, weight of A^S.
    episode_weight: l_ep, weight of A^CT.

  Returns:
    Credit, float32 [E] each.

  Raises:
    ValueError: `past_mask` without `past_scores`.

  Reference: arXiv 2609.03383.
  """
  if past_scores is None and past_mask is not None:
    raise ValueError("past_mask needs past_scores")
  credit = paths.graphgpo(
    steps,
    graph,
    distance,
    omega=omega,
    success_reward=success_reward,
    invalid_penalty=invalid_penalty,
    penalty_only_with_success=penalty_only_with_success,
    add_step_cost=add_step_cost,
    normalize_distance=normalize_distance,
    scale_free=scale_free,
    unreachable_margin=unreachable_margin,
    distinct_edges=distinct_edges,
    per_rollout=per_rollout,
    normalize=normalize,
    step_weight=step_weight,
    episode_weight=episode_weight,
  )
  if past_scores is None:
    return credit
  if past_mask is None:
    past_mask = jnp.ones(past_scores.shape, bool)
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  return parts.mix(
    steps,
    distance,
    step_return=credit.step_return,
    step_part=credit.step_advantage,
    episode_part=cross_time_advantage(
      steps,
      penalty,
      past_scores,
      past_mask,
      normalize=normalize,
      per_rollout=per_rollout,
    ),
    step_weight=step_weight,
    episode_weight=episode_weight,
    unreachable_margin=unreachable_margin,
  )
