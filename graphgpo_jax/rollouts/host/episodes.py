"""What is played: plans, what an actor sees and says, what came of it."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts.host import workers


@dataclasses.dataclass(frozen=True)
class Plan:
  """An episode to be played.

  Attributes:
    index: number of the episode among all that are collected together.
    group: number of the task among them; its rollouts are compared.
    rollout: number of the episode within its group.
    task_id: of the world.
    seed: of what is random in the world; one for all rollouts of a group, so
      that they begin in the same state.
  """

  index: int
  group: int
  rollout: int
  task_id: str
  seed: int


def plan_episodes(
  task_ids: Iterable[str], *, rollouts_per_task: int, seed: int
) -> tuple[Plan, ...]:
  """M episodes of each of some tasks.

  Args:
    task_ids: a group each; a task that comes twice makes two groups.
    rollouts_per_task: M.
    seed: group g plays with the world's seed `seed + g`.

  Returns:
    Plans in the order of groups and rollouts.

  Raises:
    ValueError: there is nothing to play.
  """
  if rollouts_per_task < 1:
    raise ValueError(
      f"rollouts_per_task: expected at least 1, got {rollouts_per_task}"
    )
  plans = tuple(
    Plan(
      group * rollouts_per_task + rollout, group, rollout, task, seed + group
    )
    for group, task in enumerate(task_ids)
    for rollout in range(rollouts_per_task)
  )
  if not plans:
    raise ValueError("task_ids: expected at least one task")
  return plans


@dataclasses.dataclass(frozen=True)
class Action:
  """What an actor does at a step.

  Attributes:
    command: what the environment is told.
    valid: a command could be read from the response.
    prompt: what the model was given.
    response: what it said.
    prompt_tokens: length of the prompt.
    response_tokens: length of the response.
    extra: whatever the update needs, such as tokens and log-probabilities;
      kept with the episode, not written to files.
  """

  command: str
  valid: bool = True
  prompt: str = ""
  response: str = ""
  prompt_tokens: int = 0
  response_tokens: int = 0
  extra: Any = None


@dataclasses.dataclass(frozen=True)
class Turn:
  """A step: what was seen, what was done, what came of it."""

  before: types.TextStep
  action: Action
  after: types.TextStep


@dataclasses.dataclass(frozen=True)
class Context:
  """Where an episode stands when it is the actor's turn.

  Attributes:
    plan: the episode.
    seed: of the actor, the same for all episodes of a collection.
    now: what the environment says.
    past: turns so far.
  """

  plan: Plan
  seed: int
  now: types.TextStep
  past: tuple[Turn, ...]

  @property
  def random_key(self) -> tuple[int, int, int]:
    """(seed, episode index, step): all that an actor's chance may hang on."""
    return self.seed, self.plan.index, len(self.past)


@dataclasses.dataclass(frozen=True)
class Episode:
  """An episode that is over.

  Attributes:
    plan: what was to be played.
    turns: its steps, those before a failure included.
    failure: what broke, if something did; such an episode earns no credit.
    success: the task was solved.
  """

  plan: Plan
  turns: tuple[Turn, ...]
  failure: workers.Failure | None
  success: bool

  @property
  def failed(self) -> bool:
    """Its worker or engine broke; not to be taken for an unsolved task."""
    return self.failure is not None

  @property
  def episode_return(self) -> float:
    """Sum of the world's rewards."""
    return sum(turn.after.reward for turn in self.turns)
