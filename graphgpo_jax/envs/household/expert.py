"""Host-side expert: a shortest solution of every task, knowing everything."""

import itertools
from collections.abc import Iterator

import numpy as np

from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.household.types import Task

# Where an object gets the property that a task asks for, and the verb for it.
_STATIONS = {
  words.CLEAN: (words.SINK, "clean"),
  words.HEAT: (words.MICROWAVE, "heat"),
  words.COOL: (words.FRIDGE, "cool"),
}


class _Walk:
  """Actions so far, with what they have changed."""

  def __init__(self, task: Task):
    self._types = np.asarray(task.receptacle_types)
    self._locations = np.asarray(task.locations)
    self._place: int | None = None
    self._opened: set[int] = set()
    self.actions: list[int] = []

  def _verb(self, name: str) -> None:
    num_pointers = len(self._types) + len(self._locations)
    self.actions.append(num_pointers + words.VERBS.index(name))

  def go(self, slot: int) -> None:
    if self._place != slot:
      self.actions.append(slot)
      self._place = slot

  def _reach(self, slot: int) -> None:
    self.go(slot)
    if self._types[slot] >= words.FIRST_CLOSABLE and slot not in self._opened:
      self._verb("open")
      self._opened.add(slot)

  def fetch(self, thing: int) -> None:
    self._reach(int(self._locations[thing]))
    self.actions.append(len(self._types) + thing)

  def use(self, slot: int, verb: str) -> None:
    self.go(slot)
    self._verb(verb)

  def put(self, slot: int) -> None:
    self._reach(slot)
    self._verb("put")


def _solutions(task: Task) -> Iterator[list[int]]:
  """All solutions that waste no step, one per choice of things and places."""
  task_type = int(task.task_type)
  types = np.asarray(task.receptacle_types)
  things = np.flatnonzero(np.asarray(task.object_types) == task.goal_object)
  goals = np.flatnonzero(types == task.goal_receptacle)
  count = 2 if task_type == words.PICK_TWO else 1
  stations: list[int | None] = [None]
  verb = ""
  if task_type in _STATIONS:
    station_type, verb = _STATIONS[task_type]
    stations = [int(s) for s in np.flatnonzero(types == station_type)]
  for chosen in itertools.permutations(things.tolist(), count):
    for ends in itertools.product(goals.tolist(), repeat=count):
      for station in stations:
        walk = _Walk(task)
        for thing, end in zip(chosen, ends, strict=True):
          walk.fetch(thing)
          if station is not None:
            walk.use(station, verb)
          if task_type == words.LOOK:
            walk.use(end, "use lamp")
          else:
            walk.put(end)
        yield walk.actions


def expert_actions(task: Task) -> list[int]:
  """Shortest solution from the start of `task`.

  The expert knows what shut receptacles hold, so that its length is a lower
  bound for a policy that has to search.

  Args:
    task: one task (unbatched), as `Household.sample_task` draws it.

  Returns:
    the actions; the last one solves the task.

  Raises:
    ValueError: the task has no solution, so no generator drew it.
  """
  solutions = list(_solutions(task))
  if not solutions:
    raise ValueError("the task has no solution: something it needs is missing")
  return min(solutions, key=len)
