"""TextWorldExpress's games: their parameters, folds and task ids."""

from collections.abc import Mapping
from typing import Literal

from graphgpo_jax.envs.text import task_names

# Names of each game's parameters, as the engine of version 1.1.0 knows them.
PARAMETERS = {
  "arithmetic": (),
  "coin": (
    "includeDoors",
    "limitInventorySize",
    "numDistractorItems",
    "numLocations",
  ),
  "cookingworld": (
    "includeDoors",
    "limitInventorySize",
    "numDistractorItems",
    "numIngredients",
    "numLocations",
  ),
  "mapreader": (
    "includeDoors",
    "limitInventorySize",
    "maxDistanceApart",
    "maxDistractorItemsPerLocation",
    "numLocations",
  ),
  "peckingorder": (),
  "simonsays": ("gameLength", "memorization", "numDistractors", "verbose"),
  "sorting": (),
  "twc": (
    "includeDoors",
    "limitInventorySize",
    "numItemsToPutAway",
    "numLocations",
  ),
}

# First seed of each of the engine's folds, each of 1000 seeds.
FOLDS = {"train": 0, "dev": 10_000, "test": 20_000}
SEEDS_PER_FOLD = 1000
_SIDES = {"train": "train", "development": "dev", "evaluation": "test"}


def fold_of(seed: int) -> str:
  """The fold that a seed belongs to.

  The engine itself takes any seed in any fold; holding each to its own keeps
  training and evaluation apart.

  Raises:
    ValueError: the seed belongs to none.
  """
  for fold, first in FOLDS.items():
    if first <= seed < first + SEEDS_PER_FOLD:
      return fold
  ranges = ", ".join(
    f"{first} to {first + SEEDS_PER_FOLD - 1} ({fold})"
    for fold, first in FOLDS.items()
  )
  raise ValueError(f"seed {seed} is in no fold: expected {ranges}")


def check_parameters(game: str, parameters: Mapping[str, int]) -> None:
  """Refuses a game or a parameter that does not exist.

  Raises:
    ValueError: there is no such game or parameter.
  """
  if game not in PARAMETERS:
    raise ValueError(
      f"no such game: {game!r}; expected one of {', '.join(PARAMETERS)}"
    )
  for name in parameters:
    if name not in PARAMETERS[game]:
      known = ", ".join(PARAMETERS[game]) or "none"
      raise ValueError(
        f"{game} has no parameter {name!r}; its parameters: {known}"
      )


def task_ids(
  *,
  side: Literal["train", "development", "evaluation"],
  game: str = "coin",
  parameters: Mapping[str, int] | None = None,
) -> list[str]:
  """All tasks of a game on one side: the engine's train, dev or test fold.

  Args:
    side: "train", "development" or "evaluation".
    game: its name.
    parameters: of the game; the engine's own values for those left out. Few
      locations make few distinct games, so that two seeds can give the same.

  Returns:
    1000 task ids, "game/parameters/seed".

  Raises:
    ValueError: there is no such side, game or parameter.
  """
  if side not in _SIDES:
    raise ValueError(f"side {side!r}: expected one of {', '.join(_SIDES)}")
  check_parameters(game, parameters or {})
  text = task_names.format_parameters(parameters or {})
  first = FOLDS[_SIDES[side]]
  return [
    str(task_names.TaskName(game, text, seed))
    for seed in range(first, first + SEEDS_PER_FOLD)
  ]
