"""TextWorld's games: their parameters, sides and task ids."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

from graphgpo_jax.envs import split
from graphgpo_jax.envs.text import task_names

# Each game's parameters with the least and the largest value; tw-make has them
# under the same names. 0 and 1 mean no and yes.
PARAMETERS: Mapping[str, Mapping[str, tuple[int, int]]] = {
  "coin_collector": {"level": (1, 300)},
  "cooking": {
    "cook": (0, 1),
    "cut": (0, 1),
    "drop": (0, 1),
    "go": (1, 12),
    "open": (0, 1),
    "recipe": (1, 5),
    "recipe_seed": (0, 999_999_999),
    "take": (0, 5),
  },
  "treasure_hunter": {"level": (1, 30)},
}
# Used where a caller gives none.
DEFAULTS: Mapping[str, Mapping[str, int]] = {
  "coin_collector": {"level": 5},
  "cooking": {"cook": 1, "cut": 1, "go": 6, "recipe": 1, "take": 1},
  "treasure_hunter": {"level": 5},
}
_COOKING_ROOMS = (1, 6, 9, 12)
_SIDES = ("train", "evaluation")


def _check(game: str, parameters: Mapping[str, int]) -> None:
  if game not in PARAMETERS:
    raise ValueError(
      f"no such game: {game!r}; expected one of {', '.join(PARAMETERS)}"
    )
  known = PARAMETERS[game]
  for name, value in parameters.items():
    if name not in known:
      raise ValueError(
        f"{game} has no parameter {name!r}; its parameters: {', '.join(known)}"
      )
    least, most = known[name]
    if not least <= value <= most:
      raise ValueError(
        f"{game}: {name} must be in {least} to {most}, got {value}"
      )
  if game == "cooking":
    if parameters.get("go", 1) not in _COOKING_ROOMS:
      raise ValueError(
        f"cooking: go must be one of {_COOKING_ROOMS}, got {parameters['go']}"
      )
    if parameters.get("take", 0) > parameters.get("recipe", 1):
      raise ValueError("cooking: take must not be larger than recipe")
  elif "level" not in parameters:
    raise ValueError(f"{game} needs the parameter level")
  # The engine's file format holds 100 rooms.
  if game == "coin_collector":
    level = parameters["level"] - 1
    if (level // 100 + 1) * (level % 100 + 1) > 100:
      raise ValueError(
        f"coin_collector: level {level + 1} has more than 100 rooms"
      )


def parse(task_id: str) -> tuple[str, dict[str, int], int]:
  """Takes a task id apart.

  Returns:
    The game, its parameters, the seed.

  Raises:
    ValueError: there is no such task.
  """
  name = task_names.parse(task_id)
  try:
    parameters = task_names.parse_parameters(name.parameters)
    _check(name.game, parameters)
  except ValueError as error:
    raise ValueError(f"no such task: {task_id!r}: {error}") from error
  return name.game, parameters, name.number


def is_evaluation_side(task_id: str) -> bool:
  """Tells a task's side, by a hash of its id alone: one in eight is kept."""
  digest = hashlib.sha256(task_id.encode()).digest()
  return int.from_bytes(digest[:8], "little") % split.EVALUATION_MODULUS == 0


def task_ids(
  *,
  side: Literal["train", "evaluation"],
  game: str = "coin_collector",
  parameters: Mapping[str, int] | None = None,
  seeds: Iterable[int] = range(1000),
) -> list[str]:
  """Tasks of a game on one side.

  Args:
    side: "train" or "evaluation".
    game: its name.
    parameters: of the game; without any, DEFAULTS. The smallest games are few,
      so that two seeds can give the same one.
    seeds: to be sorted into sides; in the same order in the result.

  Returns:
    Task ids, "game/parameters/seed".

  Raises:
    ValueError: there is no such side, game or parameter.
  """
  if side not in _SIDES:
    raise ValueError(f"side {side!r}: expected one of {', '.join(_SIDES)}")
  if parameters is None:
    parameters = DEFAULTS.get(game, {})
  _check(game, parameters)
  text = task_names.format_parameters(parameters)
  ids = (str(task_names.TaskName(game, text, seed)) for seed in seeds)
  wanted = side == "evaluation"
  return [task for task in ids if is_evaluation_side(task) == wanted]
