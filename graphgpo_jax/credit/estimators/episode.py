"""Estimators of whole rollouts: grpo, rloo."""

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize as normalize_lib
from graphgpo_jax.credit.estimators import parts

Credit = parts.Credit
StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps


def grpo(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  episode_weight: float = 1.0,
) -> Credit:
  """GRPO: every step gets the advantage of its rollout, A = A^E.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph; not used.
    distance: float32 [N]; reported, not used.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    per_rollout: statistics over rollouts (the paper) instead of steps (the
      recipe).
    normalize: `mean_std`, or `mean_only` (Dr. GRPO, arXiv 2503.20783).
    episode_weight: weight of the episode advantage.

  Returns:
    Credit, float32 [E] each.

  Reference: arXiv 2402.03300.
  """
  del graph
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  episode_part = parts.episode_advantage(
    steps, penalty, normalize=normalize, per_rollout=per_rollout
  )
  nothing = jnp.zeros_like(episode_part)
  return parts.mix(
    steps,
    distance,
    step_return=nothing,
    step_part=nothing,
    episode_part=episode_part,
    step_weight=0.0,
    episode_weight=episode_weight,
  )


def rloo(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  episode_weight: float = 1.0,
) -> Credit:
  """RLOO: a rollout's return minus the mean of the others'.

  A_m = R_m - mean_{k != m} R_k - penalty of the step.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph; not used.
    distance: float32 [N]; reported, not used.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    episode_weight: weight of the episode advantage.

  Returns:
    Credit, float32 [E] each, advantages in reward units.

  Reference: arXiv 2402.14740.
  """
  del graph
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  episode_part = (
    normalize_lib.leave_one_out(
      steps.episode_return,
      steps.mask,
      steps.mask & steps.last,
    )
    - penalty
  )
  nothing = jnp.zeros_like(episode_part)
  return parts.mix(
    steps,
    distance,
    step_return=nothing,
    step_part=nothing,
    episode_part=episode_part,
    step_weight=0.0,
    episode_weight=episode_weight,
  )
