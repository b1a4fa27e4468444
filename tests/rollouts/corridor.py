"""A world of one corridor: what it does can be told from its length."""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.envs import types


@chex.dataclass(frozen=True)
class Place:
  goal: chex.Array
  colour: chex.Array
  position: chex.Array
  clock: chex.Array


class Corridor:
  """Action 1 goes one on, 0 waits, 2 is not admissible."""

  def __init__(self, horizon):
    self.spec = types.EnvironmentSpec(
      name="corridor",
      num_tokens=1,
      feature_sizes=(16, 1000),
      num_pointer_actions=0,
      pointer_start=0,
      num_fixed_actions=3,
      horizon=horizon,
    )

  def _observe(self, state):
    return types.Observation(
      tokens=jnp.stack([state.goal - state.position, state.colour])[None],
      token_mask=jnp.ones(1, bool),
      action_mask=jnp.ones(3, bool),
    )

  def sample_task(self, key):
    return jax.random.randint(key, (), 1, 4)

  def reset(self, key, task):
    state = Place(
      goal=jnp.asarray(task, jnp.int32),
      colour=jax.random.randint(key, (), 0, 1000),
      position=jnp.int32(0),
      clock=jnp.int32(0),
    )
    return state, self._observe(state)

  def step(self, state, action):
    after = state.replace(
      position=state.position + (action == 1), clock=state.clock + 1
    )
    success = after.position == after.goal
    return (
      after,
      self._observe(after),
      success.astype(jnp.float32),
      success,
      (after.clock >= self.spec.horizon) & ~success,
      types.StepInfo(action_valid=action != 2, success=success),
    )

  def state_key(self, state):
    return jnp.stack([state.position, state.goal]).astype(jnp.uint32)


def apply_fn(params, observation):
  left = observation.tokens[..., 0, 0]
  return params[jnp.clip(left, 0, 3)]
