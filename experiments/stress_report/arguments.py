"""What the report's command line may say."""

import pathlib
from collections.abc import Callable, Sequence
from typing import TypeVar

Number = TypeVar("Number", int, float)


def numbers(
  name: str, words: Sequence[str], kind: Callable[[str], Number]
) -> list[Number]:
  """The words of a flag as numbers.

  Raises:
    ValueError: a word is no such number; the message names the flag.
  """
  try:
    return [kind(word) for word in words]
  except ValueError:
    raise ValueError(f"--{name} takes numbers, got {','.join(words)}") from None


def check_output(path: pathlib.Path) -> None:
  """Checks that a report can be written, before hours are spent on it.

  Raises:
    ValueError: the name does not end in .json, or its folder does not exist.
  """
  if path.suffix != ".json":
    raise ValueError(f"--output must end in .json, got {path}")
  if not path.resolve().parent.is_dir():
    raise ValueError(f"--output={path}: expected a folder that exists")
