"""Plays every seed several times and keeps the steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphgpo_jax.integrations.gym import episodes, recorders


def collect(
  env: Any,
  seeds: Sequence[int],
  *,
  rollouts: int,
  policy: Callable[[Any], Any] | None = None,
  policy_seed: int = 0,
  **options: Any,
) -> dict[str, list[Any]]:
  """A table of `rollouts` episodes of each seed.

  An environment that is stochastic itself draws the same chances for the same
  seed; rollouts then differ by the policy alone.

  Args:
    env: an environment or vector environment whose episodes end.
    seeds: of the resets.
    rollouts: episodes of each seed.
    policy: action or, of a vector environment, actions by observations. None:
      random ones.
    policy_seed: of the random ones.
    **options: as for `RecordSteps` and `RecordVectorSteps`.

  Returns:
    A table for `assign_credit`; columns are `episodes.COLUMNS`.

  Raises:
    ValueError: seeds are empty, or rollouts less than 1.
  """
  if not len(seeds) or rollouts < 1:
    raise ValueError(
      f"expected at least one seed and one rollout, got {len(seeds)} seeds and "
      f"{rollouts} rollouts"
    )
  task_fn = options.pop("task_fn", episodes.task_of_seed)

  def task_of_asked(start):
    # Others begin while a vector environment waits for its longest episode.
    return None if start.seed is None else task_fn(start)

  recorder = recorders.record(env, task_fn=task_of_asked, **options)
  env.action_space.seed(policy_seed)
  act = policy or (lambda _: env.action_space.sample())
  queue = [int(seed) for seed in seeds for _ in range(rollouts)]
  if isinstance(recorder, recorders.RecordSteps):
    for seed in queue:
      _play(recorder, seed, act)
  else:
    for first in range(0, len(queue), env.num_envs):
      _play_together(recorder, queue[first : first + env.num_envs], act)
  return recorder.table()


def _play(recorder, seed, act):
  observation, _ = recorder.reset(seed=seed)
  over = False
  while not over:
    observation, _, *ends, _ = recorder.step(act(observation))
    over = any(ends)


def _play_together(recorder, seeds, act):
  """One episode of each seed; environments without one play along."""
  spare = recorder.num_envs - len(seeds)
  found, _ = recorder.reset(seed=[*seeds, *[None] * spare])
  waiting = np.arange(recorder.num_envs) < len(seeds)
  while waiting.any():
    found, _, terminated, truncated, _ = recorder.step(act(found))
    ended = np.logical_or(terminated, truncated)
    waiting &= ~ended
    if recorder.mode == recorders.DISABLED and ended.any() and waiting.any():
      found, _ = recorder.reset(options={"reset_mask": ended})
