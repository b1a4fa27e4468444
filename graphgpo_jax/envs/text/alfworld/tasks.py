"""Names of ALFWorld's tasks, and their two sides."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

from graphgpo_jax.envs.text.alfworld.draws import digest_number
from graphgpo_jax.envs.text.alfworld.rooms import TASK_TYPES

GENERATED = "generated"
SIDES = ("train", "evaluation")
# One generated task in eight is kept for evaluation.
_EVALUATION_MODULUS = 8


@dataclasses.dataclass(frozen=True)
class GeneratedTask:
  """A task of the generator.

  Attributes:
    task_type: one of TASK_TYPES.
    number: which one of the type.
  """

  task_type: str
  number: int

  @property
  def id(self) -> str:
    """Its name, such as "generated/pick_and_place_simple/17"."""
    return f"{GENERATED}/{self.task_type}/{self.number}"

  @property
  def side(self) -> str:
    """The side that it is on, for ever and everywhere: its name decides."""
    kept = digest_number(self.id) % _EVALUATION_MODULUS == 0
    return "evaluation" if kept else "train"


def parse_generated(task_id: str) -> GeneratedTask:
  """Reads the id of a generated task.

  Raises:
    ValueError: it is none; the message says what one looks like.
  """
  parts = task_id.split("/")
  if (
    len(parts) == 3
    and parts[0] == GENERATED
    and parts[1] in TASK_TYPES
    and parts[2].isascii()
    and parts[2].isdecimal()
    and str(int(parts[2])) == parts[2]
  ):
    return GeneratedTask(parts[1], int(parts[2]))
  raise ValueError(
    f"no generated ALFWorld task {task_id!r}: expected "
    f'"{GENERATED}/TYPE/NUMBER" with TYPE one of {", ".join(TASK_TYPES)}'
  )


def generated_ids(
  *, side: str, task_types: Iterable[str] = TASK_TYPES
) -> Iterator[str]:
  """All generated tasks of a side, without end, the types taking turns.

  Args:
    side: "train" or "evaluation".
    task_types: of TASK_TYPES.

  Returns:
    An endless iterator of ids.

  Raises:
    ValueError: there is no such side or type.
  """
  check_side(side)
  chosen = check_task_types(task_types)
  streams = [_of_type(task_type, side) for task_type in chosen]
  return itertools.chain.from_iterable(zip(*streams, strict=True))


def _of_type(task_type: str, side: str) -> Iterator[str]:
  for number in itertools.count():
    task = GeneratedTask(task_type, number)
    if task.side == side:
      yield task.id


def check_side(side: str) -> None:
  """Raises a ValueError where there is no such side."""
  if side not in SIDES:
    raise ValueError(f"no side {side!r}: expected one of {', '.join(SIDES)}")


def check_task_types(task_types: Iterable[str]) -> tuple[str, ...]:
  """The types, once a ValueError has named one that there is not."""
  chosen = tuple(task_types)
  unknown = [name for name in chosen if name not in TASK_TYPES]
  if unknown or not chosen:
    raise ValueError(
      f"types of tasks {list(chosen)}: expected some of {', '.join(TASK_TYPES)}"
    )
  return chosen
