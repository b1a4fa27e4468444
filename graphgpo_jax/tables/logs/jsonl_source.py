"""A log of one JSON object per line, read a few megabytes at a time."""

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphgpo_jax.tables import table_columns
from graphgpo_jax.tables.logs import batch as batch_lib
from graphgpo_jax.tables.logs.batch import Batch, Keys, Position

# Text of a batch: as Python objects it takes some four times as much.
_BATCH_BYTES = 8 * 2**20
_REQUIRED = table_columns.REQUIRED


class JsonlSource:
  """JSON lines as batches of rows; row 0 is line 1."""

  lines = True

  def __init__(self, path: str, *, with_actions: bool = False):
    """Looks for the columns that the log has.

    Args:
      path: the file.
      with_actions: read the column `action`, if there is one.

    Raises:
      ValueError: the file has no line.
      OSError: it cannot be read.
    """
    self.path = path
    self.total = os.path.getsize(path)
    self._names, self._model_line = self._find_columns()
    self._absent = tuple(
      name for name in table_columns.OPTIONAL if name not in self._names
    )
    # Few estimators look at the action.
    self.optional = tuple(
      name
      for name in table_columns.OPTIONAL
      if name in self._names and (with_actions or name != "action")
    )

  def batches(self, position: Position) -> Iterator[Batch]:
    """Batches of rows from a position on.

    A line that is no complete step is a fault: its columns hold None, except
    for those that it has.

    Args:
      position: where a line begins, and its number from 0.

    Yields:
      Batch, `keys` as lists.
    """
    row = position.row
    for start, lines in self._chunks(position.byte):
      lengths = np.fromiter(map(len, lines), np.int64, len(lines))
      columns, faults = self._parse(lines, row)
      yield Batch(
        first_row=row,
        columns=columns,
        keys={name: columns[name] for name in batch_lib.KEYS},
        faults=faults,
        line_starts=start + np.concatenate([[0], np.cumsum(lengths)]),
      )
      row += len(lines)

  def keys(self, position: Position) -> Iterator[tuple[Keys, Position]]:
    """The columns KEYS alone; see `Source`."""
    for batch in self.batches(position):
      end = batch.first_row + batch.num_rows
      yield batch.keys, batch.position(end)

  def done(self, position: Position) -> int:
    """Bytes before a position."""
    return position.byte

  def num_rows(self, position: Position) -> int:
    """Rows of the file, if its lines are as long as those before."""
    if not position.row:
      return self.total // 64
    return self.total * position.row // position.byte

  def no_keys(self) -> Keys:
    """KEYS of no rows."""
    return {name: [] for name in batch_lib.KEYS}

  def _chunks(self, start: int) -> Iterator[tuple[int, list[bytes]]]:
    """Lines and where the first begins; no blank ones at the file's end."""
    with open(self.path, "rb") as file:
      file.seek(start)
      blank: list[bytes] = []
      while read := file.readlines(_BATCH_BYTES):
        lines = blank + read
        blank = []
        while lines and not lines[-1].strip():
          blank.append(lines.pop())
        blank.reverse()
        if lines:
          yield start, lines
          start += sum(map(len, lines))

  def _find_columns(self) -> tuple[tuple[str, ...], int]:
    """Columns of the first line that has what is required, and its number."""
    number = 0
    for _, lines in self._chunks(0):
      for line in lines:
        number += 1
        step, _ = _parse_line(line)
        if step is not None and all(map(step.__contains__, _REQUIRED)):
          optional = filter(step.__contains__, table_columns.OPTIONAL)
          return (*_REQUIRED, *optional), number
    if not number:
      raise ValueError(
        f"{self.path}: the table is empty: expected at least one line"
      )
    return _REQUIRED, 1

  def _parse(
    self, lines: list[bytes], first_row: int
  ) -> tuple[dict[str, list[Any]], dict[int, str]]:
    """Columns of a chunk of lines, and what is wrong with lines."""
    try:
      steps = list(map(json.loads, lines))
      columns = {name: [step[name] for step in steps] for name in self._names}
      sound = set(map(type, steps)) == {dict} and not any(
        name in step for name in self._absent for step in steps
      )
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
      sound = False
    if sound:
      return columns, {}
    faults = {}
    columns = {name: [] for name in self._names}
    for place, line in enumerate(lines):
      step, fault = _parse_line(line)
      if step is not None:
        fault = self._misfit(step)
      if fault is not None:
        faults[place] = fault
      for name, column in columns.items():
        column.append((step or {}).get(name))
    return columns, faults

  def _misfit(self, step: dict[str, Any]) -> str | None:
    """What is wrong with the columns of a line."""
    for name in self._names:
      if name not in step:
        return (
          f"lacks the column {name!r}: expected {', '.join(self._names)} in "
          "each line"
        )
    for name in self._absent:
      if name in step:
        return (
          f"has the column {name!r}, which line {self._model_line} lacks: "
          "expected it in each line or in none"
        )
    return None


def _parse_line(line: bytes) -> tuple[dict[str, Any] | None, str | None]:
  """The object of a line, or what is wrong with the line."""
  if not line.strip():
    return None, "expected one JSON object per line, got a blank line"
  try:
    step = json.loads(line)
  except (ValueError, RecursionError) as error:
    return None, f"expected a complete JSON object, got invalid JSON ({error})"
  if not isinstance(step, dict):
    return None, f"expected a JSON object, got {type(step).__name__}"
  return step, None
