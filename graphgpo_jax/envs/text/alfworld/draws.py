"""Random draws that are the same on every machine and in every Python."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def digest_number(text: str) -> int:
  """A number in [0, 2**64) that follows from a text alone."""
  return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Draws:
  """A stream of draws that follows from a name alone.

  The standard library promises the same draws from one version to the next
  for `random()` only; a hash of the name and of a counter keeps that promise
  for every draw.
  """

  def __init__(self, name: str) -> None:
    """Begins the stream.

    Args:
      name: what the draws are for, such as a task's id.
    """
    self._name = name
    self._count = 0

  def below(self, bound: int) -> int:
    """A number in [0, bound)."""
    if bound < 1:
      raise ValueError(f"bound must be positive, got {bound}")
    self._count += 1
    return digest_number(f"{self._name}#{self._count}") % bound

  def between(self, low: int, high: int) -> int:
    """A number in [low, high]."""
    return low + self.below(high - low + 1)

  def choice(self, options: Sequence[T]) -> T:
    """One of `options`, which must not be empty."""
    return options[self.below(len(options))]

  def shuffled(self, items: Sequence[T]) -> list[T]:
    """The items in a random order (Fisher and Yates)."""
    shuffled = list(items)
    for last in range(len(shuffled) - 1, 0, -1):
      other = self.below(last + 1)
      shuffled[last], shuffled[other] = shuffled[other], shuffled[last]
    return shuffled
