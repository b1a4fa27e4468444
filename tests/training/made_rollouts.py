"""Rollouts out of a random generator: no environment, nothing compiled."""

import numpy as np

from graphgpo_jax.rollouts import on_device


def random_rollouts(seed=0, *, tasks=2, rollouts=4, horizon=6, states=4):
  """Rollouts of random walks, some of which succeed; leaves of NumPy."""
  rng = np.random.default_rng(seed)
  shape = (tasks, rollouts, horizon)
  length = rng.integers(1, horizon + 1, (tasks, rollouts))
  success = rng.random((tasks, rollouts)) < 0.5
  success[:, 0], success[:, 1] = True, False
  time = np.arange(horizon)
  won = (time == length[..., None] - 1) & success[..., None]
  walk = rng.integers(0, states, (*shape[:2], horizon + 1))
  return on_device.Rollouts(
    observation=np.zeros((*shape, 1), np.float32),
    state_keys=np.stack([walk, walk], axis=-1).astype(np.uint32),
    action=rng.integers(0, 3, shape).astype(np.int32),
    log_prob=np.zeros(shape, np.float32),
    reward=np.where(won, 10.0, 0.0).astype(np.float32),
    action_valid=rng.random(shape) < 0.8,
    mask=time < length[..., None],
    success=success,
    episode_return=np.where(success, 10.0, 0.0).astype(np.float32),
  )
