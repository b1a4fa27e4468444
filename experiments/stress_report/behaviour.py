"""Behaviour without a network: chance, mixed with the expert's actions.

The expert takes a cheapest way on the true graph, all of them alike, so one
expert serves every environment that can be explored.
"""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.envs import true_graph, types, wrapper
from graphgpo_jax.rollouts import on_device


@chex.dataclass(frozen=True)
class Expert:
  """The cheapest actions in every state of B tasks, tables of S rows."""

  keys: chex.Array  # uint32 [B, S, 2], ascending; padding behind
  count: chex.Array  # int32 [B], keys that there are
  best: chex.Array  # bool [B, S, A], on a cheapest way to SUCCESS; none at
  #   dead ends


def make_expert(graphs: Sequence[true_graph.TrueGraph]) -> Expert:
  """Tables of what is best, by state key.

  Args:
    graphs: of B tasks, of one environment.

  Returns:
    Expert.
  """
  size = max(graph.num_states for graph in graphs)
  num_actions = graphs[0].next_node.shape[1]
  keys = np.full((len(graphs), size, 2), 2**32 - 1, np.uint32)
  best = np.zeros((len(graphs), size, num_actions), bool)
  for row, graph in enumerate(graphs):
    # The lanes as one number: first by the first lane, then by the second.
    order = 1 + np.lexsort((graph.keys[1:, 1], graph.keys[1:, 0]))
    keys[row, : len(order)] = graph.keys[order]
    best[row, : len(order)] = graph.best_actions()[order]
  count = np.asarray([graph.num_states for graph in graphs], np.int32)
  return Expert(
    keys=jnp.asarray(keys), count=jnp.asarray(count), best=jnp.asarray(best)
  )


class Revealed(wrapper.Wrapper):
  """An environment that shows its state's key in place of an observation.

  A task is a pair of its row in the expert's tables and the task itself.
  """

  def task_fingerprint(self, task: Any) -> chex.Array:
    """uint32 [2] of the task's layout."""
    return super().task_fingerprint(task[1])

  def reset(self, key: chex.PRNGKey, task: Any) -> tuple[Any, Any]:
    """Start state of `task`, and what the behaviour sees of it."""
    row, inner = task
    state, observation = super().reset(key, inner)
    return (row, state), self._show(row, state, observation)

  def step(self, state: Any, action: chex.Array) -> tuple[Any, ...]:  # type: ignore[override]
    """As the step of the environment inside, seen otherwise."""
    row, inner = state
    inner, observation, *rest = super().step(inner, action)
    return (row, inner), self._show(row, inner, observation), *rest

  def state_key(self, state: Any) -> chex.Array:
    """uint32 [2] of the state inside."""
    return super().state_key(state[1])

  def admissible_actions(self, state: Any) -> chex.Array:
    """Bool [A], of the state inside."""
    return super().admissible_actions(state[1])

  def with_chance(self, state: Any, key: chex.PRNGKey) -> Any:
    """The same state, its further chance drawn from `key`."""
    return state[0], super().with_chance(state[1], key)

  def _show(self, row, state, observation):
    return {
      "task": row,
      "key": super().state_key(state),
      "action_mask": observation.action_mask,
    }


def make_behaviour(
  *, expert_share: float, mask_actions: bool
) -> on_device.ApplyFn:
  """Logits of a mixture of chance and the expert.

  p(a | s) = expert_share * [a is best] / number of best actions
           + (1 - expert_share) * uniform; uniform alone at dead ends.

  Args:
    expert_share: probability of asking the expert, in [0, 1].
    mask_actions: uniform over the observation's mask, not over all actions.

  Returns:
    `(expert, observation) -> logits` float32 [R, A], for `collect_rollouts` of
    a `Revealed` environment.

  Raises:
    ValueError: the share is out of its range.
  """
  if not 0.0 <= expert_share <= 1.0:
    raise ValueError(
      f"expert_share must be a number from 0 to 1, got {expert_share}"
    )

  def logits(expert, observation):
    best = best_actions(expert, observation["task"], observation["key"])
    possible = observation["action_mask"]
    if not mask_actions:
      possible = jnp.ones_like(possible)
    uniform = possible / jnp.sum(possible, axis=-1, keepdims=True)
    number = jnp.sum(best, axis=-1, keepdims=True)
    share = jnp.where(number > 0, expert_share, 0.0)
    mixed = share * best / jnp.maximum(number, 1) + (1.0 - share) * uniform
    return jnp.log(mixed).astype(jnp.float32)

  return logits


def best_actions(
  expert: Expert, task: chex.Array, state_key: chex.Array
) -> chex.Array:
  """Looks up the expert's actions, by bisection.

  Args:
    expert: the tables.
    task: int32 [R], rows of the tables.
    state_key: uint32 [R, 2].

  Returns:
    bool [R, A]; all False for a key that the table does not hold.
  """
  size = expert.keys.shape[1]

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) // 2
    entry = expert.keys[task, jnp.minimum(middle, size - 1)]
    first, second = jnp.unstack(entry, axis=-1)
    wanted_first, wanted_second = jnp.unstack(state_key, axis=-1)
    below = (first < wanted_first) | (
      (first == wanted_first) & (second < wanted_second)
    )
    going = low < high
    return (
      jnp.where(going & below, middle + 1, low),
      jnp.where(going & ~below, middle, high),
    )

  high = expert.count[task]
  place, _ = jax.lax.fori_loop(
    0, int(size).bit_length(), halve, (jnp.zeros_like(high), high)
  )
  place = jnp.minimum(place, size - 1)
  found = jnp.all(expert.keys[task, place] == state_key, axis=-1)
  return found[:, None] & expert.best[task, place]


def collect(
  environment: types.Environment,
  behaviour: on_device.ApplyFn,
  expert: Expert,
  tasks: Any,
  key: chex.PRNGKey,
  *,
  rollouts_per_task: int,
) -> on_device.Rollouts:
  """Plays B tasks, M rollouts each, by the on-device loop.

  Args:
    environment: the environment.
    behaviour: of `make_behaviour`.
    expert: tables of the same B tasks.
    tasks: pytree of B tasks, leaves [B, ...].
    key: PRNG key.
    rollouts_per_task: M.

  Returns:
    Rollouts without observations.
  """
  number = expert.count.shape[0]
  revealed = Revealed(environment)

  @jax.jit
  def play(expert, tasks, keys):
    rollouts = on_device.collect_rollouts(
      revealed,
      behaviour,
      expert,
      (jnp.arange(number, dtype=jnp.int32), tasks),
      keys,
      rollouts_per_task=rollouts_per_task,
    )
    return rollouts.replace(observation=None)  # type: ignore[attr-defined]

  return play(expert, tasks, jax.random.split(key, number))
