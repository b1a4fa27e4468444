"""Generated logs of rollouts, whose texts are new objects at every reading."""

import dataclasses
from typing import Any

import numpy as np

NUM_ACTIONS = 4
_INVALID_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class StoredTable:
  """Columns of n logged steps, texts kept as bytes."""

  texts: dict[str, list[bytes]]  # n each, ASCII
  values: dict[str, list[Any]]  # n each

  @property
  def num_steps(self) -> int:
    """N."""
    return len(self.values["t"])

  def fresh(self) -> dict[str, list[Any]]:
    """The columns, each text a new object.

    Python keeps the hash of a `str` inside it, so a second pass over the same
    objects would not pay for hashing, as a reader of logs does.
    """
    texts = {
      name: list(map(bytes.decode, column))
      for name, column in self.texts.items()
    }
    values = {name: list(column) for name, column in self.values.items()}
    return texts | values


def num_states(rollouts: int) -> int:
  """States of a task: the more rollouts it is given, the larger it is."""
  return min(10 + rollouts, 60)


@dataclasses.dataclass(frozen=True)
class Walks:
  """R rollouts of up to T steps; a rollout's steps come first."""

  task: np.ndarray  # int64 [R], ascending
  path: np.ndarray  # int64 [R, T + 1], states; stays in the last one
  mask: np.ndarray  # bool [R, T], True where there is a step
  valid: np.ndarray  # bool [R, T], the action was admissible
  success: np.ndarray  # bool [R]


def random_walks(
  groups: int, rollouts: int, horizon: int, *, seed: int = 0
) -> Walks:
  """Random walks through a random world per task.

  Every state has 4 actions, each to a random state; a step in 20 takes an
  action that is not admissible and stays. A rollout starts in state 0 and ends
  in the last state, with success, or at the horizon, without. With 8 rollouts
  and a horizon of 50 it has about 20 steps.

  Args:
    groups: tasks.
    rollouts: rollouts per task.
    horizon: steps of a rollout at most.
    seed: any integer of at least 0.

  Returns:
    Walks of groups * rollouts rollouts.
  """
  rng = np.random.default_rng(seed)
  states = num_states(rollouts)
  goal = states - 1
  leads_to = rng.integers(0, states, (groups, states, NUM_ACTIONS))
  task = np.repeat(np.arange(groups), rollouts)
  path = np.zeros((len(task), horizon + 1), np.int64)
  valid = rng.random((len(task), horizon)) >= _INVALID_SHARE
  for t in range(horizon):
    here = path[:, t]
    action = rng.integers(0, NUM_ACTIONS, len(task))
    moved = np.where(valid[:, t], leads_to[task, here, action], here)
    path[:, t + 1] = np.where(here == goal, goal, moved)
  return Walks(
    task=task,
    path=path,
    mask=path[:, :-1] != goal,
    valid=valid,
    success=path[:, -1] == goal,
  )


def generate_table(
  groups: int, rollouts: int, horizon: int, *, seed: int = 0
) -> StoredTable:
  """`random_walks` as a log.

  Args:
    groups: tasks.
    rollouts: rollouts per task.
    horizon: steps of a rollout at most.
    seed: any integer of at least 0.

  Returns:
    StoredTable of the columns task, trajectory, observation and
    next_observation (texts, the latter two of about 220 characters), t,
    success and action_valid.
  """
  walks = random_walks(groups, rollouts, horizon, seed=seed)
  states = num_states(rollouts)
  rollout, t = np.nonzero(walks.mask)
  task = walks.task[rollout]
  texts = _observations(groups, states, np.random.default_rng(seed))
  task_ids = [b"task-%06d" % group for group in range(groups)]
  rollout_ids = [b"rollout-%08d" % index for index in range(len(walks.task))]
  before = task * states + walks.path[rollout, t]
  after = task * states + walks.path[rollout, t + 1]
  return StoredTable(
    texts={
      "task": [task_ids[index] for index in task.tolist()],
      "trajectory": [rollout_ids[index] for index in rollout.tolist()],
      "observation": [texts[index] for index in before.tolist()],
      "next_observation": [texts[index] for index in after.tolist()],
    },
    values={
      "t": t.tolist(),
      "success": walks.success[rollout].tolist(),
      "action_valid": walks.valid[rollout, t].tolist(),
    },
  )


_THINGS = ("lamp", "mug", "knife", "apple", "book", "vase", "pan", "towel")


def _observations(groups, states, rng) -> list[bytes]:
  """About 220 ASCII characters for each state of each task."""
  things = rng.integers(0, len(_THINGS), (groups * states, 9))
  return [
    (
      f"Your task is number {index // states}: bring the right thing to the "
      f"right place. You stand in room {index % states}, facing a table. On "
      f"it you see a {', a '.join(_THINGS[thing] for thing in row)}. A door "
      "is open. What do you do?"
    ).encode()
    for index, row in enumerate(things.tolist())
  ]
