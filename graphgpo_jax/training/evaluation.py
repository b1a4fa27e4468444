"""Success of a policy on a fixed panel of tasks, and what it costs."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.envs import types
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.training import mesh as mesh_lib

# Folded into the run's key, so that evaluation never draws a key of training.
_EVALUATION_STREAM = 0x65766C


def make_evaluate(
  environment: types.Environment,
  apply_fn: on_device.ApplyFn,
  panel: Any,
  *,
  chunk_size: int = 0,
  mesh: jax.sharding.Mesh | None = None,
) -> Callable[[Any, chex.PRNGKey], dict[str, chex.Array]]:
  """Builds the evaluation of parameters on a panel.

  Each task is played once with sampled and once with greedy actions. A world
  with chance in its steps has it here, too, drawn from the key.

  Args:
    environment: the environment.
    apply_fn: `(params, observation) -> logits`.
    panel: pytree of tasks, leaves [P, ...].
    chunk_size: see `on_device.collect_rollouts`.
    mesh: devices that the panel is divided among; None for one.

  Returns:
    `evaluate(params, key) -> metrics`: `eval/success` (sampled actions, the
    policy as it acts), `eval/success_greedy`, `eval/return` and `eval/length`
    (both sampled), each float32 [].
    Where `spec.has_costs`: `eval/cost` of an episode and
    `eval/cost_of_success` of a successful one, means in the environment's unit
    (0 where none succeeded), sampled.
    For each name G of `spec.action_groups`: `eval/G_steps`, the share of steps
    that were admissible actions of the group, and `eval/G_episodes`, the share
    of episodes with such a step, sampled.
  """
  spec = environment.spec

  def choose(keys, logits):
    # Every task is played twice in a row, so that one program serves both.
    sampled = on_device.sample_action(keys, logits)
    greedy = on_device.greedy_action(keys, logits)
    return jnp.where(jnp.arange(logits.shape[0]) % 2 == 0, sampled, greedy)

  def play(params, tasks, keys):
    played = on_device.collect_rollouts(
      environment,
      apply_fn,
      params,
      tasks,
      keys,
      rollouts_per_task=2,
      choose=choose,
      chunk_size=chunk_size,
    )
    lengths = jnp.sum(played.mask, axis=2)
    done = played.mask & played.action_valid
    uses = {
      name: jnp.sum(done & jnp.isin(played.action, jnp.asarray(group)), axis=2)
      for name, group in spec.action_groups
    }
    assert played.cost is not None  # collect_rollouts always tells it
    cost = jnp.sum(played.cost, axis=2)
    return played.success, played.episode_return, lengths, cost, uses

  num_tasks = jax.tree.leaves(panel)[0].shape[0]
  play_panel = mesh_lib.split_groups(play, mesh, num_shared=1)

  def evaluate(params, key):
    keys = jax.random.split(
      jax.random.fold_in(key, _EVALUATION_STREAM), num_tasks
    )
    won, returns, lengths, cost, uses = play_panel(params, panel, keys)
    success = jnp.mean(won, axis=0, dtype=jnp.float32)
    metrics = {
      "eval/success": success[0],
      "eval/success_greedy": success[1],
      "eval/return": jnp.mean(returns[:, 0]),
      "eval/length": jnp.mean(lengths[:, 0], dtype=jnp.float32),
    }
    if spec.has_costs:
      of_success = jnp.sum(jnp.where(won[:, 0], cost[:, 0], 0.0))
      wins = jnp.maximum(jnp.sum(won[:, 0]), 1)
      metrics["eval/cost"] = jnp.mean(cost[:, 0])
      metrics["eval/cost_of_success"] = of_success / wins
    for name, used in uses.items():
      share = jnp.sum(used[:, 0]) / jnp.sum(lengths[:, 0])
      episodes = jnp.mean(used[:, 0] > 0, dtype=jnp.float32)
      metrics[f"eval/{name}_steps"] = share
      metrics[f"eval/{name}_episodes"] = episodes
    return metrics

  return evaluate
