"""Wrappers that keep the steps of Gymnasium environments for `assign_credit`.

Episodes of one task are compared with one another. By default the task is the
seed and options of the reset; an episode that began without them, as one does
when a vector environment resets itself, is of no task and left out
(`log.skipped`). A truncated episode is no success. Unfinished episodes are not
in the table (`log.unfinished`).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from graphgpo_jax.integrations.gym import episodes, gym_extra, observations

_gymnasium = gym_extra.require("gymnasium", "recording environments")
_vector = gym_extra.require("gymnasium.vector", "recording environments")

# Base classes that a type checker need not know.
_Wrapper: Any = _gymnasium.Wrapper
_VectorWrapper: Any = _vector.VectorWrapper

NEXT_STEP, SAME_STEP, DISABLED = "NextStep", "SameStep", "Disabled"
_MODES = (NEXT_STEP, SAME_STEP, DISABLED)
_MASK = "reset_mask"

StateKey = Callable[[Any, Mapping[str, Any]], Hashable]


class RecordSteps(_Wrapper):
  """Records one environment's episodes."""

  def __init__(
    self,
    env: Any,
    *,
    task_fn: episodes.TaskFn = episodes.task_of_seed,
    success_fn: episodes.SuccessFn = episodes.told_or_paid,
    state_key: StateKey | None = None,
  ):
    """Wraps an environment.

    Args:
      env: a Gymnasium environment.
      task_fn: id of the group that an episode belongs to, or None to leave it
        out.
      success_fn: of the last info, the last reward and whether the environment
        terminated, asked at the end of each episode.
      state_key: of an observation and its info; what the graph's states are.
        None: the observation.
    """
    super().__init__(env)
    self._notes = _Notes(
      env.observation_space, 1, task_fn, success_fn, state_key
    )
    self._actions = env.action_space
    self._over = True

  @property
  def log(self) -> episodes.EpisodeLog:
    """What was recorded."""
    return self._notes.log

  def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
    """Resets the environment and begins an episode."""
    found, info = self.env.reset(seed=seed, options=options)
    self._notes.begin(0, seed, options or {}, found, info)
    self._over = False
    return found, info

  def step(self, action: Any) -> Any:
    """Steps the environment and keeps what came of it.

    Raises:
      ValueError: the episode is over, or has not begun.
    """
    if self._over:
      raise ValueError("the episode is over or has not begun: reset first")
    done = observations.state(self._actions, action)
    found, reward, terminated, truncated, info = self.env.step(action)
    self._over = bool(terminated or truncated)
    self._notes.step(0, done, found, reward, terminated, truncated, info)
    return found, reward, terminated, truncated, info

  def table(self) -> dict[str, list[Any]]:
    """Columns for `assign_credit`; see `EpisodeLog.table`."""
    return self.log.table()


class RecordVectorSteps(_VectorWrapper):
  """Records the episodes of a vector environment, in each autoreset mode."""

  def __init__(
    self,
    env: Any,
    *,
    task_fn: episodes.TaskFn = episodes.task_of_seed,
    success_fn: episodes.SuccessFn = episodes.told_or_paid,
    state_key: StateKey | None = None,
    autoreset_mode: str | None = None,
  ):
    """Wraps a vector environment.

    Args:
      env: a Gymnasium vector environment.
      task_fn: as for `RecordSteps`.
      success_fn: as for `RecordSteps`.
      state_key: as for `RecordSteps`.
      autoreset_mode: "NextStep", "SameStep" or "Disabled"; None: what the
        environment's metadata say.

    Raises:
      ValueError: the mode is unknown, or not known.
    """
    super().__init__(env)
    mode = autoreset_mode or (env.metadata or {}).get("autoreset_mode")
    # A text here, a member of an Enum that Gymnasium 1.0 lacks there.
    self.mode = getattr(mode, "value", mode)
    if self.mode not in _MODES:
      raise ValueError(
        f"autoreset_mode: expected one of {', '.join(_MODES)}, got {mode!r}, "
        "from the environment's metadata if it was not given"
      )
    self._notes = _Notes(
      env.single_observation_space,
      env.num_envs,
      task_fn,
      success_fn,
      state_key,
    )
    self._over = np.ones(env.num_envs, bool)
    self._begun = False

  @property
  def log(self) -> episodes.EpisodeLog:
    """What was recorded."""
    return self._notes.log

  def reset(
    self, *, seed: int | Sequence[int | None] | None = None, options: Any = None
  ) -> Any:
    """Resets all environments, or those of options["reset_mask"]."""
    mask = np.ones(self.env.num_envs, bool)
    if options is not None:
      # Gymnasium takes the mask out of what it is given.
      options = dict(options)
      mask = np.array(options.get(_MASK, mask), bool)
    kept = {
      key: value for key, value in (options or {}).items() if key != _MASK
    }
    found, infos = self.env.reset(seed=seed, options=options)
    if seed is None:
      seeds: Sequence[int | None] = [None] * self.env.num_envs
    elif isinstance(seed, (int, np.integer)):
      seeds = [int(seed) + slot for slot in range(self.env.num_envs)]
    else:
      seeds = seed
    for slot in np.flatnonzero(mask).tolist():
      self._begin(slot, seeds[slot], kept, found, infos)
    self._over &= ~mask
    self._begun = True
    return found, infos

  def step(self, actions: Any) -> Any:
    """Steps all environments and keeps what came of it.

    Raises:
      ValueError: nothing was reset, an environment whose episode is over was
        not reset in the mode DISABLED, or final observations are missing in
        the mode SAME_STEP.
    """
    over = np.flatnonzero(self._over)
    if not self._begun or (self.mode == DISABLED and len(over)):
      raise ValueError(
        f"the episodes of the environments {over.tolist()} are over or have "
        "not begun: reset them first"
      )
    space = self.env.single_action_space
    done = [
      observations.state(space, observations.pick(space, actions, slot))
      for slot in range(self.env.num_envs)
    ]
    found, rewards, terminated, truncated, infos = self.env.step(actions)
    ended = np.logical_or(terminated, truncated)
    for slot in range(self.env.num_envs):
      if self.mode == NEXT_STEP and self._over[slot]:
        # The action was ignored: this is the first observation of the next one.
        self._begin(slot, None, {}, found, infos)
        continue
      last, info = self._pick(found, slot), info_of(infos, slot)
      if self.mode == SAME_STEP and ended[slot]:
        # `found` begins the next episode already.
        last, info = self._final(infos, slot)
      self._notes.step(
        slot,
        done[slot],
        last,
        rewards[slot],
        terminated[slot],
        truncated[slot],
        info,
      )
      if self.mode == SAME_STEP and ended[slot]:
        self._begin(slot, None, {}, found, infos)
    if self.mode != SAME_STEP:
      self._over = ended.astype(bool)
    return found, rewards, terminated, truncated, infos

  def table(self) -> dict[str, list[Any]]:
    """Columns for `assign_credit`; see `EpisodeLog.table`."""
    return self.log.table()

  def _pick(self, found: Any, slot: int) -> Any:
    return observations.pick(self.env.single_observation_space, found, slot)

  def _begin(self, slot, seed, options, found, infos):
    first = self._pick(found, slot)
    self._notes.begin(slot, seed, options, first, info_of(infos, slot))

  def _final(self, infos: Mapping[str, Any], slot: int) -> tuple[Any, Any]:
    if "final_obs" not in infos or infos["final_obs"][slot] is None:
      raise ValueError(
        f"environment {slot} ended in the mode {SAME_STEP} and infos have no "
        "'final_obs' of it: expected its last observation there"
      )
    return infos["final_obs"][slot], info_of(infos.get("final_info", {}), slot)


def record(env: Any, **options: Any) -> RecordSteps | RecordVectorSteps:
  """Wraps an environment, or a vector environment.

  Args:
    env: of Gymnasium.
    **options: as for `RecordSteps` and `RecordVectorSteps`.

  Returns:
    The wrapper.
  """
  if isinstance(env, _vector.VectorEnv):
    return RecordVectorSteps(env, **options)
  return RecordSteps(env, **options)


def info_of(infos: Mapping[str, Any], slot: int) -> dict[str, Any]:
  """The info of one environment, of a vector environment's infos."""
  found = {}
  for name, values in infos.items():
    if name.startswith("_") and name[1:] in infos:
      continue
    there = infos.get(f"_{name}")
    if there is None or there[slot]:
      several = isinstance(values, Mapping)
      found[name] = info_of(values, slot) if several else values[slot]
  return found


class _Notes:
  """An EpisodeLog, and what is asked at the beginning and end of an episode."""

  def __init__(self, space, num_slots, task_fn, success_fn, state_key):
    self.log = episodes.EpisodeLog(num_slots)
    self._space = space
    self._task_fn = task_fn
    self._success_fn = success_fn
    self._state_key = state_key

  def begin(self, slot, seed, options, observation, info):
    start = episodes.Start(
      None if seed is None else int(seed), options, observation, info, slot
    )
    self.log.begin(slot, self._task_fn(start), self._state(observation, info))

  def step(
    self, slot, action, observation, reward, terminated, truncated, info
  ):
    reward = float(reward)
    self.log.step(slot, action, self._state(observation, info), reward)
    if terminated or truncated:
      success = bool(terminated) and bool(
        self._success_fn(info, reward, bool(terminated))
      )
      self.log.end(slot, success=success)

  def _state(self, observation, info):
    if self._state_key is not None:
      return self._state_key(observation, info)
    return observations.state(self._space, observation)
