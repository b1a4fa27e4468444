"""ALFWorld's own engine, as alfworld's environment puts it together."""

from collections.abc import Mapping
from typing import Any

from graphgpo_jax.envs.text.alfworld import packages

# Feedback, admissible commands, score, done.
Line = tuple[str, tuple[str, ...], int, bool]


class StockEngine:
  """Plays games with `PddlEnv` under `AlfredDemangler`."""

  def __init__(self) -> None:
    """Makes the engine; its library is loaded once."""
    pddl = packages.require("textworld.envs.pddl")
    textworld = packages.require("textworld")
    wrappers = packages.require("alfworld.agents.environment.alfred_tw_env")
    wanted = textworld.EnvInfos(won=True, admissible_commands=True)
    self._environment: Any = wrappers.AlfredDemangler(pddl.PddlEnv(wanted))

  def load(self, data: Mapping[str, Any]) -> None:
    """Loads what a game file holds; `reset` begins it, again and again."""
    self._environment.load(data)

  def reset(self) -> Line:
    """Begins the game that was loaded."""
    state = self._environment.reset()
    commands = tuple(state["admissible_commands"])
    return state["feedback"], commands, 0, bool(state["won"])

  def step(self, command: str) -> Line:
    """Does what a command says."""
    state, score, done = self._environment.step(command)
    commands = tuple(state["admissible_commands"])
    return state["feedback"], commands, int(score), bool(done)
