"""Estimators of values backed up over the graph: rewardflow, graphhca.

See `credit.backups`, and `chains_to_failure` for those with a second sink.
"""

import chex

from graphgpo_jax.credit import backups, potentials, signals
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize as normalize_lib
from graphgpo_jax.credit.estimators import parts

Credit = parts.Credit
StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps


def rewardflow(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  discount: float = 0.9,
  success_reward: float = 10.0,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  distinct_edges: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 1.0,
  episode_weight: float = 1.0,
) -> Credit:
  """RewardFlow: how much nearer a step came to the decayed reward.

  V(s) = max(r(s), discount * max over s' of V(s')), self-loops left out;
  V(s') - V(s) - penalty, compared among the steps that leave the same state;
  A = episode_weight * A^E + step_weight * A^S.

  Read here as: r is `success_reward` at SUCCESS and 0 elsewhere, the states
  that end rollouts without success among them.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    distance: float32 [N]; reported, not used.
    discount: what the reward keeps at every step, in [0, 1].
    success_reward: r(SUCCESS), reward units.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    distinct_edges: in the statistics every distinct edge counts once, its
      steps sharing the weight, instead of every step.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of both parts.
    step_weight: weight of the step advantage.
    episode_weight: weight of the episode advantage.

  Returns:
    Credit, float32 [E] each.

  Reference: arXiv 2603.18859.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  value = backups.decayed_max(
    graph, discount=discount, success_value=success_reward
  )
  step_return = (
    signals.difference(*potentials.at_ends_of_steps(steps, value)) - penalty
  )
  step_part = parts.same_state_advantage(
    steps,
    graph,
    step_return,
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


def graphhca(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  discount: float = 0.95,
  power: float = 1.0,
  floor: float = 0.01,
  use_costs: bool = False,
  resolution: float = 1e-5,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  distinct_edges: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 1.0,
  episode_weight: float = 1.0,
) -> Credit:
  """GraphHCA: by what factor a step raised the expected discounted success.

  Phi(s) = discount * (mean over the edges out of s of Phi(s')^power)^(1/power),
  Phi(SUCCESS) = 1; log max(Phi(s'), floor) - log max(Phi(s), floor) - penalty,
  compared among the steps that leave the same state;
  A = episode_weight * A^E + step_weight * A^S.

  Read here as: the edges are weighted by their visits, a state that no step
  leaves is worth 0, and so is a state that SUCCESS is not reached from. The
  penalty is subtracted from the signal, in nats.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    distance: float32 [N]; reported, not used.
    discount: of Phi at every step, in (0, 1].
    power: 1 for the expectation, inf for the shortest way; at least 1.
    floor: Phi below which states are not told apart, above 0.
    use_costs: discount ** cost of the step instead of discount.
    resolution: signals of a state that all lie within this, in nats, are equal
      but for rounding, and compared as such.
    invalid_penalty: cost of an action that is not admissible, reward units in
      A^E and nats in A^S.
    penalty_only_with_success: no penalty in groups without success.
    distinct_edges: as in `rewardflow`; of the comparison, not of Phi.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of both parts.
    step_weight: weight of the step advantage.
    episode_weight: weight of the episode advantage.

  Returns:
    Credit, float32 [E] each.

  Reference: arXiv 2609.35084.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  potential = backups.power_mean_values(
    graph, discount=discount, power=power, use_costs=use_costs
  ).value
  here, there = potentials.at_ends_of_steps(steps, potential)
  step_return = signals.log_difference(here, there, floor=floor) - penalty
  step_part = parts.same_state_advantage(
    steps,
    graph,
    parts.without_rounding(steps, graph, step_return, resolution),
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
