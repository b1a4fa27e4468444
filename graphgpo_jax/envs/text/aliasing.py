"""Aliasing: states that a key takes for one although they go on differently.

A graph of states is only as good as its key. A key that merges too much gives
edges that no rollout can rely on; it shows as one (key, action) leading to
different next keys. A key that merges nothing shows as few repeats.
"""

import collections
import dataclasses
from collections.abc import Hashable, Iterable


@dataclasses.dataclass(frozen=True)
class Conflict:
  """One (key, action) and what it led to, each next key once."""

  key: Hashable
  action: Hashable
  next_keys: tuple[Hashable, ...]


@dataclasses.dataclass(frozen=True)
class AliasingReport:
  """What transitions say of a key.

  Attributes:
    transitions: how many there were.
    states: different keys among them.
    repeats: different (key, action) that were met more than once.
    conflicts: those of them that met different next keys.
    examples: some conflicts, in the order of their first meeting.
  """

  transitions: int
  states: int
  repeats: int
  conflicts: int
  examples: tuple[Conflict, ...]

  @property
  def conflict_share(self) -> float:
    """Share of the repeats that conflicted, 0 where nothing was repeated."""
    return self.conflicts / self.repeats if self.repeats else 0.0


def aliasing_report(
  transitions: Iterable[tuple[Hashable, Hashable, Hashable]],
  *,
  num_examples: int = 3,
) -> AliasingReport:
  """Counts how often one (key, action) meets different next keys.

  Args:
    transitions: (state key, action, next state key). Keys of different tasks
      must differ, since nothing says that their worlds are the same.
    num_examples: the most conflicts to return.

  Raises:
    ValueError: `num_examples` is negative.
  """
  if num_examples < 0:
    raise ValueError(f"num_examples must not be negative, got {num_examples}")
  met: dict[tuple, collections.Counter] = {}
  states: set[Hashable] = set()
  count = 0
  for key, action, next_key in transitions:
    count += 1
    states.update((key, next_key))
    met.setdefault((key, action), collections.Counter())[next_key] += 1
  conflicts = [
    Conflict(key, action, tuple(found))
    for (key, action), found in met.items()
    if len(found) > 1
  ]
  return AliasingReport(
    transitions=count,
    states=len(states),
    repeats=sum(found.total() > 1 for found in met.values()),
    conflicts=len(conflicts),
    examples=tuple(conflicts[:num_examples]),
  )
