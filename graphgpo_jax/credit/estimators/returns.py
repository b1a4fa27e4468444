"""Estimators of the returns that were observed: gigpo."""

import chex

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize as normalize_lib
from graphgpo_jax.credit import signals
from graphgpo_jax.credit.estimators import parts

Credit = parts.Credit
StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps


def gigpo(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  discount: float = 0.95,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  distinct_edges: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 1.0,
  episode_weight: float = 1.0,
) -> Credit:
  """GiGPO: discounted returns compared among steps of the same state.

  R_t = sum_k discount^(k-t) r_k - penalty; A = A^E + step_weight * A^S.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    distance: float32 [N]; reported, not used.
    discount: reward discount in [0, 1].
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    distinct_edges: in the statistics every distinct edge counts once, its
      steps sharing the weight, instead of every step.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of both parts, `mean_std` or `mean_only`.
    step_weight: weight of the step advantage.
    episode_weight: weight of the episode advantage.

  Returns:
    Credit, float32 [E] each.

  Reference: arXiv 2505.10978.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  step_return = (
    signals.discounted_return(
      steps.reward, steps.last, steps.mask, discount=discount
    )
    - penalty
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
