"""TextWorld: generated games in the interpreter of the textworld package.

Cote et al., TextWorld (arXiv 1806.11532).
"""

import pathlib
import re
from typing import Any

from graphgpo_jax.envs.text import episode_clock, text_extra
from graphgpo_jax.envs.text.textworld import maker
from graphgpo_jax.envs.text.types import TextStep, TextWorldError

# After its answer the interpreter prints a prompt and a status line, which
# counts the moves: with it no state would ever be met again.
_STATUS = re.compile(r"\n*>?[ ]{20,}-= .*=-\s*-?\d+/\d+\s*\Z|\n+>\s*\Z")

# What the engine is asked for in every state.
_INFOS = (
  "admissible_commands",
  "description",
  "facts",
  "inventory",
  "lost",
  "objective",
  "score",
  "won",
)


def answer_of(feedback: str) -> str:
  """What the game answered, without prompt and status line."""
  return _STATUS.sub("", feedback).strip()


class TextWorld:
  """One interpreter playing one episode at a time.

  Facts: "look" (the room's description), "inventory" and "true_state" (the
  engine's facts and the score).
  """

  name = "textworld"

  def __init__(
    self,
    *,
    max_steps: int = 50,
    folder: str | pathlib.Path | None = None,
    timeout_seconds: float = 600.0,
  ):
    """Makes an environment without a game.

    Args:
      max_steps: steps after which an episode is truncated.
      folder: where games are kept; `maker.default_folder()` without it.
      timeout_seconds: the most time for making a game.

    Raises:
      ValueError: `max_steps` is not positive.
      ImportError: the package is missing.
    """
    self._clock = episode_clock.EpisodeClock(max_steps=max_steps)
    self._textworld = text_extra.require("textworld", self.name)
    self._folder = None if folder is None else pathlib.Path(folder)
    self._timeout = timeout_seconds
    self._env: Any = None
    self._task_id = ""
    self._task = ""
    self._score = 0.0
    self._state: Any = None
    self._admissible: tuple[str, ...] = ()

  def reset(self, task_id: str, *, seed: int = 0) -> TextStep:
    """Begins an episode; the first time, a task's game is made (seconds).

    Nothing in these games is random: `seed` is unused.

    Raises:
      ValueError: there is no such task.
      TextWorldError: the game cannot be made or is broken.
    """
    del seed
    self._clock.stop()
    if task_id != self._task_id:
      self._end_game()
      path = maker.game_file(
        task_id, folder=self._folder, timeout_seconds=self._timeout
      )
      infos = self._textworld.EnvInfos(**dict.fromkeys(_INFOS, True))
      self._task_id = task_id
      self._env = self._guarded(
        self._textworld.start, str(path), request_infos=infos
      )
    state = self._guarded(self._env.reset)
    self._task = state["objective"].strip()
    self._score = float(state["score"])
    self._clock.begin()
    # The first answer is a banner and the task; the room comes last.
    return self._step(state, observation=state["description"].strip())

  def step(self, action: str) -> TextStep:
    """Does what a command says.

    Only admissible commands reach the interpreter. It would take others too,
    such as "undo", "save", "restart" or several commands in one line.

    Raises:
      ValueError: no episode has begun, or it is over.
      TextWorldError: the interpreter failed.
    """
    self._clock.check()
    command = " ".join(action.split()).lower()
    if command not in self._admissible:
      return self._step(
        self._state,
        observation="That is not something you can do here.",
        truncated=self._clock.tick(terminated=False),
        action_valid=False,
      )
    state, score, _ = self._guarded(self._env.step, command)
    before, self._score = self._score, float(score)
    success = bool(state["won"])
    terminated = success or bool(state["lost"])
    return self._step(
      state,
      observation=answer_of(state["feedback"]),
      reward=self._score - before,
      terminated=terminated,
      truncated=self._clock.tick(terminated=terminated),
      success=success,
    )

  def close(self) -> None:
    """Ends the interpreter. May be repeated."""
    self._clock.stop()
    self._end_game()

  def _end_game(self) -> None:
    self._task_id = ""
    env, self._env = self._env, None
    if env is not None:
      env.close()

  def _guarded(self, function: Any, *arguments: Any, **keywords: Any) -> Any:
    try:
      return function(*arguments, **keywords)
    # The package lets through whatever its parsers and its interpreter raise.
    except Exception as error:
      task_id = self._task_id
      self._clock.stop()
      self._end_game()
      raise TextWorldError(
        f"{self.name}: the game {task_id} failed: "
        f"{type(error).__name__}: {error}"
      ) from error

  def _step(self, state: Any, **fields: Any) -> TextStep:
    self._state = state
    self._admissible = tuple(sorted(set(state["admissible_commands"])))
    facts = sorted(str(fact) for fact in state["facts"])
    return TextStep(
      task=self._task,
      admissible_actions=self._admissible,
      facts={
        "look": state["description"].strip(),
        "inventory": state["inventory"].strip(),
        # Parts of the score are paid once only: future rewards depend on it.
        "true_state": "\n".join([f"score {state['score']}", *facts]),
      },
      **fields,
    )
