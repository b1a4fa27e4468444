"""Credit estimators: each a composition of backup, signal, normaliser, mix.

An estimator is a function `(steps, graph, distance, **options) -> Credit` of
ONE group; `credit_group` builds the graph and its distances and calls it.
"""

import functools
from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import distances, signals
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize as normalize_lib

Steps = graph_lib.Steps
StateGraph = graph_lib.StateGraph
Normalizer = Callable[..., chex.Array]


@chex.dataclass(frozen=True)
class Credit:
  """What each step of a group has earned; 0 in padding everywhere."""

  distance: chex.Array  # float32 [E], source to SUCCESS, finite, cost units
  next_distance: chex.Array  # float32 [E], target to SUCCESS, cost units
  step_return: chex.Array  # float32 [E], the step signal, reward units
  step_advantage: chex.Array  # float32 [E], the signal among its equals
  episode_advantage: chex.Array  # float32 [E], the rollout among the task's
  advantage: chex.Array  # float32 [E], their mix: what the loss takes


Estimator = Callable[..., Credit]


def step_distances(
  steps: Steps, distance: chex.Array, *, unreachable_margin: float = 1.0
) -> tuple[chex.Array, chex.Array]:
  """Finite distance of each step's source and target.

  Args:
    steps: Steps of one group, [E].
    distance: float32 [N], +inf where unreachable.
    unreachable_margin: an unreachable state stands this far beyond the
      farthest reachable one, in cost units.

  Returns:
    Two float32 [E], cost units; 0 in padding.
  """
  # A state past the node limit has no distance of its own; the extra entry
  # treats it as unreachable.
  padded = jnp.concatenate([distance, jnp.full((1,), jnp.inf)])
  finite = distances.finite_distances(padded, margin=unreachable_margin)
  unknown = distance.shape[0]

  def look_up(nodes):
    inside = (nodes >= 0) & (nodes < unknown)
    values = finite[jnp.where(inside, nodes, unknown)]
    return jnp.where(steps.mask, values, 0.0)

  return look_up(steps.source), look_up(steps.target)


def episode_advantage(
  steps: Steps,
  penalty: chex.Array,
  *,
  normalize: Normalizer = normalize_lib.mean_std,
  per_rollout: bool = False,
) -> chex.Array:
  """Advantage of each step's rollout within its task.

  Recipe (default): the score of a step is episode_return - penalty, compared
  with the scores of ALL STEPS of the task, so long rollouts weigh more.
  `per_rollout=True`, as the GRPO paper has it: the mean and deviation are taken
  over the rollouts' returns, each counted once and without penalty.

  Args:
    steps: Steps of one group, [E].
    penalty: float32 [E], reward units; see `signals.invalid_action_penalty`.
    normalize: normaliser, `mean_std` or `mean_only`.
    per_rollout: count each rollout once instead of each step.

  Returns:
    float32 [E], no unit (that of the return under `mean_only`).

  Reference: arXiv 2402.03300 (GRPO) and the GraphGPO authors' recipe.
  """
  score = steps.episode_return
  counted = steps.mask
  if per_rollout:
    counted = steps.mask & steps.last
  else:
    score = score - penalty
  task = jnp.zeros(score.shape, jnp.int32)
  return normalize(
    score,
    task,
    steps.mask,
    counted,
    num_segments=1,
    center_singletons=per_rollout,
  )


def _same_state_advantage(
  steps, graph, step_return, *, normalize, distinct_edges
):
  """Compares each step with the others that leave the same state."""
  num_nodes = graph.node_mask.shape[0]
  known = steps.mask & (steps.source >= 0) & (steps.source < num_nodes)
  weight = known.astype(jnp.float32)
  if distinct_edges:
    weight = weight * graph_lib.edge_weights(steps)
  return normalize(
    step_return,
    jnp.where(known, steps.source, graph_lib.NO_NODE),
    known,
    weight,
    num_segments=num_nodes,
    center_singletons=True,
  )


def _penalty(steps, invalid_penalty, only_with_success):
  return signals.invalid_action_penalty(
    steps.action_valid,
    steps.success,
    steps.mask,
    invalid_penalty=invalid_penalty,
    only_with_success=only_with_success,
  )


def _mix(
  steps, distance, step_return, step_part, episode_part, weights, margin
):
  step_weight, episode_weight = weights
  here, there = step_distances(steps, distance, unreachable_margin=margin)
  mixed = step_weight * step_part + episode_weight * episode_part
  credit = Credit(
    distance=here,
    next_distance=there,
    step_return=jnp.where(steps.mask, step_return, 0.0),
    step_advantage=step_part,
    episode_advantage=episode_part,
    advantage=jnp.where(steps.mask, mixed, 0.0),
  )
  return jax.tree.map(jax.lax.stop_gradient, credit)


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
  normalize: Normalizer = normalize_lib.mean_std,
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
  penalty = _penalty(steps, invalid_penalty, penalty_only_with_success)
  here, there = step_distances(
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
    known = steps.mask & (steps.source >= 0) & (steps.source < num_nodes)
    # The step's own cost belongs to the exponent that is made relative.
    reach = there + cost if add_step_cost else there
    nearest = signals.nearest_of_source(
      reach, steps.source, known, max_nodes=num_nodes
    )
    relative = reach - nearest
    compared = (
      success_reward * jnp.power(jnp.float32(omega), relative) - penalty
    )
  step_part = _same_state_advantage(
    steps,
    graph,
    compared,
    normalize=normalize,
    distinct_edges=distinct_edges,
  )
  episode_part = episode_advantage(
    steps, penalty, normalize=normalize, per_rollout=per_rollout
  )
  return _mix(
    steps,
    distance,
    step_return,
    step_part,
    episode_part,
    (step_weight, episode_weight),
    unreachable_margin,
  )


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
  normalize: Normalizer = normalize_lib.mean_std,
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
  penalty = _penalty(steps, invalid_penalty, penalty_only_with_success)
  step_return = (
    signals.discounted_return(
      steps.reward, steps.last, steps.mask, discount=discount
    )
    - penalty
  )
  step_part = _same_state_advantage(
    steps,
    graph,
    step_return,
    normalize=normalize,
    distinct_edges=distinct_edges,
  )
  episode_part = episode_advantage(
    steps, penalty, normalize=normalize, per_rollout=per_rollout
  )
  return _mix(
    steps,
    distance,
    step_return,
    step_part,
    episode_part,
    (step_weight, episode_weight),
    1.0,
  )


def grpo(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  per_rollout: bool = False,
  normalize: Normalizer = normalize_lib.mean_std,
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
  penalty = _penalty(steps, invalid_penalty, penalty_only_with_success)
  episode_part = episode_advantage(
    steps, penalty, normalize=normalize, per_rollout=per_rollout
  )
  nothing = jnp.zeros_like(episode_part)
  return _mix(
    steps,
    distance,
    nothing,
    nothing,
    episode_part,
    (0.0, episode_weight),
    1.0,
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
  penalty = _penalty(steps, invalid_penalty, penalty_only_with_success)
  episode_part = (
    normalize_lib.leave_one_out(
      steps.episode_return,
      steps.mask,
      steps.mask & steps.last,
    )
    - penalty
  )
  nothing = jnp.zeros_like(episode_part)
  return _mix(
    steps,
    distance,
    nothing,
    nothing,
    episode_part,
    (0.0, episode_weight),
    1.0,
  )


ESTIMATORS: Mapping[str, Estimator] = {
  "graphgpo": graphgpo,
  "gigpo": gigpo,
  "grpo": grpo,
  "rloo": rloo,
}


def credit_group(
  steps: Steps,
  estimator: Estimator = graphgpo,
  *,
  max_nodes: int,
  max_edges: int | None = None,
  backup: Callable[[StateGraph], chex.Array] = distances.shortest_distances,
  **options,
) -> tuple[Credit, StateGraph, chex.Array]:
  """Steps of one group to their credit: graph, distance, estimator.

  Args:
    steps: Steps of one group, [E].
    estimator: function `(steps, graph, distance, **options) -> Credit`.
    max_nodes: N, node limit, the sink included.
    max_edges: edge limit; none without it.
    backup: distance of every node of the graph.
    **options: keywords of the estimator.

  Returns:
    Credit [E], StateGraph, and the distances float32 [N] (+inf where SUCCESS
    cannot be reached).
  """
  graph = graph_lib.build_graph(steps, max_nodes=max_nodes, max_edges=max_edges)
  distance = backup(graph)
  return estimator(steps, graph, distance, **options), graph, distance
