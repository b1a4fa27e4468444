"""Tasks as strings: "game/parameters/seed", such as
"coin/includeDoors=0,numLocations=5/17".
"""

import dataclasses
import re
from collections.abc import Mapping

NO_PARAMETERS = "default"

_FORM = re.compile(r"([A-Za-z0-9_-]+)/([A-Za-z0-9_=,+-]+)/(0|[1-9][0-9]{0,8})")


@dataclasses.dataclass(frozen=True)
class TaskName:
  """What a task's string says.

  Attributes:
    game: its name.
    parameters: of the game, as they stand in the string.
    number: seed or variation of the task.
  """

  game: str
  parameters: str
  number: int

  def __str__(self) -> str:
    return f"{self.game}/{self.parameters}/{self.number}"


def parse(task_id: str) -> TaskName:
  """Takes a task's string apart.

  Raises:
    ValueError: it has another form.
  """
  found = _FORM.fullmatch(task_id)
  if found is None:
    raise ValueError(
      f"no such task: {task_id!r}; expected game/parameters/number, such as "
      f"coin/{NO_PARAMETERS}/17"
    )
  return TaskName(found[1], found[2], int(found[3]))


def format_parameters(parameters: Mapping[str, int]) -> str:
  """The one string of some parameters: "a=1,b=2", or "default" for none."""
  if not parameters:
    return NO_PARAMETERS
  return ",".join(f"{name}={parameters[name]}" for name in sorted(parameters))


def parse_parameters(text: str) -> dict[str, int]:
  """Reads what `format_parameters` wrote.

  Raises:
    ValueError: `format_parameters` would not have written it, such as names
      out of order: a task has one string only.
  """
  parameters = {}
  if text != NO_PARAMETERS:
    for part in text.split(","):
      found = re.fullmatch(r"([A-Za-z_]+)=(0|[1-9][0-9]{0,8})", part)
      if found is None:
        raise ValueError(
          f"parameters {text!r}: expected name=number, got {part!r}"
        )
      parameters[found[1]] = int(found[2])
  if format_parameters(parameters) != text:
    raise ValueError(
      f"parameters {text!r}: expected names in alphabetical order, each once: "
      f"{format_parameters(parameters)}"
    )
  return parameters
