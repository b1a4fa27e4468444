"""ALFWorld as a text environment.

What a step says beside its texts (`facts`):

  location: the receptacles that the agent faces, or MIDDLE.
  holdings: what the agent holds, or NOTHING.
  true_state: the facts that actions change, one a line, without who looked at
    what (`checked`) and without facts of what is not (`not_...`).
"""

import collections
import os
import types
from collections.abc import Mapping

from graphgpo_jax.envs.text.alfworld.facts import Facts
from graphgpo_jax.envs.text.alfworld.fast_engine import (
  NOTHING_HAPPENS,
  FastEngine,
  Game,
  Turn,
  load_game,
)
from graphgpo_jax.envs.text.alfworld.games import game_of
from graphgpo_jax.envs.text.types import TextStep, TextWorldError

MIDDLE = "the middle of the room"
NOTHING = "nothing"
# Step limit of the published recipe.
MAX_STEPS = 50

_TASK_START = "Your task is to: "
_SEEN = "checked"


class AlfworldEnvironment:
  """One ALFWorld game at a time; nothing in it is random."""

  name = "alfworld"

  def __init__(
    self,
    *,
    cache: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    max_steps: int = MAX_STEPS,
  ) -> None:
    """Starts an engine.

    Args:
      cache: folder that generated games are written to and read from, in the
        form of the downloadable ones; None keeps them in memory.
      data: folder of downloaded games; None takes what ALFWORLD_DATA names.
      max_steps: step limit of an episode.

    Raises:
      ValueError: the step limit is not positive.
      ImportError: a package of the extra [text] is missing.
    """
    if max_steps < 1:
      raise ValueError(f"max_steps must be positive, got {max_steps}")
    self._cache = cache
    self._data = data
    self._max_steps = max_steps
    self._engine = FastEngine()
    self._task = ""
    self._last: TextStep | None = None
    self._num_steps = 0

  def reset(self, task_id: str, *, seed: int = 0) -> TextStep:
    """Begins an episode.

    Args:
      task_id: "generated/TYPE/NUMBER", or the folder of a downloaded game.
      seed: without effect: nothing in the world is random.

    Returns:
      The first step.

    Raises:
      ValueError: there is no such task.
      TextWorldError: the task's files are broken, or its goal is out of reach
        or holds from the start.
    """
    del seed
    # Whatever fails here, the episode before it is over.
    self._last = None
    turn = self._engine.reset(self._game(task_id))
    observation, found, task = turn.feedback.partition(_TASK_START)
    if not found:
      raise TextWorldError(f"{task_id}: the game does not say its task")
    if turn.won:
      raise TextWorldError(f"{task_id}: the game's goal holds from the start")
    self._task = task.strip()
    self._num_steps = 0
    self._last = self._text_step(turn, observation.strip(), valid=True)
    return self._last

  def step(self, action: str) -> TextStep:
    """Does what a command says.

    Args:
      action: a command; one that is not admissible changes nothing.

    Returns:
      What came of it.

    Raises:
      ValueError: no episode has begun, or it is over.
    """
    if self._last is None or self._last.done:
      raise ValueError("no episode is going on: reset the environment first")
    self._num_steps += 1
    valid = action.strip() in self._last.admissible_actions
    turn = self._engine.step(action)
    self._last = self._text_step(turn, turn.feedback, valid=valid)
    return self._last

  def plan(self) -> tuple[str, ...]:
    """Commands that solve the task from here: an expert to imitate.

    Raises:
      ValueError: no episode has begun, or it is over.
      TextWorldError: the planner found no way to the goal.
    """
    if self._last is None or self._last.done:
      raise ValueError("no episode is going on: reset the environment first")
    return self._engine.plan()

  def close(self) -> None:
    """Ends the engine; the object is of no use after it."""
    self._engine.close()
    self._last = None

  def _game(self, task_id: str) -> Game:
    data = game_of(task_id, cache=self._cache, data=self._data)
    try:
      return load_game(data)
    except TextWorldError as error:
      raise TextWorldError(f"{task_id}: {error}") from error

  def _text_step(
    self, turn: Turn, observation: str, *, valid: bool
  ) -> TextStep:
    return TextStep(
      observation=observation,
      task=self._task,
      admissible_actions=turn.admissible_commands,
      reward=float(turn.won),
      terminated=turn.won,
      truncated=not turn.won and self._num_steps >= self._max_steps,
      success=turn.won,
      action_valid=valid,
      facts=types.MappingProxyType(
        _named_facts(self._engine.facts, self._engine.game)
      ),
    )


def _named_facts(facts: Facts, game: Game) -> dict[str, str]:
  """The parts of the state that keys and logs speak of."""
  names = game.translation.entities
  places: Mapping[str, list[str]]
  places = collections.defaultdict(list)
  here: list[str] = []
  held: list[str] = []
  changing: list[str] = []
  for (predicate, _), arguments in facts.all():
    if predicate == "receptacleatlocation":
      places[arguments[1]].append(names[arguments[0]].name)
    elif predicate == "atlocation":
      here.append(arguments[1])
    elif predicate == "holds":
      held.append(names[arguments[1]].name)
    if predicate in game.translation.changing and predicate != _SEEN:
      changing.append(f"{predicate}({', '.join(arguments)})")
  faced = sorted(name for location in here for name in places[location])
  return {
    "location": ", ".join(faced) or MIDDLE,
    "holdings": ", ".join(sorted(held)) or NOTHING,
    "true_state": "\n".join(sorted(changing)),
  }


__all__ = ["MAX_STEPS", "NOTHING_HAPPENS", "AlfworldEnvironment"]
