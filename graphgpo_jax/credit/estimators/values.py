"""Estimators of the mean return of a state: g2po, pgpo, gagpo."""

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize as normalize_lib
from graphgpo_jax.credit import potentials, signals
from graphgpo_jax.credit.estimators import parts

Credit = parts.Credit
StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps


def g2po(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  discount: float = 0.95,
  success_reward: float = 10.0,
  fail_value: float = 0.0,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  distinct_edges: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 1.0,
  episode_weight: float = 1.0,
) -> Credit:
  """G2PO: the mean outcome of the state that a step led to, and its gain.

  V(s) = mean over visits of discount^(T-t) R, with T the steps of the visiting
  rollout and t from 0; V(SUCCESS) = success_reward, V(FAIL) = fail_value where
  a rollout ended without success;

    A^S = norm_state(V(s') - penalty) + norm_task(V(s') - V(s))
    A = episode_weight A^E + step_weight A^S

  norm_state compares the steps that leave the same state (a single one gets
  0), norm_task all steps of the task.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    distance: float32 [N]; reported, not used.
    discount: of the outcome, per step that was left, in [0, 1].
    success_reward: V(SUCCESS), reward units.
    fail_value: V(FAIL), reward units.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    distinct_edges: in norm_state every distinct edge counts once.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of all parts, `mean_std` or `mean_only`.
    step_weight: weight of A^S.
    episode_weight: weight of A^E.

  Returns:
    Credit, float32 [E] each; `step_return` is V(s') - penalty.

  Reference: arXiv 2606.22995.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  value = potentials.mean_of_state(
    steps,
    potentials.outcome_to_go(steps, discount=discount),
    max_nodes=graph.node_mask.shape[0],
  )
  here, there = potentials.at_ends_of_steps(
    steps, value, success_value=success_reward, fail_value=fail_value
  )
  step_return = there - penalty
  step_part = parts.same_state_advantage(
    steps,
    graph,
    step_return,
    normalize=normalize,
    distinct_edges=distinct_edges,
  ) + parts.task_advantage(
    steps, signals.difference(here, there), normalize=normalize
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


def pgpo(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  discount: float = 0.95,
  potential_discount: float = 1.0,
  potential_weight: float = 1.0,
  alpha: float = 2.0,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  distinct_edges: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 1.0,
  episode_weight: float = 0.0,
) -> Credit:
  """PGPO: gigpo's step advantage, and what a step adds to the mean return.

  Phi(s) = mean return of the rollouts that visited s; p = share of the task's
  rollouts that succeeded;

    A = norm_state(R_t) + b (1 - p)^alpha norm_state(Phi(s') - Phi(s))

  with R_t gigpo's discounted return. The potential speaks most where success
  is rare.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    distance: float32 [N]; reported, not used.
    discount: reward discount of R_t, in [0, 1].
    potential_discount: of the returns in Phi, per step that was left.
    potential_weight: b.
    alpha: how fast the potential fades as the task is solved, at least 0.
    invalid_penalty: cost of an action that is not admissible, reward units;
      in R_t alone.
    penalty_only_with_success: no penalty in groups without success.
    distinct_edges: in the statistics every distinct edge counts once.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of all parts, `mean_std` or `mean_only`.
    step_weight: weight of the sum above.
    episode_weight: weight of A^E beside it.

  Returns:
    Credit, float32 [E] each; `step_return` is Phi(s') - Phi(s).

  Reference: arXiv 2609.02236.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  returns = signals.discounted_return(
    steps.reward, steps.last, steps.mask, discount=discount
  )
  potential = potentials.mean_outcome(
    steps, max_nodes=graph.node_mask.shape[0], discount=potential_discount
  )
  gain = signals.difference(*potentials.at_ends_of_steps(steps, potential))
  ends = steps.mask & steps.last
  rollouts = jnp.sum(ends, dtype=jnp.float32)
  failed = jnp.sum(ends & ~steps.success, dtype=jnp.float32)
  share = failed / jnp.maximum(rollouts, 1.0)

  def compare(values):
    return parts.same_state_advantage(
      steps, graph, values, normalize=normalize, distinct_edges=distinct_edges
    )

  step_part = compare(returns - penalty) + (
    potential_weight * share**alpha * compare(gain)
  )
  return parts.with_episode_part(
    steps,
    distance,
    penalty,
    gain,
    step_part,
    normalize=normalize,
    per_rollout=per_rollout,
    step_weight=step_weight,
    episode_weight=episode_weight,
  )


def gagpo(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  discount: float = 0.95,
  gae_lambda: float = 0.95,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 1.0,
  episode_weight: float = 0.0,
) -> Credit:
  """GAGPO: a critic read off the graph, and GAE along the rollout.

  V(s) = mean discounted return of the steps that leave s, 0 after a rollout's
  end; delta_t = r_t + discount V(s_{t+1}) - V(s_t);

    A = norm_task(sum_k (discount lambda)^k delta_{t+k} - penalty)

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    distance: float32 [N]; reported, not used.
    discount: reward discount in [0, 1].
    gae_lambda: lambda, in [0, 1].
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of all parts, `mean_std` or `mean_only`.
    step_weight: weight of the above.
    episode_weight: weight of A^E beside it.

  Returns:
    Credit, float32 [E] each; `step_return` is what is normalised.

  Reference: arXiv 2605.13217.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  value = potentials.mean_of_state(
    steps,
    signals.discounted_return(
      steps.reward, steps.last, steps.mask, discount=discount
    ),
    max_nodes=graph.node_mask.shape[0],
  )
  here, there = potentials.at_ends_of_steps(steps, value)
  error = signals.td_error(
    steps.reward,
    here,
    jnp.where(steps.last, 0.0, there),
    steps.mask,
    discount=discount,
  )
  step_return = (
    signals.generalized_advantage(
      error,
      steps.last,
      steps.mask,
      discount=discount,
      gae_lambda=gae_lambda,
    )
    - penalty
  )
  step_part = parts.task_advantage(steps, step_return, normalize=normalize)
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
