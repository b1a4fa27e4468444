"""Several rows of tokens in one, so that little of a batch is padding.

Rows differ in length by an order of magnitude, and a batch that pads each to
the longest computes mostly padding. Packed rows hold several rows side by side
as segments: a model attends within a segment only, and positions start anew in
each, so that nothing changes but the cost.
"""

from typing import Any

import jax
import numpy as np

from graphgpo_jax.rollouts import turns


def pack_rows(
  rows: turns.TokenRows, *, budget: int, rows_multiple_of: int = 1
) -> turns.TokenRows:
  """Packs rows by first-fit decreasing: the longest first, where it fits first.

  It takes at most 11/9 of the fewest rows possible, plus 6/9 (Dosa, 2007). A
  row is never split. Rows of one length are taken by episode and step, so that
  the packed rows do not depend on the order of `rows`.

  Args:
    rows: arrays [R, L], padded on the right. They may be packed already, and
      then stay together. Rows without a token are left out.
    budget: length of a packed row in tokens.
    rows_multiple_of: rows of padding are added up to such a number: for equal
      micro-batches, and for few distinct shapes.

  Returns:
    TokenRows of NumPy arrays [number of packed rows, budget]; segments count
    from 0 within each.

  Raises:
    ValueError: a row is longer than the budget or not padded on the right,
      there is no token at all, or a number is not positive.
  """
  for name, value in (
    ("budget", budget),
    ("rows_multiple_of", rows_multiple_of),
  ):
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
  given: Any = jax.tree.map(np.asarray, rows)
  lengths = _check_lengths(given, budget)
  order = np.lexsort((given.step.max(1), given.episode[:, 0], -lengths))
  order = order[lengths[order] > 0]
  if not order.size:
    raise ValueError("rows have no token")
  bins = _first_fit(lengths[order], budget)
  count = -(-(bins.max() + 1) // rows_multiple_of) * rows_multiple_of
  packed: Any = turns.empty_rows(int(count), budget)
  filled = np.zeros(count, int)
  segments = np.zeros(count, int)
  for row, target in zip(order, bins, strict=True):
    length, start = lengths[row], filled[target]
    for name, value in given.items():
      part = value[row, :length]
      if name == "segment":
        part = part + segments[target]
      packed[name][target, start : start + length] = part
    filled[target] += length
    segments[target] += given.segment[row].max() + 1
  return packed


def padding_share(rows: turns.TokenRows) -> float:
  """Share of the entries of [R, L] that are padding, from 0 to 1."""
  return 1.0 - float(np.mean(np.asarray(rows.mask)))


def _check_lengths(rows: Any, budget: int) -> np.ndarray:
  """Tokens of each row, int [R]."""
  lengths = rows.mask.sum(1)
  ranks = np.arange(rows.mask.shape[1])
  ragged = (rows.mask != (ranks < lengths[:, None])).any(1)
  if ragged.any():
    raise ValueError(f"row {np.argmax(ragged)} is not padded on the right")
  if (lengths > budget).any():
    row = int(np.argmax(lengths > budget))
    raise ValueError(
      f"row {row} (episode {rows.episode[row, 0]}, step "
      f"{rows.step[row].max()}) has {lengths[row]} tokens, more than the "
      f"budget of {budget}"
    )
  return lengths


def _first_fit(lengths: np.ndarray, budget: int) -> np.ndarray:
  """The first row with room for each length in turn, int [number]."""
  room = np.full(lengths.size, budget)
  bins = np.zeros(lengths.size, int)
  used = 0
  for index, length in enumerate(lengths):
    # The next unused row has room for anything.
    bins[index] = np.argmax(room[: used + 1] >= length)
    room[bins[index]] -= length
    used = max(used, bins[index] + 1)
  return bins
