"""Which kept updates and tasks a report shows where it cannot show all."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from graphgpo_jax.report import kept_steps


@dataclasses.dataclass(frozen=True)
class Choice:
  """A task of an update of a run."""

  run: int  # index
  update: int
  task: str


def spread(values: Sequence[int], count: int) -> list[int]:
  """At most `count` of the values, evenly spread, first and last among them."""
  if len(values) <= count:
    return list(values)
  if count < 2:
    return list(values)[len(values) - count :]
  places = np.round(np.linspace(0, len(values) - 1, count)).astype(int)
  return [values[place] for place in np.unique(places)]


def choose(
  kept: Sequence[kept_steps.KeptSteps], *, num_updates: int, num_tasks: int
) -> list[Choice]:
  """Chooses evenly over every run's updates.

  Args:
    kept: of every run.
    num_updates: of a run at most.
    num_tasks: of an update at most, the first ones.

  Returns:
    The choices, the most wanted first: a task of each update of each run, then
    another one of each.
  """
  places = [
    (run, update, list(found.places[update]))
    for run, found in enumerate(kept)
    for update in spread(list(found.places), num_updates)
  ]
  # The last updates of all runs first, for those are what is asked for most.
  places.sort(key=lambda place: (-place[1], place[0]))
  return [
    Choice(run, update, tasks[index])
    for index in range(num_tasks)
    for run, update, tasks in places
    if index < len(tasks)
  ]
