"""Estimators of the empirical chain with a sink for failure: crbc, graft.

Every rollout ends in a sink, SUCCESS or FAIL, and a state is worth what its
steps led to, each edge as often as it was taken; see `credit.backups`.
"""

import functools

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import alike, backups, potentials, signals
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize as normalize_lib
from graphgpo_jax.credit.estimators import parts

Credit = parts.Credit
StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps


def crbc(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  discount: float = 0.98,
  fail_value: float = -1.0,
  floor: float = 0.1,
  sample_deviation: bool = False,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 5.0,
  episode_weight: float = 1.0,
) -> Credit:
  """CRBC: what an action led to against what its state led to, on average.

  V solves (I - discount * M) V = b0, M the empirical chain, V(SUCCESS) = 1 and
  V(FAIL) = fail_value. Q(s, a) is the mean of discount * V(what followed) over
  the steps that took a in s, and
  A^S = 1{two actions or more were taken in s} (Q(s, a) - V(s)) / max(sigma(s),
  floor); A = episode_weight * A^E + step_weight * A^S.

  Read here as: the last step of a rollout without success leads to FAIL; V(s)
  is the mean of Q over the steps that leave s, and sigma(s) their deviation.
  The penalty is part of A^E alone: V is no reward.

  Args:
    steps: Steps of one group, [E]; actions as `graph.action_ids` tells them.
    graph: its StateGraph, with N nodes; a limit on its edges is not heeded.
    distance: float32 [N]; reported, not used.
    discount: value discount in [0, 1].
    fail_value: V(FAIL), where V(SUCCESS) is 1.
    floor: least deviation that is divided by, above 0.
    sample_deviation: sigma with the number of steps less 1, instead of the
      number of steps.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of the episode part.
    step_weight: weight of the step advantage.
    episode_weight: weight of the episode advantage.

  Returns:
    Credit, float32 [E] each; `step_return` is Q(s, a) - V(s).

  Reference: arXiv 2609.35082.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  num_nodes = graph.node_mask.shape[0]
  here, there, _ = _with_fail_sink(
    steps, num_nodes, discount=discount, fail_value=fail_value
  )
  action = graph_lib.action_ids(steps)
  known = graph_lib.known_sources(steps, max_nodes=num_nodes)
  known &= action >= 0
  pair = alike.first_alike([steps.source, action], known)
  followed = potentials.segment_mean(
    discount * there, pair, known, num_segments=known.shape[0]
  )[jnp.maximum(pair, 0)]
  place = jnp.where(known, steps.source, num_nodes)
  bounds = jax.ops.segment_max(
    jnp.stack([action, -action], axis=1), place, num_nodes
  )
  chosen = bounds[:, 0] > -bounds[:, 1]
  step_part = parts.same_state_advantage(
    steps,
    graph,
    followed,
    normalize=functools.partial(
      normalize_lib.fixed_floor,
      floor=floor,
      ddof=1 if sample_deviation else 0,
    ),
  )
  chose = known & chosen[jnp.where(known, steps.source, 0)]
  return parts.with_episode_part(
    steps,
    distance,
    penalty,
    jnp.where(known, followed - here, 0.0),
    jnp.where(chose, step_part, 0.0),
    normalize=normalize,
    per_rollout=per_rollout,
    step_weight=step_weight,
    episode_weight=episode_weight,
  )


def graft(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  discount: float = 0.95,
  gae_lambda: float = 0.95,
  success_reward: float = 1.0,
  fail_value: float = 0.0,
  visit_weighted_hops: bool = False,
  resolution: float = 1e-5,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  distinct_edges: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 1.0,
  episode_weight: float = 0.0,
) -> Credit:
  """GRAFT: TD error of a step, and of those that may follow on the graph.

  V(s) = discount * mean over the edges out of s of V(s'), with the sinks
  V(SUCCESS) = success_reward and V(FAIL) = fail_value;
  delta = discount * V(s') - V(s), and with G the mean TD error of the steps
  ahead, G(s) = mean delta out of s + discount * gae_lambda * mean G(s'),

    delta + discount * gae_lambda * G(s') - penalty

  compared among the steps that leave the same state; A = step_weight * A^S +
  episode_weight * A^E, the latter with no weight by default.

  Read here as: V weighs the edges by their visits, G each distinct edge alike.
  Were G's means weighted by visits as V's are, the mean delta of every state
  would be 0 by what V is, hence G = 0 and lambda without effect: that is
  `visit_weighted_hops`.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes; a limit on its edges is not heeded.
    distance: float32 [N]; reported, not used.
    discount: value discount in [0, 1].
    gae_lambda: in [0, 1]; 0 is the step's own TD error.
    success_reward: V(SUCCESS), reward units.
    fail_value: V(FAIL), reward units.
    visit_weighted_hops: G = 0, see above.
    resolution: signals of a state that all lie within this share of
      success_reward are equal but for rounding, and compared as such.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    distinct_edges: as in `rewardflow`; of the comparison, not of V or G.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of both parts.
    step_weight: weight of the step advantage.
    episode_weight: weight of the episode advantage.

  Returns:
    Credit, float32 [E] each.

  Reference: arXiv 2609.28963.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  num_nodes = graph.node_mask.shape[0]
  here, there, chain = _with_fail_sink(
    steps,
    num_nodes,
    discount=discount,
    success_value=success_reward,
    fail_value=fail_value,
  )
  error = signals.td_error(
    jnp.zeros_like(there), here, there, steps.mask, discount=discount
  )
  step_return = error - penalty
  if not visit_weighted_hops:
    decay = discount * gae_lambda
    ahead = backups.expected_values(
      chain,
      discount=decay,
      success_value=0.0,
      fail_value=0.0,
      edge_reward=error,
      edge_weight=_first_of_edges(chain),
    ).value
    at_target = jnp.where(chain.mask, ahead[chain.target], 0.0)
    step_return = step_return + decay * at_target
  step_part = parts.same_state_advantage(
    steps,
    graph,
    parts.without_rounding(
      steps, graph, step_return, resolution * jnp.abs(success_reward)
    ),
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
  )


def _with_fail_sink(steps, num_nodes, *, fail_value, **options):
  """Values at the ends of each step, and the graph that has the sink FAIL."""
  chain = backups.with_fail_sink(steps, max_nodes=num_nodes)
  value = backups.expected_values(chain, fail_value=fail_value, **options).value
  here, there = potentials.at_ends_of_steps(
    steps, value[:num_nodes], fail_value=fail_value
  )
  return here, there, chain


def _first_of_edges(chain):
  """1 for the first step along each distinct edge, else 0: float32 [E].

  All steps along an edge have the same TD error, so any one may stand for it.
  """
  first = alike.first_alike([chain.source, chain.target], chain.mask)
  place = jnp.arange(first.shape[0], dtype=first.dtype)
  return (first == place).astype(jnp.float32)
