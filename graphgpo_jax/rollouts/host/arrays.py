"""Episodes of text worlds as the arrays that credit and update take."""

from collections.abc import Sequence
from typing import Any

import chex
import numpy as np

from graphgpo_jax.envs.text import types
from graphgpo_jax.policy.acting import reading
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.rollouts.host import credit_arrays
from graphgpo_jax.rollouts.host import episodes as episodes_lib


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
  success_reward: float | None,
) -> TextRollouts:
  """Pads episodes of `policy.acting.choose` to arrays [B, M, T].

  Args:
    episodes: one of each plan; failed ones have no step and no success.
    state_key: tells states apart.
    num_groups: B.
    rollouts_per_task: M.
    max_steps: T.
    spec: what the policy read.
    success_reward: as for `credit_arrays.to_rollouts`.

  Returns:
    TextRollouts of NumPy arrays.

  Raises:
    ValueError: an episode is longer than T.
  """
  shape = (num_groups, rollouts_per_task, max_steps)
  outcomes: Any = credit_arrays.to_rollouts(
    episodes,
    state_key,
    num_groups=num_groups,
    rollouts_per_task=rollouts_per_task,
    max_steps=max_steps,
    success_reward=success_reward,
  )
  observation = reading.empty(spec, shape)
  action = np.zeros(shape, np.int32)
  log_prob = np.zeros(shape, np.float32)
  for episode in episodes:
    if episode.failed:
      continue
    for step, turn in enumerate(episode.turns):
      at = (episode.plan.group, episode.plan.rollout, step)
      read, action[at], log_prob[at] = turn.action.extra
      for name, leaf in vars(read.observation).items():
        getattr(observation, name)[at] = leaf
  return TextRollouts(
    rollouts=outcomes.replace(
      observation=observation, action=action, log_prob=log_prob
    ),
    command_id=outcomes.action,
  )
