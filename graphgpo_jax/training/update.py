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
  """The three pure functions an update is made of.

  Attributes:
    collect: `(params, key) -> (Rollouts, metrics)`.
    assign: `Rollouts -> (advantage float32 [B, M, T], metrics)`.
    optimise: `(state, Rollouts, advantage, key) -> (state, metrics)`.
  """

  collect: Callable[[Any, chex.PRNGKey], tuple[on_device.Rollouts, Metrics]]
  assign: Callable[[on_device.Rollouts], tuple[chex.Array, Metrics]]
  optimise: Callable[..., tuple[TrainState, Metrics]]


def make_collect(
  environment: types.Environment,
  apply_fn: on_device.ApplyFn,
  *,
  tasks_per_update: int,
  rollouts_per_task: int,
  max_resamples: int = 0,
  chunk_size: int = 0,
  mesh: jax.sharding.Mesh | None = None,
) -> Callable[[Any, chex.PRNGKey], tuple[on_device.Rollouts, Metrics]]:
  """Builds the first phase: B fresh training tasks, M rollouts each.

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
    `collect(params, key) -> (Rollouts, metrics)`.
  """

  def play(params, task_keys, play_keys):
    return on_device.collect_rollouts(
      environment,
      apply_fn,
      params,
      jax.vmap(environment.sample_task)(task_keys),
      play_keys,
      rollouts_per_task=rollouts_per_task,
      chunk_size=chunk_size,
    )

  play_groups = mesh_lib.split_groups(play, mesh, num_shared=1)

  def draw(params, key):
    task_key, play_key = jax.random.split(key)
    return play_groups(
      params,
      jax.random.split(task_key, tasks_per_update),
      jax.random.split(play_key, tasks_per_update),
    )

  def collect(params, key):
    if max_resamples:
      rollouts, drawn = on_device.collect_informative_rollouts(
        lambda draw_key: draw(params, draw_key),
        key,
        max_resamples=max_resamples,
      )
    else:
      rollouts, drawn = draw(params, key), jnp.int32(1)
    played = jnp.any(rollouts.mask, axis=2)
    count = jnp.maximum(jnp.sum(played), 1)
    steps = jnp.sum(rollouts.mask)
    invalid = jnp.sum(rollouts.mask & ~rollouts.action_valid)
    metrics = {
      "rollout/success": jnp.sum(rollouts.success & played) / count,
      "rollout/return": (
        jnp.sum(jnp.where(played, rollouts.episode_return, 0.0)) / count
      ),
      "rollout/length": steps / count,
      "rollout/steps": steps.astype(jnp.float32),
      "rollout/invalid_actions": invalid / jnp.maximum(steps, 1),
      "rollout/batches_drawn": drawn.astype(jnp.float32),
    }
    return rollouts, metrics

  return collect


def make_assign(
  estimator: estimators.Estimator,
  *,
  max_nodes: int | None = None,
  mesh: jax.sharding.Mesh | None = None,
  **options,
) -> Callable[[on_device.Rollouts], tuple[chex.Array, Metrics]]:
  """Builds the second phase: credit for every step, a graph per group.

  Args:
    estimator: function of one group, see `credit.estimators`.
    max_nodes: node limit of a group; room for every state without it.
    mesh: devices that the groups are divided among; None for one.
    **options: keywords of the estimator.

  Returns:
    `assign(rollouts) -> (advantage float32 [B, M, T], metrics)`.
  """

  def assign_group(rollouts):
    merged = merging.merge_rollouts(
      rollouts.state_keys,
      rollouts.reward,
      rollouts.success,
      rollouts.action_valid,
      rollouts.mask,
      max_nodes=max_nodes,
    )
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

  def assign(rollouts):
    # The observations take no part in credit: only keys and outcomes do.
    lean = rollouts.replace(observation=None)
    advantage, counts = assign_groups(lean)
    total = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), counts)
    metrics = statistics.shares(total)
    size = jnp.maximum(jnp.sum(rollouts.mask), 1)
    metrics["credit/advantage_magnitude"] = jnp.sum(jnp.abs(advantage)) / size
    metrics["credit/nonzero_advantages"] = jnp.sum(advantage != 0) / size
    return advantage, metrics

  return assign


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
    collect_key, optimise_key = update_keys(key, state.step)
    rollouts, collected = phases.collect(state.params, collect_key)
    advantage, assigned = phases.assign(rollouts)
    state, optimised = phases.optimise(state, rollouts, advantage, optimise_key)
    return state, {**collected, **assigned, **optimised}

  return update


def update_keys(
  key: chex.PRNGKey, step: chex.Array
) -> tuple[chex.PRNGKey, chex.PRNGKey]:
  """Keys of the rollout and of the optimiser in update `step`."""
  collect_key, optimise_key = jax.random.split(jax.random.fold_in(key, step))
  return collect_key, optimise_key
