"""Tasks as strings, and the rooms that they mean.

"train/boxes=2,height=6,solution=15,width=6/17": the side, the sizes (see
`generator.Sizes`) and a number. The room follows from the string alone: it is
the first attempt of the string's own stream of random words that is solvable
and of the string's side. A room's side follows from the room alone, so no room
is on both, though two numbers may have the same room.
"""

import dataclasses
import functools
import hashlib
import itertools
import struct

from graphgpo_jax.envs.text import task_names
from graphgpo_jax.envs.text.sokoban import generator, rules

SIDES = ("train", "evaluation")
_NUM_TASKS = 1024
# One room in eight is kept for evaluation, as on the device.
_EVALUATION_MODULUS = 8


def task_ids(
  *,
  side: str,
  height: int = 6,
  width: int = 6,
  boxes: int = 2,
  solution: int = 15,
  count: int = _NUM_TASKS,
) -> tuple[str, ...]:
  """Lists tasks; there is no end of them.

  Args:
    side: "train" or "evaluation".
    height: rows with the border walls, 6 to 10.
    width: columns with the border walls, 6 to 10.
    boxes: 1 to 3.
    solution: actions of the known solution at most, 15 to 120; an episode
      should have as many steps.
    count: the first so many.

  Returns:
    Ids for `reset`.

  Raises:
    ValueError: there is no such side, or a number is out of range.
  """
  if side not in SIDES:
    raise ValueError(f"side {side!r}: expected one of {', '.join(SIDES)}")
  if count < 0:
    raise ValueError(f"count must not be negative, got {count}")
  sizes = generator.Sizes(
    height=height, width=width, boxes=boxes, solution=solution
  )
  parameters = task_names.format_parameters(dataclasses.asdict(sizes))
  return tuple(
    str(task_names.TaskName(side, parameters, number))
    for number in range(count)
  )


@functools.lru_cache(maxsize=256)
def task_of(task_id: str) -> generator.Task:
  """The room of a task, and where player and boxes stand.

  Raises:
    ValueError: there is no such task.
  """
  name = task_names.parse(task_id)
  try:
    if name.game not in SIDES:
      raise ValueError(f"side {name.game!r}: expected {' or '.join(SIDES)}")
    given = task_names.parse_parameters(name.parameters)
    expected = {field.name for field in dataclasses.fields(generator.Sizes)}
    if set(given) != expected:
      raise ValueError(f"expected sizes {', '.join(sorted(expected))}")
    sizes = generator.Sizes(**given)
  except ValueError as error:
    raise ValueError(f"no such task: {task_id!r}: {error}") from error
  wanted = name.game == "evaluation"
  for number in itertools.count():
    task = generator.attempt(_words(f"{task_id}#{number}", sizes), sizes)
    if task is not None and is_evaluation_side(task) == wanted:
      return task
  raise AssertionError("not reached")


def is_evaluation_side(task: generator.Task) -> bool:
  """Whether a room is kept for evaluation, by its layout alone."""
  text = rules.write(task.room, task.start)
  digest = hashlib.sha256(text.encode()).digest()
  return int.from_bytes(digest[:8], "big") % _EVALUATION_MODULUS == 0


def _words(name: str, sizes: generator.Sizes) -> tuple[int, ...]:
  """Random words that follow from a name alone."""
  count = sizes.num_words
  stream = hashlib.shake_256(name.encode()).digest(4 * count)
  return struct.unpack(f"<{count}I", stream)
