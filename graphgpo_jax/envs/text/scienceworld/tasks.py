"""ScienceWorld's tasks: their variations, folds and task ids."""

from collections.abc import Sequence
from typing import Literal

from graphgpo_jax.envs.text import task_names

# Variations of each task in the engine of version 1.2.3: those for training
# come first, then those for development, then those for testing.
VARIATIONS = {
  "boil": (14, 7, 9),
  "change-the-state-of-matter-of": (14, 7, 9),
  "chemistry-mix": (16, 8, 8),
  "chemistry-mix-paint-secondary-color": (18, 9, 9),
  "chemistry-mix-paint-tertiary-color": (18, 9, 9),
  "find-animal": (150, 75, 75),
  "find-living-thing": (150, 75, 75),
  "find-non-living-thing": (150, 75, 75),
  "find-plant": (150, 75, 75),
  "freeze": (14, 7, 9),
  "grow-fruit": (62, 31, 33),
  "grow-plant": (62, 31, 33),
  "identify-life-stages-1": (6, 3, 5),
  "identify-life-stages-2": (4, 2, 4),
  "inclined-plane-determine-angle": (84, 42, 42),
  "inclined-plane-friction-named-surfaces": (692, 346, 348),
  "inclined-plane-friction-unnamed-surfaces": (80, 40, 42),
  "lifespan-longest-lived": (62, 31, 32),
  "lifespan-longest-lived-then-shortest-lived": (62, 31, 32),
  "lifespan-shortest-lived": (62, 31, 32),
  "measure-melting-point-known-substance": (218, 109, 109),
  "measure-melting-point-unknown-substance": (150, 75, 75),
  "melt": (14, 7, 9),
  "mendelian-genetics-known-plant": (60, 30, 30),
  "mendelian-genetics-unknown-plant": (240, 120, 120),
  "power-component": (10, 5, 5),
  "power-component-renewable-vs-nonrenewable-energy": (10, 5, 5),
  "test-conductivity": (450, 225, 225),
  "test-conductivity-of-unknown-substances": (300, 150, 150),
  "use-thermometer": (270, 135, 135),
}
SIDES = ("train", "development", "evaluation")
SIMPLIFICATIONS = (
  "easy",
  "noElectricalAction",
  "openContainers",
  "openDoors",
  "selfWateringFlowerPots",
  "teleportAction",
)


def _check_task(task: str) -> None:
  if task not in VARIATIONS:
    raise ValueError(
      f"no such task: {task!r}; expected one of {', '.join(VARIATIONS)}"
    )


def format_simplifications(names: Sequence[str]) -> str:
  """The one string of some simplifications, or "default" for none.

  Raises:
    ValueError: there is no such simplification.
  """
  for name in names:
    if name not in SIMPLIFICATIONS:
      raise ValueError(
        f"no such simplification: {name!r}; expected some of "
        f"{', '.join(SIMPLIFICATIONS)}"
      )
  return ",".join(sorted(set(names))) or task_names.NO_PARAMETERS


def parse(task_id: str) -> tuple[str, str, int]:
  """Takes a task id apart.

  Returns:
    The task, its simplifications as the engine wants them, its variation.

  Raises:
    ValueError: there is no such task.
  """
  name = task_names.parse(task_id)
  try:
    _check_task(name.game)
    names = name.parameters.split(",")
    if names == [task_names.NO_PARAMETERS]:
      names = []
    if format_simplifications(names) != name.parameters:
      raise ValueError(
        "expected simplifications in alphabetical order, each once: "
        f"{format_simplifications(names)}"
      )
    total = sum(VARIATIONS[name.game])
    if name.number >= total:
      raise ValueError(f"{name.game} has the variations 0 to {total - 1}")
    electrical = "power-component", "test-conductivity"
    if name.game.startswith(electrical) and "noElectricalAction" in names:
      raise ValueError(f"{name.game} cannot be done with noElectricalAction")
  except ValueError as error:
    raise ValueError(f"no such task: {task_id!r}: {error}") from error
  return name.game, ",".join(names), name.number


def task_ids(
  *,
  side: Literal["train", "development", "evaluation"],
  tasks: Sequence[str] | None = None,
  simplifications: Sequence[str] = ("easy",),
) -> list[str]:
  """Tasks of one side: the engine's train, dev or test variations.

  Args:
    side: "train", "development" or "evaluation".
    tasks: names; without them all 30.
    simplifications: some of SIMPLIFICATIONS; "easy" stands for all that the
      task allows.

  Returns:
    Task ids, "task/simplifications/variation", variation by variation so that
    the first ones are of different tasks.

  Raises:
    ValueError: there is no such side, task or simplification.
  """
  if side not in SIDES:
    raise ValueError(f"side {side!r}: expected one of {', '.join(SIDES)}")
  tasks = list(VARIATIONS) if tasks is None else list(tasks)
  for task in tasks:
    _check_task(task)
  text = format_simplifications(simplifications)
  index = SIDES.index(side)
  found = []
  for task in tasks:
    first = sum(VARIATIONS[task][:index])
    for place in range(VARIATIONS[task][index]):
      found.append((place, task, first + place))
  order = {task: number for number, task in enumerate(tasks)}
  found.sort(key=lambda entry: (entry[0], order[entry[1]]))
  return [
    str(task_names.TaskName(task, text, variation))
    for _, task, variation in found
  ]
