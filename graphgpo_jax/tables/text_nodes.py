"""Node numbers of a table's texts, by looking each one up once.

Within one table no fingerprint is needed to tell which observations are equal:
the texts themselves are looked up, so two different ones can never share a
node, and where tasks share no text the numbers need no sorting either.
"""

import collections
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np


def number_texts(
  observations: Sequence[Any], finals: Sequence[Any]
) -> tuple[np.ndarray, np.ndarray] | None:
  """Numbers distinct texts 1, 2, ... as they first appear.

  Args:
    observations: n observations.
    finals: r further ones, numbered after those.

  Returns:
    int64 [n] and int64 [r]; None if there is something that is no `str`.
  """
  if set(map(type, finals)) - {str}:
    return None
  numbers: dict[Any, int] = collections.defaultdict(itertools.count(1).__next__)
  try:
    first = np.fromiter(
      map(numbers.__getitem__, observations), np.int64, len(observations)
    )
  except TypeError:
    return None
  # What is no text equals none, so it has a key of its own.
  if set(map(type, numbers)) - {str}:
    return None
  second = np.fromiter(map(numbers.__getitem__, finals), np.int64, len(finals))
  return first, second


def group_nodes(
  observations: np.ndarray,
  finals: np.ndarray,
  heads: np.ndarray,
  final_group: np.ndarray,
) -> tuple[np.ndarray, np.ndarray] | None:
  """Numbers each group's states 1, 2, ... from the numbers of all states.

  Args:
    observations: int64 [n], as `number_texts`; groups one after the other.
    finals: int64 [r], as `number_texts`, in the order of the groups.
    heads: int64 [G], first row of each group.
    final_group: int64 [r], group of each final.

  Returns:
    int64 [n] and int64 [r], nodes of the own group, without a gap; None where
    two groups share a state, for then the numbers of one have gaps.
  """
  greatest = np.maximum.accumulate(observations)
  before = np.concatenate([[0], greatest[heads[1:] - 1]])
  count = np.diff(before, append=greatest[-1])
  nodes = observations - np.repeat(
    before, np.diff(heads, append=len(observations))
  )
  if nodes.min() < 1:
    return None
  ends = finals - before[final_group]
  seen = finals <= greatest[-1]
  if (seen & ((ends < 1) | (ends > count[final_group]))).any():
    return None
  unseen = np.flatnonzero(~seen)
  if len(unseen):
    group = final_group[unseen]
    newest = np.maximum.accumulate(finals[unseen])
    first = np.concatenate([[True], group[1:] != group[:-1]])
    # Numbers given before the group's first new final.
    base = np.concatenate([[greatest[-1]], newest[:-1]])[first]
    extra = finals[unseen] - base[np.cumsum(first) - 1]
    if extra.min() < 1:
      return None
    ends[unseen] = count[group] + extra
  return nodes, ends
