"""Episodes of an expert, to be imitated."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts.host import episodes


class ExpertEnvironment(types.TextEnvironment, Protocol):
  """A text world that knows how to solve its tasks."""

  def plan(self) -> Sequence[str]:
    """Commands that solve the task from here."""
    ...


@dataclasses.dataclass(frozen=True)
class Lesson:
  """A state, and what the expert does in it.

  Attributes:
    context: as an actor would see it.
    command: the expert's.
  """

  context: episodes.Context
  command: str


def play_expert(
  environment: ExpertEnvironment,
  task_ids: Iterable[str],
  *,
  seed: int,
  max_steps: int,
  stray: float = 0.0,
) -> list[list[Lesson]]:
  """Plays each task once, asking the expert at every state.

  Args:
    environment: with a `plan`.
    task_ids: what to play.
    seed: of what is random.
    max_steps: of an episode at most.
    stray: probability that another admissible command than the expert's is
      done, so that lessons tell the way back, too; the lesson has the expert's.

  Returns:
    The lessons of each episode in order.

  Raises:
    ValueError: the world has no expert, or `stray` is not in [0, 1).
    TextWorldError: the engine or its planner failed, or the expert does not
      know how to go on.
  """
  if not hasattr(environment, "plan"):
    raise ValueError(
      f"text world {environment.name!r} has no expert to imitate: it lacks plan"
    )
  if not 0 <= stray < 1:
    raise ValueError(f"stray={stray} must lie in [0, 1)")
  played = []
  for index, task_id in enumerate(task_ids):
    random = np.random.default_rng((seed, index))
    plan = episodes.Plan(index, index, 0, task_id, seed + index)
    now = environment.reset(task_id, seed=plan.seed)
    turns: list[episodes.Turn] = []
    lessons: list[Lesson] = []
    ahead: list[str] = []
    while not now.done and len(turns) < max_steps:
      # A plan holds until something else than its next command was done.
      ahead = ahead or list(environment.plan())
      if not ahead:
        raise types.TextWorldError(
          f"task {task_id!r}: the expert has no command, but the episode is "
          "not over"
        )
      best = ahead.pop(0)
      lessons.append(
        Lesson(episodes.Context(plan, seed, now, tuple(turns)), best)
      )
      command = best
      if random.random() < stray:
        command = str(random.choice(list(now.admissible_actions)))
      if command != best:
        ahead = []
      after = environment.step(command)
      turns.append(episodes.Turn(now, episodes.Action(command), after))
      now = after
    played.append(lessons)
  return played
