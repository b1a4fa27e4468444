"""What estimators are put together from: the parts that they share."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import distances, signals, sums
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


def same_state_advantage(
  steps: Steps,
  graph: StateGraph,
  values: chex.Array,
  *,
  normalize: Normalizer = normalize_lib.mean_std,
  distinct_edges: bool = False,
) -> chex.Array:
  """Compares each step with the others that leave the same state.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    values: float32 [E], what is compared.
    normalize: normaliser over the steps of a state.
    distinct_edges: in the statistics every distinct edge counts once, its
      steps sharing the weight, instead of every step.

  Returns:
    float32 [E], the unit is the normaliser's; 0 in padding, for steps whose
    source has no node, and for a state with a single step.
  """
  num_nodes = graph.node_mask.shape[0]
  known = graph_lib.known_sources(steps, max_nodes=num_nodes)
  weight = known.astype(jnp.float32)
  if distinct_edges:
    weight = weight * graph_lib.edge_weights(steps)
  return normalize(
    values,
    jnp.where(known, steps.source, graph_lib.NO_NODE),
    known,
    weight,
    num_segments=num_nodes,
    center_singletons=True,
  )


def task_advantage(
  steps: Steps,
  values: chex.Array,
  *,
  normalize: Normalizer = normalize_lib.mean_std,
) -> chex.Array:
  """Compares each step with all steps of the task.

  Args:
    steps: Steps of one group, [E].
    values: float32 [E], what is compared.
    normalize: normaliser over the task.

  Returns:
    float32 [E], the unit is the normaliser's; 0 in padding, and where the task
    has a single step.
  """
  return normalize(
    values,
    jnp.zeros(values.shape, jnp.int32),
    steps.mask,
    steps.mask,
    num_segments=1,
    center_singletons=True,
  )


def invalid_penalties(
  steps: Steps, *, invalid_penalty: float, only_with_success: bool
) -> chex.Array:
  """Penalty of each step's action, float32 [E], reward units.

  Args:
    steps: Steps of one group, [E].
    invalid_penalty: of an action that is not admissible, reward units.
    only_with_success: none in groups without success.

  Returns:
    float32 [E]; 0 in padding.
  """
  return signals.invalid_action_penalty(
    steps.action_valid,
    steps.success,
    steps.mask,
    invalid_penalty=invalid_penalty,
    only_with_success=only_with_success,
  )


def without_rounding(
  steps: Steps, graph: StateGraph, values: chex.Array, resolution: chex.Numeric
) -> chex.Array:
  """Values of a state's steps that all but agree, made equal.

  Divided by their deviation, differences that are rounding alone would be an
  advantage.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    values: float32 [E].
    resolution: how far apart a state's values may lie and be the same.

  Returns:
    float32 [E].
  """
  num_nodes = graph.node_mask.shape[0]
  known = graph_lib.known_sources(steps, max_nodes=num_nodes)
  place = jnp.where(known, steps.source, num_nodes)
  lowest, highest = sums.segment_range(values, place, num_segments=num_nodes)
  level = known & (highest - lowest <= resolution)[place]
  return jnp.where(level, lowest[place], values)


def with_episode_part(
  steps: Steps,
  distance: chex.Array,
  penalty: chex.Array,
  step_return: chex.Array,
  step_part: chex.Array,
  *,
  normalize: Normalizer,
  per_rollout: bool,
  step_weight: float,
  episode_weight: float,
  unreachable_margin: float = 1.0,
) -> Credit:
  """Credit of a step part: `mix` of it and `episode_advantage`.

  Args:
    steps: Steps of one group, [E].
    distance: float32 [N], +inf where unreachable.
    penalty: float32 [E], reward units, of the episode part.
    step_return: float32 [E], the step signal, as it is reported.
    step_part: float32 [E], A^S.
    normalize: normaliser of the episode part.
    per_rollout: episode statistics over rollouts instead of steps.
    step_weight: weight of A^S.
    episode_weight: weight of A^E.
    unreachable_margin: see `step_distances`.

  Returns:
    Credit, float32 [E] each.
  """
  return mix(
    steps,
    distance,
    step_return=step_return,
    step_part=step_part,
    episode_part=episode_advantage(
      steps, penalty, normalize=normalize, per_rollout=per_rollout
    ),
    step_weight=step_weight,
    episode_weight=episode_weight,
    unreachable_margin=unreachable_margin,
  )


def mix(
  steps: Steps,
  distance: chex.Array,
  *,
  step_return: chex.Array,
  step_part: chex.Array,
  episode_part: chex.Array,
  step_weight: float,
  episode_weight: float,
  unreachable_margin: float = 1.0,
) -> Credit:
  """Credit from its parts: A = step_weight A^S + episode_weight A^E.

  Args:
    steps: Steps of one group, [E].
    distance: float32 [N], +inf where unreachable.
    step_return: float32 [E], the step signal, as it is reported.
    step_part: float32 [E], A^S.
    episode_part: float32 [E], A^E.
    step_weight: weight of A^S.
    episode_weight: weight of A^E.
    unreachable_margin: see `step_distances`.

  Returns:
    Credit, float32 [E] each, 0 in padding. No gradient flows through it.
  """
  here, there = step_distances(
    steps, distance, unreachable_margin=unreachable_margin
  )
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
