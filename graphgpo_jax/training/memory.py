"""Training with a memory: a pool of tasks that come back, and their graphs.

Update k visits the next B of the pool's P tasks, in a fixed order, so each task
comes back every P / B updates. The pool and what is stored of each task are
part of the train state. On a mesh every device holds them all, and works on the
B visited tasks in parts.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import (
  batching,
  distances,
  estimators,
  memory,
  memory_graph,
  memory_store,
  statistics,
)
from graphgpo_jax.credit import rollouts as merging
from graphgpo_jax.envs import types
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.training import mesh as mesh_lib
from graphgpo_jax.training import update

# Folded into the key of a run's initial state.
_POOL_STREAM = 0x706F6F6C


@chex.dataclass(frozen=True)
class PoolMemory:
  """The tasks of the pool, and what their visits have shown of them."""

  tasks: Any  # pytree of tasks, leaves [P, ...]
  store: memory.GraphMemory  # leaves [P, ...], slot k for task k


def draw_pool(
  environment: types.Environment,
  key: chex.PRNGKey,
  *,
  pool_size: int,
  max_edges: int,
  max_scores: int,
) -> PoolMemory:
  """Draws the pool of a run, nothing known of its tasks yet.

  Args:
    environment: gives tasks of its training side; two may be alike, and are
      then two tasks.
    key: PRNG key of the run's initial state.
    pool_size: P.
    max_edges: K, distinct edges kept of a task.
    max_scores: S, steps of a visit.

  Returns:
    PoolMemory.
  """
  keys = jax.random.split(jax.random.fold_in(key, _POOL_STREAM), pool_size)
  tasks = jax.vmap(environment.sample_task)(keys)
  store = memory_store.empty_store(
    pool_size, max_edges=max_edges, max_scores=max_scores
  )
  store = store.replace(  # type: ignore[attr-defined]
    key=jax.vmap(environment.task_fingerprint)(tasks),
    claimed=jnp.ones((pool_size,), jnp.int32),
  )
  return PoolMemory(tasks=tasks, store=store)


def visited(
  step: chex.Array, *, pool_size: int, tasks_per_update: int
) -> chex.Array:
  """Which tasks update `step` visits: the pool's next B, in a circle.

  Args:
    step: int32 [], updates done.
    pool_size: P, at least B.
    tasks_per_update: B.

  Returns:
    int32 [B] in [0, P), distinct.
  """
  # The pool is drawn in random order, so that its order is a shuffled one.
  first = (step % pool_size) * tasks_per_update
  return (first + jnp.arange(tasks_per_update, dtype=jnp.int32)) % pool_size


def make_recall(
  *, tasks_per_update: int
) -> Callable[[PoolMemory, chex.Array], tuple[Any, memory.GraphMemory]]:
  """Builds the phase that takes the tasks to visit out of the memory.

  Args:
    tasks_per_update: B.

  Returns:
    `recall(memory, step) -> (tasks, graphs)`, leaves [B, ...].
  """

  def recall(pool, step):
    slots = _slots(pool, step, tasks_per_update)
    return jax.tree.map(lambda leaf: leaf[slots], (pool.tasks, pool.store))

  return recall


def make_remember(
  *, tasks_per_update: int, mesh: jax.sharding.Mesh | None = None
) -> Callable[[PoolMemory, chex.Array, memory.GraphMemory], PoolMemory]:
  """Builds the phase that puts what was learnt of the tasks back.

  Args:
    tasks_per_update: B.
    mesh: devices, each of which gets the whole memory; None for one.

  Returns:
    `remember(memory, step, graphs) -> memory`.
  """

  def remember(pool, step, graphs):
    slots = _slots(pool, step, tasks_per_update)
    pool = pool.replace(store=memory_store.put(pool.store, slots, graphs))
    return mesh_lib.on_every_device(pool, mesh)

  return remember


def _slots(pool, step, tasks_per_update):
  size = pool.store.visits.shape[0]
  return visited(step, pool_size=size, tasks_per_update=tasks_per_update)


def make_assign(
  estimator: estimators.Estimator,
  *,
  freeze: Callable[..., tuple[chex.Array, chex.Array]],
  max_age: int | None = None,
  fade: float = 1.0,
  fade_after: int = 0,
  keep_cheapest: bool = False,
  use_distances: bool = True,
  use_scores: bool = True,
  mesh: jax.sharding.Mesh | None = None,
) -> Callable[
  [on_device.Rollouts, memory.GraphMemory],
  tuple[chex.Array, update.Metrics, memory.GraphMemory],
]:
  """Builds the second phase of an estimator that sees the stored graphs.

  Args:
    estimator: function of one group, see `credit.estimators`.
    freeze: scores that a visit leaves to the next, `Steps -> (scores, mask)`.
    max_age: see `memory.remember`.
    fade: see `memory.faded_costs`.
    fade_after: see `memory.faded_costs`.
    keep_cheapest: see `memory.remember`.
    use_distances: distances are those of the union with the stored edges; an
      estimator that takes its values from the graph alone does not see them.
    use_scores: an estimator that takes `past_scores` gets the last visit's.
    mesh: devices that the groups are divided among; None for one.

  Returns:
    `assign(rollouts, graphs) -> (advantage float32 [B, M, T], metrics,
    graphs)`.
  """
  takes_scores = "past_scores" in inspect.signature(estimator).parameters

  def assign_group(rollouts, before):
    steps = update.merge_group(rollouts).steps
    source_key = rollouts.state_keys[:, :-1].reshape(-1, 2)
    target_key = rollouts.state_keys[:, 1:].reshape(-1, 2)
    scores, scores_mask = freeze(steps)
    after = memory.remember(
      before,
      steps,
      source_key,
      target_key,
      scores=scores,
      scores_mask=scores_mask,
      max_age=max_age,
      keep_cheapest=keep_cheapest,
    )
    max_nodes = (
      merging.node_limit(*rollouts.mask.shape) + 2 * after.mask.shape[0]
    )
    union = memory_graph.union_graph(
      after,
      steps,
      source_key,
      target_key,
      max_nodes=max_nodes,
      fade=fade,
      fade_after=fade_after,
    )
    backup: Callable[..., chex.Array] = distances.shortest_distances
    if use_distances:
      backup = memory_graph.with_stored_edges(union.stored, backup)
    past = {}
    if use_scores and takes_scores:
      past = {"past_scores": before.scores, "past_mask": before.scores_mask}
    credit, graph, distance = estimators.credit_group(
      union.steps, estimator, max_nodes=max_nodes, backup=backup, **past
    )
    counts = statistics.graph_statistics(
      union.steps, graph, distance, credit.step_return
    )
    stored = _counts(before, after, union, graph, distance)
    advantage = credit.advantage.reshape(rollouts.mask.shape)
    return advantage, counts, stored, after

  assign_groups = mesh_lib.split_groups(
    functools.partial(batching.map_groups, assign_group), mesh
  )

  def assign(rollouts, graphs):
    # The observations take no part in credit: only keys and outcomes do.
    lean = rollouts.replace(observation=None)
    advantage, counts, stored, graphs = assign_groups(lean, graphs)
    metrics = update.credit_metrics(advantage, counts, rollouts.mask)
    return advantage, metrics | _memory_metrics(stored), graphs

  return assign


def _counts(before, after, union, graph, distance):
  """Counts of one group, float32 [] each, to be added over groups."""
  states = graph.node_mask.at[0].set(False)
  found = union.steps.mask & union.steps.success
  helped = jnp.any(states & jnp.isfinite(distance)) & ~jnp.any(found)
  counts = {
    "groups": jnp.ones(()),
    "edges": after.mask,
    "age": memory.edge_ages(after),
    "evicted": after.evicted - before.evicted,
    "states": states,
    "known": states & union.known,
    "helped": helped,
  }
  return {
    name: jnp.sum(values, dtype=jnp.float32) for name, values in counts.items()
  }


def _memory_metrics(counts):
  """Metrics of the visited tasks from counts [B]."""
  total = {name: jnp.sum(values) for name, values in counts.items()}

  def share(part, whole):
    return total[part] / jnp.maximum(total[whole], 1.0)

  return {
    # Per visited task, this visit's among them.
    "memory/edges": share("edges", "groups"),
    "memory/evicted": total["evicted"],
    "memory/known_states": share("known", "states"),
    # In visits since an edge was last taken.
    "memory/mean_age": share("age", "edges"),
    # Groups without success that a stored way to it helps.
    "memory/helped_groups": share("helped", "groups"),
  }
