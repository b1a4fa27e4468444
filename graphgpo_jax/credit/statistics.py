"""What a group's graph looks like: the shares that training reports."""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import progress


@chex.dataclass(frozen=True)
class GraphStatistics:
  """Counts of one group; add them over groups, then take `shares`."""

  groups: chex.Array  # float32 [], 1 if the group has any step
  groups_with_success: chex.Array  # float32 [], 1 if a rollout succeeded
  states: chex.Array  # float32 [], distinct states, the sink left out
  reachable_states: chex.Array  # float32 [], of these, with a way to SUCCESS
  state_groups: chex.Array  # float32 [], states with at least one step
  singleton_groups: chex.Array  # float32 [], of these, with exactly one
  steps: chex.Array  # float32 [], steps
  progress_steps: chex.Array  # float32 [], steps that came closer to SUCCESS
  faint_steps: chex.Array  # float32 [], steps whose signals differ, but less
  #   than 100 epsilon: epsilon rules their advantage
  overflow: chex.Array  # float32 [], steps left out of the graph


def graph_statistics(
  steps: graph_lib.Steps,
  graph: graph_lib.StateGraph,
  distance: chex.Array,
  step_return: chex.Array,
  *,
  epsilon: float = 1e-6,
) -> GraphStatistics:
  """Counts the shares worth watching of one group.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    distance: float32 [N], +inf where unreachable.
    step_return: float32 [E], the step signal before it is normalised. That of
      a `scale_free` signal is not what is normalised, so `faint_steps` then
      tells what the plain form would have lost.
    epsilon: the normaliser's.

  Returns:
    GraphStatistics, each float32 [].
  """
  num_nodes = graph.node_mask.shape[0]
  known = graph_lib.known_sources(steps, max_nodes=num_nodes)
  # A state all of whose steps were left out of the graph is none of its nodes.
  known &= graph.node_mask[jnp.where(known, steps.source, 0)]
  place = jnp.where(known, steps.source, num_nodes)
  visits = jax.ops.segment_sum(known.astype(jnp.float32), place, num_nodes + 1)[
    :-1
  ]
  is_state = graph.node_mask & (jnp.arange(num_nodes) != graph_lib.SUCCESS)
  highest = jax.ops.segment_max(
    jnp.where(known, step_return, -jnp.inf), place, num_nodes + 1
  )
  lowest = jax.ops.segment_min(
    jnp.where(known, step_return, jnp.inf), place, num_nodes + 1
  )
  spread = jnp.where(known, (highest - lowest)[place], 0.0)
  closer = known & progress.makes_progress(steps, distance)

  def count(flags):
    return jnp.sum(flags, dtype=jnp.float32)

  return GraphStatistics(
    groups=count(jnp.any(steps.mask)[None]),
    groups_with_success=count(jnp.any(steps.mask & steps.success)[None]),
    states=count(is_state),
    reachable_states=count(is_state & jnp.isfinite(distance)),
    state_groups=count(visits > 0),
    singleton_groups=count(visits == 1),
    steps=count(steps.mask),
    progress_steps=count(closer),
    faint_steps=count((spread > 0) & (spread < 100 * epsilon)),
    overflow=graph.overflow.astype(jnp.float32),
  )


def shares(total: GraphStatistics) -> dict[str, chex.Array]:
  """Shares from statistics added over groups.

  Args:
    total: GraphStatistics, each float32 [], summed over groups.

  Returns:
    Mapping of metric name to float32 [] in [0, 1] (`graph/overflow` is a
    count), 0 where nothing was counted.
  """

  def share(part, whole):
    return part / jnp.maximum(whole, 1.0)

  return {
    "graph/reachable_states": share(total.reachable_states, total.states),
    "graph/singleton_groups": share(total.singleton_groups, total.state_groups),
    "graph/groups_with_success": share(total.groups_with_success, total.groups),
    "graph/progress_steps": share(total.progress_steps, total.steps),
    "graph/faint_steps": share(total.faint_steps, total.steps),
    "graph/overflow": total.overflow,
  }
