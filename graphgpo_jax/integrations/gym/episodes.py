"""Episodes of some environments side by side, as columns of steps."""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from typing import Any

COLUMNS = (
  "task",
  "trajectory",
  "t",
  "observation",
  "action",
  "next_observation",
  "success",
  "reward",
  "episode_return",
)


@dataclasses.dataclass(frozen=True)
class Start:
  """How an episode began."""

  seed: (
    int | None
  )  # None: nobody gave one, as when an environment resets itself
  options: Mapping[str, Any]  # of the reset, without Gymnasium's reset_mask
  observation: Any
  info: Mapping[str, Any]
  slot: int  # number of the environment, from 0


TaskFn = Callable[[Start], Hashable]
SuccessFn = Callable[[Mapping[str, Any], float, bool], Any]


def task_of_seed(start: Start) -> Hashable:
  """The seed, with the options if there are any; None without both."""
  if not start.options:
    return start.seed
  options = ", ".join(
    f"{name}={value!r}" for name, value in sorted(start.options.items())
  )
  return options if start.seed is None else f"seed={start.seed}, {options}"


def told_or_paid(
  info: Mapping[str, Any], reward: float, terminated: bool
) -> bool:
  """What the info's success or is_success says, else whether it was paid."""
  del terminated
  for name in ("success", "is_success"):
    if name in info:
      return bool(info[name])
  return reward > 0


@dataclasses.dataclass
class _Episode:
  task: Hashable
  trajectory: int
  state: Hashable
  steps: list[tuple[Hashable, Hashable, Hashable, float]]


class EpisodeLog:
  """Steps of each environment's episode; of those that ended, as columns."""

  def __init__(self, num_slots: int):
    """Starts without an episode.

    Args:
      num_slots: environments side by side.
    """
    self._running: list[_Episode | None] = [None] * num_slots
    self._columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    self._begun = 0
    self.finished = 0  # episodes in the table
    self.skipped = 0  # episodes without a task
    self.abandoned = 0  # episodes that were reset before their end

  @property
  def unfinished(self) -> int:
    """Episodes with a task that have not ended, or were reset before."""
    running = [one for one in self._running if one is not None]
    return self.abandoned + len(running)

  def begin(self, slot: int, task: Hashable, state: Hashable) -> None:
    """An environment was reset; without a task its episode is left out."""
    earlier = self._running[slot]
    self.abandoned += earlier is not None and bool(earlier.steps)
    if task is None:
      self.skipped += 1
      self._running[slot] = None
      return
    self._running[slot] = _Episode(task, self._begun, state, [])
    self._begun += 1

  def step(
    self, slot: int, action: Hashable, state: Hashable, reward: float
  ) -> None:
    """An environment's step, and the state that it led to."""
    episode = self._running[slot]
    if episode is not None:
      episode.steps.append((episode.state, action, state, reward))
      episode.state = state

  def end(self, slot: int, *, success: bool) -> None:
    """The episode of an environment is over."""
    episode, self._running[slot] = self._running[slot], None
    if episode is None:
      return
    self.finished += 1
    total = sum(reward for *_, reward in episode.steps)
    for t, (before, action, after, reward) in enumerate(episode.steps):
      row = (episode.task, episode.trajectory, t, before, action, after)
      for name, value in zip(
        COLUMNS, (*row, success, reward, total), strict=True
      ):
        self._columns[name].append(value)

  def table(self) -> dict[str, list[Any]]:
    """Columns of the episodes that ended, for `assign_credit`.

    Raises:
      ValueError: none did.
    """
    if not self.finished:
      raise ValueError(
        f"no episode with a task has ended: {self.unfinished} have not ended, "
        f"{self.skipped} had no task. Give reset a seed, or a task_fn"
      )
    return {name: list(column) for name, column in self._columns.items()}
