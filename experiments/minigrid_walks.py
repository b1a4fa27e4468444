"""Random walks in Minigrid's rooms, and what is told of them.

A state is the whole room: cells, the agent's place and direction and what it
carries, and not the part that the agent sees, which would take different places
for one.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import graphgpo_jax
from graphgpo_jax.integrations.gym import gym_extra


def make_environment(name: str) -> Any:
  """A Minigrid environment by its name.

  Raises:
    ImportError: the extra [gym] is not installed.
    ValueError: Minigrid has none of that name.
  """
  gymnasium = gym_extra.require("gymnasium", "this example")
  gym_extra.require("minigrid", "this example")
  try:
    return gymnasium.make(name)
  except gymnasium.error.Error as error:
    raise ValueError(f"--environment={name}: {error}") from None


def whole_room(env: Any) -> tuple[int, int, int, str, bytes]:
  """State of a Minigrid environment: column, row, direction, load, cells."""
  room = env.unwrapped
  load = room.carrying
  held = "" if load is None else f"{load.color} {load.type}"
  column, row = (int(place) for place in room.agent_pos)
  return column, row, int(room.agent_dir), held, room.grid.encode().tobytes()


def walk(env: Any, seeds: Sequence[int], rollouts: int) -> dict[str, list]:
  """A table of random walks; see `collect`."""
  from graphgpo_jax.integrations import gym

  return gym.collect(
    env,
    seeds,
    rollouts=rollouts,
    state_key=lambda observation, info: whole_room(env),
  )


def distance_map(
  room: str, table: Mapping[str, Any], credit: Mapping[str, np.ndarray]
) -> str:
  """The room with the least distance of each cell in place of its floor.

  Args:
    room: as Minigrid prints it, two letters a cell.
    table: steps in that room.
    credit: of these steps.

  Returns:
    Lines of cells: the number of actions, ".." where nobody was, "--" where
    nobody knows a way from, and what Minigrid prints for a wall.
  """
  # A state from which success can be reached has a step that comes closer.
  closer = credit["next_distance"] < credit["distance"]
  least: dict[tuple[int, int], float] = collections.defaultdict(lambda: np.inf)
  for state, steps, nearer in zip(
    table["observation"], credit["distance"], closer, strict=True
  ):
    place = (state[1], state[0])
    least[place] = min(least[place], float(steps) if nearer else np.inf)
  lines = []
  for row, line in enumerate(room.splitlines()):
    cells: list[str] = [
      line[start : start + 2] for start in range(0, len(line), 2)
    ]
    for column, cell in enumerate(cells):
      if (row, column) in least:
        steps = least[row, column]
        cells[column] = f"{steps:2.0f}" if np.isfinite(steps) else "--"
      elif not cell.strip():
        cells[column] = ".."
    lines.append(" ".join(cells))
  return "\n".join(lines)


def action_rows(
  names: Sequence[str],
  table: Mapping[str, Any],
  credit: Mapping[str, np.ndarray],
) -> list[tuple[str, int, float, float]]:
  """Name, number of steps, share that came closer and mean advantage."""
  action = np.asarray(table["action"])
  closer = credit["next_distance"] < credit["distance"]
  found = []
  for number, name in enumerate(names):
    taken = action == number
    if taken.any():
      advantage = float(credit["graph_advantage"][taken].mean())
      share = float(closer[taken].mean())
      found.append((name, int(taken.sum()), share, advantage))
  return sorted(found, key=lambda row: -row[-1])


def describe(
  env: Any, seed: int, table: Mapping[str, list], *, omega: float
) -> str:
  """One room and what was learnt of it, as lines of text.

  Args:
    env: the environment that was walked in.
    seed: of the room.
    table: steps of several rooms.
    omega: distance discount in (0, 1).

  Returns:
    The text.
  """
  rows = [row for row, task in enumerate(table["task"]) if task == seed]
  steps = {
    name: [column[row] for row in rows] for name, column in table.items()
  }
  credit = graphgpo_jax.assign_credit(steps, omega=omega)
  env.reset(seed=seed)
  room = env.unwrapped.pprint_grid()
  ends = dict(zip(steps["trajectory"], steps["success"], strict=True))
  names = [action.name for action in env.unwrapped.actions]
  lines = [
    f"seed {seed}: {sum(ends.values())} of {len(ends)} walks succeeded; "
    f"{len(rows)} steps, {len(set(steps['observation']))} states",
    room,
    "least actions to success from each cell:",
    distance_map(room, steps, credit),
    f"{'action':10}{'steps':>7}{'closer':>9}{'advantage':>11}",
  ]
  actions = [
    f"{name:10}{taken:7}{share:9.1%}{advantage:11.3f}"
    for name, taken, share, advantage in action_rows(names, steps, credit)
  ]
  return "\n\n".join(lines) + "\n" + "\n".join(actions) + "\n"
