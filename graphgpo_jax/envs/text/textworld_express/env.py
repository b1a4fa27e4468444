"""TextWorldExpress through its Java engine, without the stock wrapper.

Jansen and Cote, TextWorldExpress (arXiv 2208.01174); package textworld-express.
"""

import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from graphgpo_jax.envs.text import (
  episode_clock,
  jvm,
  task_names,
  text_extra,
)
from graphgpo_jax.envs.text.textworld_express import games, object_tree
from graphgpo_jax.envs.text.types import TextStep, TextWorldError

_NOT_UNDERSTOOD = "Unknown action"


class TextWorldExpress:
  """One engine playing one episode at a time.

  Facts: "look", "inventory", and "true_state" where asked for.
  """

  name = "textworld_express"

  def __init__(
    self,
    *,
    max_steps: int = 50,
    true_state: bool = False,
    gold_paths: bool = False,
    heap_megabytes: int = 512,
    timeout_seconds: float = 120.0,
  ):
    """Starts the engine.

    Args:
      max_steps: steps after which an episode is truncated.
      true_state: give the fact "true_state", which the engine has for
        cookingworld only; other games' tasks are then refused.
      gold_paths: have the engine solve each game, for `plan`.
      heap_megabytes: the most memory for the engine's objects.
      timeout_seconds: the most time for each of the engine's answers.

    Raises:
      ValueError: a number is not positive.
      ImportError: the package is missing.
      TextWorldError: there is no Java, or the engine does not start.
    """
    self._clock = episode_clock.EpisodeClock(max_steps=max_steps)
    self._true_state = true_state
    self._gold_paths = gold_paths
    # What is left of the gold path; None where it was left.
    self._ahead: list[str] | None = None
    constants = text_extra.require("textworld_express.constants", self.name)
    self._engine = jvm.JavaEngine(
      pathlib.Path(constants.JAR_PATH),
      "textworldexpress.runtime.PythonInterface",
      heap_megabytes=heap_megabytes,
      timeout_seconds=timeout_seconds,
    )
    self._tree_file = tempfile.NamedTemporaryFile(suffix=".json")  # noqa: SIM115
    self._loaded: tuple[str, str] | None = None
    self._task = ""
    self._score = 0.0

  @property
  def process_id(self) -> int:
    """Of the engine's Java machine."""
    return self._engine.process_id

  def reset(self, task_id: str, *, seed: int = 0) -> TextStep:
    """Begins an episode. Nothing in these games is random: `seed` is unused.

    Raises:
      ValueError: there is no such task.
      TextWorldError: the engine failed.
    """
    del seed
    self._clock.stop()
    name = task_names.parse(task_id)
    try:
      fold = games.fold_of(name.number)
      parameters = task_names.parse_parameters(name.parameters)
      games.check_parameters(name.game, parameters)
    except ValueError as error:
      raise ValueError(f"no such task: {task_id!r}: {error}") from error
    if self._true_state and name.game != object_tree.GAME:
      raise ValueError(
        f"true_state=True: the engine gives the true state of "
        f"{object_tree.GAME} only, not of {task_id!r}"
      )
    if self._loaded != (name.game, name.parameters):
      self._loaded = None
      text = ",".join(f"{key}={value}" for key, value in parameters.items())
      refused = self._engine.call("load", name.game, text)
      if refused:
        raise ValueError(f"no such task: {task_id!r}: {refused.strip()}")
      self._loaded = (name.game, name.parameters)
    said = self._read(
      self._engine.call(
        "generateNewGameJSON", name.number, fold, self._gold_paths
      )
    )
    if not any(said["validActions"]):
      raise TextWorldError(f"{task_id}: {said['observation'][:300]}")
    self._task = str(self._engine.call("getTaskDescription"))
    self._score = float(said["score"])
    self._ahead = None
    if self._gold_paths:
      self._ahead = list(self._engine.call("getGoldActionSequence"))
    self._clock.begin()
    return self._step(said)

  def step(self, action: str) -> TextStep:
    """Does what a command says.

    Raises:
      ValueError: no episode has begun, or it is over.
      TextWorldError: the engine failed.
    """
    self._clock.check()
    said = self._read(self._engine.call("stepJSON", action))
    if self._ahead:
      self._ahead = self._ahead[1:] if action == self._ahead[0] else None
    before, self._score = self._score, float(said["score"])
    success = bool(said["tasksuccess"])
    # As in the stock wrapper: a full score ends an episode as well.
    terminated = success or bool(said["taskfailure"]) or self._score >= 1.0
    return self._step(
      said,
      reward=self._score - before,
      terminated=terminated,
      truncated=self._clock.tick(terminated=terminated),
      success=success,
      action_valid=not said["observation"].startswith(_NOT_UNDERSTOOD),
    )

  def plan(self) -> tuple[str, ...]:
    """What is left of the game's gold path: an expert to imitate.

    Raises:
      ValueError: the environment was made without `gold_paths`, no episode has
        begun or it is over, or another command than the path's was done: the
        engine solves games from their start alone.
    """
    if not self._gold_paths:
      raise ValueError("gold_paths=False: make the world with gold_paths=True")
    self._clock.check()
    if self._ahead is None:
      raise ValueError("the gold path was left; it begins at a reset")
    return tuple(self._ahead)

  def close(self) -> None:
    """Ends the engine. May be repeated."""
    self._clock.stop()
    self._engine.close()
    self._tree_file.close()

  def _read(self, answer: str) -> dict[str, Any]:
    try:
      return json.loads(answer)
    except (TypeError, ValueError) as error:
      raise TextWorldError(
        f"{self.name}: the engine answered no JSON: {str(answer)[:200]}"
      ) from error

  def _facts(self, said: Mapping[str, Any]) -> dict[str, str]:
    facts = {"look": said["look"], "inventory": said["inventory"]}
    if self._true_state:
      refused = self._engine.call("getObjectTree", self._tree_file.name)
      if refused:
        raise TextWorldError(f"{self.name}: no true state: {refused}")
      tree = pathlib.Path(self._tree_file.name).read_text()
      facts["true_state"] = object_tree.true_state(
        self._read(tree), score=said["score"]
      )
    return facts

  def _step(self, said: Mapping[str, Any], **fields: Any) -> TextStep:
    return TextStep(
      observation=said["observation"],
      task=self._task,
      admissible_actions=tuple(sorted(set(said["validActions"]))),
      facts=self._facts(said),
      **fields,
    )
