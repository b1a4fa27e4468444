"""Episodes as arrays that credit reads: keys and outcomes, no observation."""

from collections.abc import Sequence

import numpy as np

from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.rollouts.host import episodes as episodes_lib
from graphgpo_jax.tables import state_keys


def to_rollouts(
  episodes: Sequence[episodes_lib.Episode],
  state_key: types.StateKeyFn,
  *,
  num_groups: int,
  rollouts_per_task: int,
  max_steps: int,
  success_reward: float | None,
) -> on_device.Rollouts:
  """Pads episodes of any actor to arrays [B, M, T].

  An action is valid where a command could be read from the response and the
  world could follow it, as in `records.step_columns`.

  Args:
    episodes: one of each plan; failed ones have no step and no success.
    state_key: tells states apart.
    num_groups: B.
    rollouts_per_task: M.
    max_steps: T.
    success_reward: earned by a success's last step, every other step earning
      0; None takes the rewards that the world pays.

  Returns:
    Rollouts of NumPy arrays: `observation` is None, `log_prob` is 0, and equal
    commands have equal actions.

  Raises:
    ValueError: an episode is longer than T.
  """
  shape = (num_groups, rollouts_per_task, max_steps)
  keys = np.zeros((*shape[:2], max_steps + 1, 2), np.uint32)
  action = np.zeros(shape, np.int32)
  reward, cost = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
  valid, mask = np.ones(shape, bool), np.zeros(shape, bool)
  success = np.zeros(shape[:2], bool)
  for episode in episodes:
    here = (episode.plan.group, episode.plan.rollout)
    turns = () if episode.failed else episode.turns
    count = len(turns)
    if count > max_steps:
      raise ValueError(
        f"episode {episode.plan.index} has {count} steps: expected at most "
        f"{max_steps}"
      )
    if not turns:
      continue
    success[here] = episode.success
    states = [turns[0].before, *(turn.after for turn in turns)]
    keys[here][: count + 1] = state_keys.fingerprint_observations(
      [state_key(state) for state in states]
    )
    commands = state_keys.fingerprint_observations(
      [turn.action.command for turn in turns]
    )
    action[here][:count] = commands[:, 0].view(np.int32)
    mask[here][:count] = True
    cost[here][:count] = [turn.after.cost for turn in turns]
    valid[here][:count] = [
      turn.action.valid and turn.after.action_valid for turn in turns
    ]
    if success_reward is None:
      reward[here][:count] = [turn.after.reward for turn in turns]
    elif episode.success:
      reward[here][count - 1] = success_reward
  return on_device.Rollouts(
    observation=None,
    state_keys=keys,
    action=action,
    log_prob=np.zeros(shape, np.float32),
    reward=reward,
    action_valid=valid,
    mask=mask,
    success=success,
    episode_return=reward.sum(2),
    cost=cost,
  )
