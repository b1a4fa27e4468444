"""Estimators of whole rollouts: grpo, rloo, salt."""

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize as normalize_lib
from graphgpo_jax.credit import potentials, segments
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


def salt(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  step_weight: float = 1.0,
  episode_weight: float = 0.0,
) -> Credit:
  """SALT: steps that rollouts share get the mean of their advantages.

  A(s, a, s') = mean of A^E over the steps with the same source, action and
  target: what good and bad rollouts did alike is to nobody's credit.

  Args:
    steps: Steps of one group, [E]; without actions, equal edges are one.
    graph: its StateGraph, with N nodes. Steps that are no edge of it keep
      their rollout's advantage.
    distance: float32 [N]; reported, not used.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of A^E, `mean_std` or `mean_only`.
    step_weight: weight of the mean.
    episode_weight: weight of A^E beside it.

  Returns:
    Credit, float32 [E] each; `step_return` is A^E, `step_advantage` its mean.

  Reference: arXiv 2510.20022.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  episode_part = parts.episode_advantage(
    steps, penalty, normalize=normalize, per_rollout=per_rollout
  )
  num_nodes = graph.node_mask.shape[0]
  num_steps = steps.mask.shape[0]
  connected = graph_lib.connected_steps(steps, max_nodes=num_nodes)
  keys, sizes = [steps.source, steps.target], [num_nodes, num_nodes]
  if steps.action is not None:
    keys, sizes = [*keys, steps.action], [*sizes, None]
  segment = segments.prefix_segments(keys, connected, sizes=sizes)[-1]
  mean = potentials.segment_mean(
    episode_part, segment, connected, num_segments=num_steps
  )
  return parts.mix(
    steps,
    distance,
    step_return=episode_part,
    step_part=jnp.where(connected, mean[segment], episode_part),
    episode_part=episode_part,
    step_weight=step_weight,
    episode_weight=episode_weight,
  )
