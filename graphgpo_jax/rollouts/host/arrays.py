"""Episodes of text worlds as the arrays that credit and update take."""

from collections.abc import Sequence

import chex
import numpy as np

from graphgpo_jax.envs.text import types
from graphgpo_jax.policy.acting import reading
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.rollouts.host import episodes as episodes_lib
from graphgpo_jax.tables import state_keys


@chex.dataclass(frozen=True)
class TextRollouts:
  """Rollouts of a text world, and what their commands are called."""

  rollouts: on_device.Rollouts  # observation: TextObservation [B, M, T, ...]
  # int32 [B, M, T], equal for equal commands; `rollouts.action` counts in the
  # list of a state's admissible commands.
  command_id: chex.Array


def to_rollouts(
  episodes: Sequence[episodes_lib.Episode],
  state_key: types.StateKeyFn,
  *,
  num_groups: int,
  rollouts_per_task: int,
  max_steps: int,
  spec: reading.ReadingSpec,
  world_rewards: bool = False,
) -> TextRollouts:
  """Pads episodes of `policy.acting.choose` to arrays [B, M, T].

  Args:
    episodes: one of each plan; failed ones have no step and no success.
    state_key: tells states apart.
    num_groups: B.
    rollouts_per_task: M.
    max_steps: T.
    spec: what the policy read.
    world_rewards: rewards are what the world pays. Otherwise the last step of a
      success earns 1 and every other step 0.

  Returns:
    TextRollouts of NumPy arrays.

  Raises:
    ValueError: an episode is longer than T.
  """
  shape = (num_groups, rollouts_per_task, max_steps)
  observation = reading.empty(spec, shape)
  keys = np.zeros((*shape[:2], max_steps + 1, 2), np.uint32)
  found = {
    "action": np.zeros(shape, np.int32),
    "command_id": np.zeros(shape, np.int32),
    "log_prob": np.zeros(shape, np.float32),
    "reward": np.zeros(shape, np.float32),
    "action_valid": np.ones(shape, bool),
    "mask": np.zeros(shape, bool),
    "cost": np.zeros(shape, np.float32),
  }
  success = np.zeros(shape[:2], bool)
  for episode in episodes:
    here = (episode.plan.group, episode.plan.rollout)
    turns = () if episode.failed else episode.turns
    if len(turns) > max_steps:
      raise ValueError(
        f"episode {episode.plan.index} has {len(turns)} steps: expected at "
        f"most {max_steps}"
      )
    success[here] = episode.success and not episode.failed
    if not turns:
      continue
    states = [turns[0].before, *(turn.after for turn in turns)]
    keys[here][: len(states)] = state_keys.fingerprint_observations(
      [state_key(state) for state in states]
    )
    commands = state_keys.fingerprint_observations(
      [turn.action.command for turn in turns]
    )
    found["command_id"][here][: len(turns)] = commands[:, 0].view(np.int32)
    for step, turn in enumerate(turns):
      at = (*here, step)
      read, index, log_prob = turn.action.extra
      for name, leaf in vars(read.observation).items():
        getattr(observation, name)[at] = leaf
      found["action"][at], found["log_prob"][at] = index, log_prob
      found["mask"][at], found["cost"][at] = True, turn.after.cost
      found["action_valid"][at] = turn.after.action_valid
      found["reward"][at] = (
        turn.after.reward if world_rewards else turn.after.success
      )
  command_id = found.pop("command_id")
  return TextRollouts(
    rollouts=on_device.Rollouts(
      observation=observation,
      state_keys=keys,
      success=success,
      episode_return=found["reward"].sum(2),
      **found,
    ),
    command_id=command_id,
  )
