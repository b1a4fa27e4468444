"""ScienceWorld through its Java engine, without the stock wrapper.

The stock wrapper asks for all valid actions after every step, which takes a
hundred times as long as the step; here they are asked for where a run needs
them. Wang et al., ScienceWorld (arXiv 2203.07540); package scienceworld.
"""

import json
import pathlib
import re
import tempfile
from typing import Any

from graphgpo_jax.envs.text import (
  episode_clock,
  jvm,
  text_extra,
)
from graphgpo_jax.envs.text.scienceworld import object_tree, tasks
from graphgpo_jax.envs.text.types import TextStep, TextWorldError

_NOT_UNDERSTOOD = ("No known action matches that input", "Unknown action")
# The engine asks which of several things a command means, and wants a number.
_QUESTION = "Ambiguous request"
_FULL_SCORE = 100


class ScienceWorld:
  """One engine playing one episode at a time.

  Facts: "look" and "inventory", unless left out; "valid_actions" (which actions
  on which objects, by the engine's numbers) and "true_state" where asked for.
  """

  name = "scienceworld"

  def __init__(
    self,
    *,
    max_steps: int = 100,
    surroundings: bool = True,
    admissible_actions: bool = False,
    true_state: bool = False,
    heap_megabytes: int = 1024,
    timeout_seconds: float = 120.0,
  ):
    """Starts the engine.

    Args:
      max_steps: steps after which an episode is truncated.
      surroundings: give the facts "look" and "inventory"; without them a step
        takes three questions to the engine instead of five.
      admissible_actions: list what can be done and give the fact
        "valid_actions"; takes far longer than the step itself. The engine
        words the same action now this way, now that way ("orange", "orange in
        inventory"), even in one state: the fact has numbers instead.
      true_state: give the fact "true_state"; takes far longer than the step.
      heap_megabytes: the most memory for the engine's objects.
      timeout_seconds: the most time for each of the engine's answers.

    Raises:
      ValueError: a number is not positive.
      ImportError: the package is missing.
      TextWorldError: there is no Java, or the engine does not start.
    """
    self._clock = episode_clock.EpisodeClock(max_steps=max_steps)
    self._surroundings = surroundings
    self._admissible = admissible_actions
    self._true_state = true_state
    constants = text_extra.require("scienceworld.constants", self.name)
    self._engine = jvm.JavaEngine(
      pathlib.Path(constants.JAR_PATH),
      "scienceworld.runtime.pythonapi.PythonInterface",
      heap_megabytes=heap_megabytes,
      timeout_seconds=timeout_seconds,
    )
    self._folder = tempfile.TemporaryDirectory()
    self._task = ""
    self._score = 0

  @property
  def process_id(self) -> int:
    """Of the engine's Java machine."""
    return self._engine.process_id

  def reset(self, task_id: str, *, seed: int = 0) -> TextStep:
    """Begins an episode, as the stock wrapper does by looking around.

    A variation is always the same, and `seed` is unused; but the engine adds
    heat up in no fixed order, so that a thermometer may differ by a degree
    between two replays of the same commands.

    Raises:
      ValueError: there is no such task.
      TextWorldError: the engine failed.
    """
    del seed
    self._clock.stop()
    task, simplifications, variation = tasks.parse(task_id)
    self._engine.call("load", task, variation, simplifications, False)
    observation = self._engine.call("step", "look around")
    if observation.startswith("ERROR"):
      raise TextWorldError(f"{task_id}: {observation[:300]}")
    self._task = self._engine.call("getTaskDescription")
    self._score = self._read_score()
    self._clock.begin()
    return self._step(observation)

  def step(self, action: str) -> TextStep:
    """Does what a command says.

    Raises:
      ValueError: no episode has begun, or it is over.
      TextWorldError: the engine failed.
    """
    self._clock.check()
    observation = self._engine.call("step", action)
    before, self._score = self._score, self._read_score()
    # As in the stock wrapper: a negative score ends an episode as well.
    terminated = bool(self._engine.call("getCompleted")) or self._score < 0
    return self._step(
      observation,
      reward=float(self._score - before),
      terminated=terminated,
      truncated=self._clock.tick(terminated=terminated),
      success=self._score >= _FULL_SCORE,
      action_valid=not observation.startswith(_NOT_UNDERSTOOD),
    )

  def close(self) -> None:
    """Ends the engine. May be repeated."""
    self._clock.stop()
    self._engine.close()
    self._folder.cleanup()

  def _read_score(self) -> int:
    return round(_FULL_SCORE * self._engine.call("getScore"))

  def _read_json(self, text: str) -> Any:
    try:
      return json.loads(text)
    except ValueError as error:
      raise TextWorldError(
        f"{self.name}: the engine answered no JSON: {text[:200]}"
      ) from error

  def _valid_actions(self, observation: str) -> tuple[list[str], str]:
    """Commands, and the same as numbers."""
    if observation.startswith(_QUESTION):
      answers = re.findall(r"^(\d+):", observation, flags=re.MULTILINE)
      return answers, json.dumps(sorted(answers))
    listed = self._read_json(
      self._engine.call("getValidActionObjectCombinationsJSON")
    )["validActions"]
    numbers = {(entry["template_id"], *entry["obj_ids"]) for entry in listed}
    return [entry["action"] for entry in listed], json.dumps(sorted(numbers))

  def _true_state_text(self) -> str:
    refused = self._engine.call("getObjectTree", self._folder.name)
    if refused:
      raise TextWorldError(f"{self.name}: no true state: {refused}")
    path = pathlib.Path(self._folder.name) / "objectTree.json"
    return object_tree.true_state(
      self._read_json(path.read_text()),
      progress=self._engine.call("getGoalProgressStr"),
    )

  def _step(self, observation: str, **fields: Any) -> TextStep:
    facts = {}
    if self._surroundings:
      facts["look"] = self._engine.call("freeActionLook")
      facts["inventory"] = self._engine.call("freeActionInventory")
    actions: list[str] = []
    if self._admissible:
      actions, facts["valid_actions"] = self._valid_actions(observation)
    if self._true_state:
      facts["true_state"] = self._true_state_text()
    return TextStep(
      observation=observation,
      task=self._task,
      admissible_actions=tuple(sorted(set(actions))),
      facts=facts,
      **fields,
    )
