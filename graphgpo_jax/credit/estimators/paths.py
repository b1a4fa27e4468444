"""Estimators of the shortest way: graphgpo."""

import functools

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize as normalize_lib
from graphgpo_jax.credit import signals
from graphgpo_jax.credit.estimators import parts

Credit = parts.Credit
StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps


def graphgpo(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
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
  """GraphGPO: how much a step helped on the way to SUCCESS.

  R = success_reward * omega ** d(s') - penalty, d the shortest distance over
  the group's graph; compared among the steps that leave the same state;
  A = step_weight * A^G + episode_weight * A^E.

  Defaults are the authors' recipe. The paper's conventions: `add_step_cost`,
  `distinct_edges`, `per_rollout`.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    distance: float32 [N], shortest distances, +inf where unreachable.
    omega: distance discount in (0, 1).
    success_reward: reward of a successful rollout, in reward units.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    add_step_cost: exponent d(s') + c (Eq. 4) instead of d(s').
    normalize_distance: exponent d(s') - d(s) + 1.
    scale_free: exponent d(s') - min d of the same source's steps, so that
      epsilon does not swallow states far from success. Off for parity.
    unreachable_margin: unreachable states stand this far beyond the farthest
      reachable one, in cost units.
    distinct_edges: in the statistics every distinct edge counts once, its
      steps sharing the weight, instead of every step.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of both parts, `mean_std` or `mean_only`.
    step_weight: weight of the graph advantage.
    episode_weight: weight of the episode advantage.

  Returns:
    Credit, float32 [E] each.

  Reference: arXiv 2605.26684, Eqs. 4 to 6, and its authors' recipe.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  here, there = parts.step_distances(
    steps, distance, unreachable_margin=unreachable_margin
  )
  signal = functools.partial(
    signals.graph_return,
    omega=omega,
    success_reward=success_reward,
    add_step_cost=add_step_cost,
    normalize_distance=normalize_distance,
  )
  cost = jnp.where(steps.mask, steps.cost, 0.0)
  step_return = signal(here, there, cost) - penalty
  compared = step_return
  if scale_free:
    num_nodes = graph.node_mask.shape[0]
    known = graph_lib.known_sources(steps, max_nodes=num_nodes)
    # The step's own cost belongs to the exponent that is made relative.
    reach = there + cost if add_step_cost else there
    nearest = signals.nearest_of_source(
      reach, steps.source, known, max_nodes=num_nodes
    )
    relative = reach - nearest
    compared = (
      success_reward * jnp.power(jnp.float32(omega), relative) - penalty
    )
  step_part = parts.same_state_advantage(
    steps,
    graph,
    compared,
    normalize=normalize,
    distinct_edges=distinct_edges,
  )
  return parts.with_episode_part(
    steps,
    distance,
    penalty,
    step_return,
    step_part,
    normalize=normalize,
    per_rollout=per_rollout,
    step_weight=step_weight,
    episode_weight=episode_weight,
    unreachable_margin=unreachable_margin,
  )
