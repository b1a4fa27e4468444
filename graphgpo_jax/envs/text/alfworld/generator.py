"""Own ALFWorld games for the domain and the grammar that alfworld ships.

A game follows from its task's id alone. Its files have the form of the
downloadable games, so that alfworld's own environment plays them too.
"""

import functools
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from graphgpo_jax.envs.text.alfworld import packages
from graphgpo_jax.envs.text.alfworld.fast_engine import FastEngine, load_game
from graphgpo_jax.envs.text.alfworld.problem import problem_text
from graphgpo_jax.envs.text.alfworld.rooms import Layout, Tables, draw_layout
from graphgpo_jax.envs.text.alfworld.tasks import GeneratedTask
from graphgpo_jax.envs.text.types import TextWorldError

GAME_FILE = "game.tw-pddl"
TRAJECTORY_FILE = "traj_data.json"


@functools.cache
def alfworld_tables() -> Tables:
  """The tables that the package itself goes by."""
  constants = packages.require("alfworld.gen.constants")
  abilities = constants.VAL_ACTION_OBJECTS
  return Tables(
    contains={
      receptacle: frozenset(things)
      for receptacle, things in constants.VAL_RECEPTACLE_OBJECTS.items()
    },
    openable=frozenset(constants.OPENABLE_CLASS_LIST),
    cleanable=frozenset(abilities["Cleanable"]),
    heatable=frozenset(abilities["Heatable"]),
    coolable=frozenset(abilities["Coolable"]),
    sliceable=frozenset(abilities["Sliceable"]),
    hollow=frozenset(constants.MOVABLE_RECEPTACLES),
  )


def layout_of(task: GeneratedTask) -> Layout:
  """The room and the task behind an id."""
  return draw_layout(task.id, task.task_type, alfworld_tables())


def game_data(task: GeneratedTask) -> tuple[dict[str, Any], dict[str, Any]]:
  """What `game.tw-pddl` and `traj_data.json` of a task hold."""
  game, trajectory = data_of(layout_of(task))
  return game, {"task_id": task.id, **trajectory}


def data_of(layout: Layout) -> tuple[dict[str, Any], dict[str, Any]]:
  """Makes a game of a layout.

  Args:
    layout: the room and the task.

  Returns:
    What `game.tw-pddl` and `traj_data.json` hold. That the game is solvable, as
    it says, is for `solve` to show.
  """
  info = packages.require("alfworld.info")
  library = packages.require("alfworld.gen.goal_library").gdict
  goal = library[layout.task_type]
  # The library writes "#" where PDDL has "-", which `format` would not mind.
  goal_text = (
    goal["pddl"]
    .replace("#", "-")
    .format(obj=layout.target, recep=layout.parent, toggle=layout.toggle)
  )
  wordings = goal["templates"]
  sentence = wordings[layout.sentence % len(wordings)].format(
    obj=layout.target.lower(),
    recep=layout.parent.lower(),
    toggle=layout.toggle.lower(),
  )
  grammar = pathlib.Path(info.ALFRED_TWL2_PATH).read_text(encoding="utf-8")
  game = {
    "pddl_domain": pathlib.Path(info.ALFRED_PDDL_PATH).read_text(
      encoding="utf-8"
    ),
    "grammar": grammar.replace("UNKNOWN GOAL", sentence),
    "pddl_problem": problem_text(layout, alfworld_tables(), goal_text),
    "solvable": True,
    "walkthrough": None,
  }
  trajectory = {
    "task_type": layout.task_type,
    "pddl_params": {
      "object_target": layout.target,
      "parent_target": layout.parent,
      "toggle_target": layout.toggle,
      "mrecep_target": "",
      "object_sliced": False,
    },
  }
  return game, trajectory


def solve(game: Mapping[str, Any]) -> tuple[str, ...]:
  """Commands by which the planner solves a game; they are played to make sure.

  Args:
    game: what a game file holds.

  Raises:
    TextWorldError: the game is broken, or the planner does not solve it.
  """
  engine = FastEngine()
  try:
    turn = engine.reset(load_game(game))
    commands = engine.plan()
    for command in commands:
      turn = engine.step(command)
  finally:
    engine.close()
  if not turn.won:
    raise TextWorldError(f"the planner's commands {commands} solve nothing")
  return commands


# A plan takes a tenth of the time that loading the game does, but rollouts of a
# group and later updates load the same game again.
@functools.lru_cache(maxsize=4096)
def walkthrough(task: GeneratedTask) -> tuple[str, ...]:
  """Commands that solve a generated game.

  Args:
    task: which one; its id alone makes the game, so that there is no other draw
      to take where the planner fails.

  Raises:
    TextWorldError: the planner does not solve it; the message names the task.
  """
  try:
    return solve(game_data(task)[0])
  except TextWorldError as error:
    raise TextWorldError(
      f"{task.id} is no game to play, the planner did not solve it: {error}"
    ) from error


def solved_game(task: GeneratedTask) -> tuple[dict[str, Any], dict[str, Any]]:
  """As `game_data`, once the planner has solved the game; it says how.

  Raises:
    TextWorldError: the planner did not solve it.
  """
  game, trajectory = game_data(task)
  return {**game, "walkthrough": list(walkthrough(task))}, trajectory


def write_game(
  task: GeneratedTask, folder: str | os.PathLike[str]
) -> pathlib.Path:
  """Writes a game's files, unless they are there.

  The planner has to solve the game first; the file says how. Several processes
  may write the same game at once: a file appears whole or not at all.

  Args:
    task: which one.
    folder: the cache; the game gets a folder of its own in it.

  Returns:
    The path of `game.tw-pddl`.

  Raises:
    TextWorldError: the planner did not solve the game.
  """
  home = pathlib.Path(folder) / task.id
  path = home / GAME_FILE
  if not path.is_file():
    home.mkdir(parents=True, exist_ok=True)
    game, trajectory = solved_game(task)
    # The game last: where it is, all is.
    _write(home / TRAJECTORY_FILE, trajectory)
    _write(path, game)
  return path


def _write(path: pathlib.Path, data: dict[str, Any]) -> None:
  """Writes beside the file, then puts it in its place."""
  with tempfile.NamedTemporaryFile(
    "w", dir=path.parent, delete=False, encoding="utf-8"
  ) as file:
    json.dump(data, file, indent=1, sort_keys=True)
  os.replace(file.name, path)
