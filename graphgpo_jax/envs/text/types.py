"""What a text world is: the interface, and what it says of a step."""

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class TextStep:
  """What a world says after a reset or a step.

  Attributes:
    observation: what an agent reads, without the task.
    task: what is to be done, in words.
    admissible_actions: commands that have an effect here, sorted; empty where
      the world cannot list them.
    reward: of the step, as the world pays it; 0 after a reset.
    terminated: the episode is over by the world's rules.
    truncated: the step limit was reached.
    success: the task was solved by this step.
    action_valid: the world understood the command and could follow it.
    cost: of the step, in the world's unit.
    facts: named parts of the state, for state keys and for logs, such as
      "location", "inventory" or "true_state". Each world's module says which
      it gives.
  """

  observation: str
  task: str
  admissible_actions: tuple[str, ...] = ()
  reward: float = 0.0
  terminated: bool = False
  truncated: bool = False
  success: bool = False
  action_valid: bool = True
  cost: float = 1.0
  facts: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: types.MappingProxyType({})
  )

  @property
  def done(self) -> bool:
    """The episode is over, one way or the other."""
    return self.terminated or self.truncated


# Equal texts where, to the credit, the state is the same.
StateKeyFn = Callable[[TextStep], str]


class TextWorldError(RuntimeError):
  """A world that cannot go on: a broken game file, a dead engine."""


class TextEnvironment(Protocol):
  """One world in one process, playing one episode at a time.

  A task is a string from which every machine makes the same task. What is
  random in an episode follows from the task and `seed` alone.
  """

  name: str

  def reset(self, task_id: str, *, seed: int = 0) -> TextStep:
    """Begins an episode.

    Raises:
      ValueError: there is no such task; the message names it.
      TextWorldError: the task's files are broken or the engine failed.
    """
    ...

  def step(self, action: str) -> TextStep:
    """Does what a command says.

    A command that is not understood changes nothing but the clock, and its
    `action_valid` is False.

    Raises:
      ValueError: no episode has begun, or it is over.
      TextWorldError: the engine failed.
    """
    ...

  def close(self) -> None:
    """Ends the engine; the object is of no use after it. May be repeated."""
    ...
