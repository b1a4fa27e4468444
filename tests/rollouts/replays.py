"""A rollout's actions once more, in a plain loop."""

import jax
import numpy as np


def replay(environment, start, actions):
  """Plays recorded actions one at a time."""
  state, observation = start
  step = jax.jit(environment.step)
  state_key = jax.jit(environment.state_key)
  records, keys = [], [state_key(state)]
  for action in actions:
    state, following, reward, terminated, truncated, info = step(state, action)
    records.append((observation, float(reward), bool(info.action_valid)))
    keys.append(state_key(state))
    observation = following
    if terminated or truncated:
      return records, np.asarray(keys), bool(info.success)
  raise AssertionError("the rollout has no end")
