"""States of rollouts that were played, from their tasks, keys and actions."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.envs import host_states, types
from graphgpo_jax.rollouts import on_device


@functools.partial(jax.jit, static_argnames=("environment",))
def replay_states(
  environment: types.Environment,
  tasks: Any,
  play_key: chex.Array,
  action: chex.Array,
) -> Any:
  """Plays the same actions with the same chance again.

  Args:
    environment: in which they were played.
    tasks: leaves [B, ...].
    play_key: uint32 [B, ...], as in Rollouts.
    action: int32 [B, M, T].

  Returns:
    The states in host form (see `host_states`), leaves [B, M, T + 1, ...];
    those after the end of a rollout mean nothing.
  """
  groups, rollouts, _ = action.shape
  state, _, _ = on_device.start_rollouts(
    environment,
    tasks,
    jax.random.wrap_key_data(play_key),
    rollouts_per_task=rollouts,
  )

  def act(state, actions):
    following = jax.vmap(environment.step)(state, actions)[0]
    return following, host_states.to_host_form(state)

  flat = action.reshape(groups * rollouts, -1)
  final, states = jax.lax.scan(act, state, flat.T)
  states = jax.tree.map(
    lambda leaf, last: jnp.concatenate([leaf, last[None]]),
    states,
    host_states.to_host_form(final),
  )

  def by_group(leaf):
    leaf = jnp.swapaxes(leaf, 0, 1)
    return leaf.reshape((groups, rollouts) + leaf.shape[1:])

  return jax.tree.map(by_group, states)
