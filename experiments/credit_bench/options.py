"""What the flags of `experiments.bench_credit` say, checked."""

import dataclasses
import re

_SIZE = re.compile(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)")


@dataclasses.dataclass(frozen=True)
class Size:
  """Groups (tasks) x rollouts of each x horizon in steps."""

  groups: int
  rollouts: int
  horizon: int

  def __str__(self) -> str:
    return f"{self.groups} x {self.rollouts} x {self.horizon}"


@dataclasses.dataclass(frozen=True)
class Options:
  """Options that the sections share."""

  sizes: tuple[Size, ...]  # of the section pipelines
  repeats: int  # rounds of everything that is repeated
  quick: bool  # small enough for a test; says nothing about speed
  stream_rollouts: int
  one_task_rollouts: int


def parse_size(text: str) -> Size:
  """A size as a flag gives it, such as 128x8x50.

  Raises:
    ValueError: the text is none.
  """
  found = _SIZE.fullmatch(text.strip())
  if not found:
    raise ValueError(
      "--sizes takes groups x rollouts x horizon such as 128x8x50, "
      f"got {text!r}"
    )
  return Size(*map(int, found.groups()))
