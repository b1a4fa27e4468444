"""One update: rollout, credit, policy gradient, as pure functions.

The three phases are functions of arrays; `update` is their composition. A
trainer that wants the seconds of each phase jits them one by one, which also
lets runs that differ in the estimator alone share two of the three programs.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import batching, estimators, statistics
from graphgpo_jax.credit import rollouts as merging
from graphgpo_jax.envs import types
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.training import mesh as mesh_lib
from graphgpo_jax.training import state as state_lib

TrainState = state_lib.TrainState
Metrics = dict[str, chex.Array]


@dataclasses.dataclass(frozen=True)
class Phases:
  """The pure functions an update is made of: three, and two with a memory.

  Attributes:
    collect: `(params, key) -> (Rollouts, metrics)`; with a memory
      `(params, key, tasks)`.
    assign: `Rollouts -> (advantage float32 [B, M, T], metrics)`; with a memory
      `(Rollouts, graphs) -> (advantage, metrics, graphs)`.
    optimise: `(state, Rollouts, advantage, key) -> (state, metrics)`.
    recall: `(memory, step) -> (tasks, graphs)`, the tasks to visit and what is
      stored of them.
    remember: `(memory, step, graphs) -> memory`.
  """

  collect: Callable[..., tuple[on_device.Rollouts, Metrics]]
  assign: Callable[..., Any]
  optimise: Callable[..., tuple[TrainState, Metrics]]
  recall: Callable[..., tuple[Any, Any]] | None = None
  remember: Callable[..., Any] | None = None


def make_collect(
  environment: types.Environment,
  apply_fn: on_device.ApplyFn,
  *,
  tasks_per_update: int,
  rollouts_per_task: int,
  max_resamples: int = 0,
  chunk_size: int = 0,
  mesh: jax.sharding.Mesh | None = None,
) -> Callable[..., tuple[on_device.Rollouts, Metrics]]:
  """Builds the first phase: B training tasks, M rollouts each.

  Args:
    environment: gives tasks of its training side.
    apply_fn: `(params, observation) -> logits`.
    tasks_per_update: B.
    rollouts_per_task: M.
    max_resamples: dynamic sampling draws at most so many further batches to
      replace groups whose returns are all equal; 0 switches it off.
    chunk_size: see `on_device.collect_rollouts`.
    mesh: devices that the tasks are divided among; None for one. What is
      drawn does not depend on it.

  Returns:
    `collect(params, key, tasks=None) -> (Rollouts, metrics)`. Tasks are drawn
    afresh, or are those given, leaves [B, ...], which dynamic sampling cannot
    replace.
  """

  def play(params, tasks, play_keys):
    return on_device.collect_rollouts(
      environment,
      apply_fn,
      params,
      tasks,
      play_keys,
      rollouts_per_task=rollouts_per_task,
      chunk_size=chunk_size,
    )

  def play_fresh(params, task_keys, play_keys):
    return play(params, jax.vmap(environment.sample_task)(task_keys), play_keys)

  play_groups = mesh_lib.split_groups(play, mesh, num_shared=1)
  play_fresh_groups = mesh_lib.split_groups(play_fresh, mesh, num_shared=1)

  def draw(params, key, tasks=None):
    task_key, play_key = jax.random.split(key)
    play_keys = jax.random.split(play_key, tasks_per_update)
    if tasks is not None:
      return play_groups(params, tasks, play_keys)
    task_keys = jax.random.split(task_key, tasks_per_update)
    return play_fresh_groups(params, task_keys, play_keys)

  def collect(params, key, tasks=None):
    if tasks is not None:
      if max_resamples:
        raise ValueError("max_resamples must be 0 where tasks are given")
      rollouts, drawn = draw(params, key, tasks), jnp.int32(1)
    elif max_resamples:
      rollouts, drawn = on_device.collect_informative_rollouts(
        lambda draw_key: draw(params, draw_key),
        key,
        max_resamples=max_resamples,
      )
    else:
      rollouts, drawn = draw(params, key), jnp.int32(1)
    metrics = rollout_metrics(rollouts)
    metrics["rollout/batches_drawn"] = drawn.astype(jnp.float32)
    return rollouts, metrics

  return collect


def rollout_metrics(rollouts: on_device.Rollouts) -> Metrics:
  """What an update reports of its rollouts.

  Args:
    rollouts: of B tasks; one without a step is not counted.

  Returns:
    Mapping of metric name to float32 [].
  """
  played = jnp.any(rollouts.mask, axis=2)
  count = jnp.maximum(jnp.sum(played), 1)
  steps = jnp.sum(rollouts.mask)
  invalid = jnp.sum(rollouts.mask & ~rollouts.action_valid)
  return {
    "rollout/success": jnp.sum(rollouts.success & played) / count,
    "rollout/return": (
      jnp.sum(jnp.where(played, rollouts.episode_return, 0.0)) / count
    ),
    "rollout/length": steps / count,
    "rollout/steps": steps.astype(jnp.float32),
    "rollout/invalid_actions": invalid / jnp.maximum(steps, 1),
  }


def make_credit(
  estimator: estimators.Estimator,
  *,
  max_nodes: int | None = None,
  mesh: jax.sharding.Mesh | None = None,
  **options,
) -> Callable[
  [on_device.Rollouts], tuple[chex.Array, statistics.GraphStatistics]
]:
  """Builds the credit of every step, a graph per group.

  Args:
    estimator: function of one group, see `credit.estimators`.
    max_nodes: node limit of a group; room for every state without it.
    mesh: devices that the groups are divided among, which need nothing of each
      other; None for one.
    **options: keywords of the estimator.

  Returns:
    `credit(rollouts) -> (advantage float32 [B, M, T], counts)`, the counts of
    every group, each float32 [B].
  """

  def assign_group(rollouts):
    merged = merge_group(rollouts, max_nodes=max_nodes)
    limit = merging.node_limit(*rollouts.mask.shape)
    credit, graph, distance = estimators.credit_group(
      merged.steps,
      estimator,
      max_nodes=limit if max_nodes is None else max_nodes,
      **options,
    )
    counts = statistics.graph_statistics(
      merged.steps, graph, distance, credit.step_return
    )
    return credit.advantage.reshape(rollouts.mask.shape), counts

  assign_groups = mesh_lib.split_groups(
    functools.partial(batching.map_groups, assign_group), mesh
  )

  def credit(rollouts):
    # The observations take no part in credit: only keys and outcomes do.
    return assign_groups(rollouts.replace(observation=None))

  return credit


def make_assign(
  estimator: estimators.Estimator,
  *,
  max_nodes: int | None = None,
  mesh: jax.sharding.Mesh | None = None,
  **options,
) -> Callable[[on_device.Rollouts], tuple[chex.Array, Metrics]]:
  """Builds the second phase: credit for every step, and what to report of it.

  Args:
    estimator: function of one group, see `credit.estimators`.
    max_nodes: see `make_credit`.
    mesh: devices that the groups are divided among; None for one. They
      communicate the sums of the metrics and nothing else.
    **options: keywords of the estimator.

  Returns:
    `assign(rollouts) -> (advantage float32 [B, M, T], metrics)`.
  """
  credit = make_credit(estimator, max_nodes=max_nodes, mesh=mesh, **options)

  def assign(rollouts):
    advantage, counts = credit(rollouts)
    return advantage, credit_metrics(advantage, counts, rollouts.mask)

  return assign


def merge_group(
  rollouts: on_device.Rollouts, *, max_nodes: int | None = None
) -> merging.MergedRollouts:
  """Rollouts of one group, leaves [M, ...], to the steps of its graph."""
  return merging.merge_rollouts(
    rollouts.state_keys,
    rollouts.reward,
    rollouts.success,
    rollouts.action_valid,
    rollouts.mask,
    cost=rollouts.cost,
    action=rollouts.action,
    max_nodes=max_nodes,
  )


def credit_metrics(
  advantage: chex.Array,
  counts: statistics.GraphStatistics,
  mask: chex.Array,
) -> Metrics:
  """What an update reports of its credit.

  Args:
    advantage: float32 [B, M, T].
    counts: GraphStatistics of every group, each float32 [B].
    mask: bool [B, M, T], True where there is a step.

  Returns:
    Mapping of metric name to float32 [].
  """
  total = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), counts)
  metrics = statistics.shares(total)
  size = jnp.maximum(jnp.sum(mask), 1)
  metrics["credit/advantage_magnitude"] = jnp.sum(jnp.abs(advantage)) / size
  metrics["credit/nonzero_advantages"] = jnp.sum(advantage != 0) / size
  return metrics


def compose(
  phases: Phases,
) -> Callable[[TrainState, chex.PRNGKey], tuple[TrainState, Metrics]]:
  """Composes the phases into one pure `update(state, key)`.

  The keys of update k are folds of `key` by k = state.step, so a resumed run
  draws what the unbroken one would have drawn.

  Args:
    phases: collect, assign and optimise.

  Returns:
    `update(state, key) -> (state, metrics)`; jit it with `donate_argnums=0`.
  """

  def update(state, key):
    return run_phases(phases, state, *update_keys(key, state.step))

  return update


def _call(name, phase, *args):
  del name
  return phase(*args)


def run_phases(
  phases: Phases,
  state: TrainState,
  collect_key: chex.PRNGKey,
  optimise_key: chex.PRNGKey,
  *,
  call: Callable[..., Any] = _call,
) -> tuple[TrainState, Metrics]:
  """One update, phase by phase.

  Args:
    phases: with `recall` and `remember` where the state has a memory.
    state: before the update.
    collect_key: of the rollout.
    optimise_key: of the optimiser.
    call: calls a phase, `(name, phase, *args)`; a trainer takes the time here.

  Returns:
    The state after the update, and its metrics.
  """
  if state.memory is None:
    rollouts, collected = call(
      "collect", phases.collect, state.params, collect_key
    )
    advantage, assigned = call("assign", phases.assign, rollouts)
  else:
    tasks, graphs = call("recall", phases.recall, state.memory, state.step)
    rollouts, collected = call(
      "collect", phases.collect, state.params, collect_key, tasks
    )
    advantage, assigned, graphs = call(
      "assign", phases.assign, rollouts, graphs
    )
    memory = call("remember", phases.remember, state.memory, state.step, graphs)
    state = state.replace(memory=memory)  # type: ignore[attr-defined]
  state, optimised = call(
    "optimise", phases.optimise, state, rollouts, advantage, optimise_key
  )
  return state, {**collected, **assigned, **optimised}


def update_keys(
  key: chex.PRNGKey, step: chex.Array
) -> tuple[chex.PRNGKey, chex.PRNGKey]:
  """Keys of the rollout and of the optimiser in update `step`."""
  collect_key, optimise_key = jax.random.split(jax.random.fold_in(key, step))
  return collect_key, optimise_key
