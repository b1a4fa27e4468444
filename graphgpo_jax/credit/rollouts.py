"""From the state keys of one group's rollouts to its Steps."""

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib


@chex.dataclass(frozen=True)
class MergedRollouts:
  """Steps of one group, and what became of its states."""

  steps: graph_lib.Steps  # [E] arrays, E = M * T, rollout by rollout
  num_nodes: chex.Array  # int32 [], distinct states plus the sink
  overflow: chex.Array  # int32 [], visits that got no node: limit reached


def node_limit(num_rollouts: int, num_steps: int) -> int:
  """Nodes that M rollouts of T steps can have at most, the sink included."""
  return num_rollouts * (num_steps + 1) + 1


def merge_rollouts(
  state_keys: chex.Array,
  reward: chex.Array,
  success: chex.Array,
  action_valid: chex.Array,
  mask: chex.Array,
  *,
  cost: chex.Array | None = None,
  action: chex.Array | None = None,
  max_nodes: int | None = None,
) -> MergedRollouts:
  """Merges M rollouts of one task into the steps of one graph.

  Args:
    state_keys: uint32 [M, T + 1, 2], fingerprint of every state, the one after
      the last step included.
    reward: float32 [M, T], reward of each step.
    success: bool [M], the rollout ended in success.
    action_valid: bool [M, T], the action was admissible.
    mask: bool [M, T], True where there is a step; a rollout's steps come first.
    cost: float32 [M, T], cost of each step, at least 0; 1 without it.
    action: int32 [M, T], the action of each step; not known without it.
    max_nodes: N, node limit, the sink included; `node_limit` without it.

  Returns:
    MergedRollouts. The last step of a successful rollout leads to SUCCESS, so
    the state it ended in is no node.
  """
  chex.assert_rank([state_keys, reward, success, mask], [3, 2, 1, 2])
  chex.assert_type([success, action_valid, mask], bool)
  if cost is None:
    cost = jnp.ones(mask.shape, jnp.float32)
  chex.assert_equal_shape([reward, action_valid, mask, cost])
  num_rollouts, num_steps = mask.shape
  chex.assert_shape(state_keys, (num_rollouts, num_steps + 1, 2))
  limit = node_limit(num_rollouts, num_steps)
  limit = limit if max_nodes is None else max_nodes
  ends = jnp.zeros((num_rollouts, 1), bool)
  last = mask & ~jnp.concatenate([mask[:, 1:], ends], axis=1)
  won = last & success[:, None]
  visited = jnp.concatenate([mask[:, :1], mask & ~won], axis=1)
  nodes = graph_lib.node_ids(
    state_keys.reshape(-1, 2), visited.reshape(-1), max_nodes=limit
  )
  ids = nodes.ids.reshape(num_rollouts, num_steps + 1)
  source = jnp.where(mask, ids[:, :-1], graph_lib.NO_NODE)
  target = jnp.where(won, graph_lib.SUCCESS, ids[:, 1:])
  target = jnp.where(mask, target, graph_lib.NO_NODE)
  reward = jnp.where(mask, reward, 0.0).astype(jnp.float32)
  total = jnp.broadcast_to(jnp.sum(reward, 1, keepdims=True), mask.shape)
  steps = graph_lib.Steps(
    source=source.reshape(-1),
    target=target.reshape(-1),
    cost=jnp.where(mask, cost, 0.0).astype(jnp.float32).reshape(-1),
    reward=reward.reshape(-1),
    episode_return=jnp.where(mask, total, 0.0).reshape(-1),
    success=(mask & success[:, None]).reshape(-1),
    last=last.reshape(-1),
    action_valid=action_valid.reshape(-1),
    mask=mask.reshape(-1),
    action=None if action is None else action.reshape(-1),
  )
  return MergedRollouts(
    steps=steps, num_nodes=nodes.num_nodes, overflow=nodes.overflow
  )
