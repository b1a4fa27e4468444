"""Columns of logged steps to checked NumPy arrays, one kind at a time.

Each function takes a column as `column` returns it and raises a ValueError
that names the column, the row (counted from 0) and what was expected. Nothing
here loops over rows in Python unless a row is wrong.
"""

import array
import itertools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphgpo_jax.tables import arrow_columns

REQUIRED = (
  "task",
  "trajectory",
  "t",
  "observation",
  "next_observation",
  "success",
)
OPTIONAL = ("reward", "episode_return", "action_valid", "cost", "action")

Column = list | tuple | np.ndarray | arrow_columns.TextColumn


class BadRowError(ValueError):
  """One row of a column holds something that does not belong there."""

  def __init__(self, name: str, row: int, reason: str):
    super().__init__(f"column {name!r}, row {row}: {reason}")
    self.name = name
    self.row = row
    self.reason = reason


def read_columns(steps: Mapping[str, Any]) -> dict[str, Column]:
  """The known columns of a table, all of one length.

  Args:
    steps: mapping of column name to sequence; other names are left out.

  Returns:
    dict of name to list, tuple or array, of n >= 1 entries each.

  Raises:
    ValueError: a required column is missing, a column is no sequence, or the
      columns are empty or not equally long.
  """
  if not isinstance(steps, Mapping):
    raise ValueError(
      "steps must be a mapping of column name to sequence, got "
      f"{type(steps).__name__}"
    )
  missing = [name for name in REQUIRED if name not in steps]
  if missing:
    raise ValueError(
      f"steps lacks the column {missing[0]!r}: expected "
      f"{', '.join(REQUIRED)}, and if present {', '.join(OPTIONAL)}"
    )
  columns = {
    name: _as_column(name, steps[name])
    for name in REQUIRED + OPTIONAL
    if name in steps
  }
  num_steps = len(columns["task"])
  for name, column in columns.items():
    if len(column) != num_steps:
      raise ValueError(
        f"column {name!r} has {len(column)} rows, but column 'task' has "
        f"{num_steps}: expected one entry per step in every column"
      )
  if not num_steps:
    raise ValueError("the table is empty: expected at least one step")
  return columns


def _as_column(name: str, values: Any) -> Column:
  if isinstance(values, (list, tuple)):
    return values
  if arrow_columns.is_arrow(values):
    return arrow_columns.from_arrow(values)
  if not isinstance(values, np.ndarray):
    if hasattr(values, "to_numpy"):
      values = values.to_numpy()
    elif hasattr(values, "__array__"):
      values = np.asarray(values)
    elif isinstance(values, (str, bytes, Mapping)) or not isinstance(
      values, Iterable
    ):
      raise ValueError(
        f"column {name!r} must be a sequence with one entry per step, got "
        f"{type(values).__name__}"
      )
    else:
      return list(values)
  if values.ndim == 0:
    raise ValueError(
      f"column {name!r} must be a sequence with one entry per step, got a "
      "single value"
    )
  return values.tolist() if values.dtype.kind == "O" else values


def numbers(name: str, column: Column) -> np.ndarray:
  """A column of finite numbers as float32 [n].

  Raises:
    ValueError: a row holds no number, or none that float32 can.
  """
  given = _vector(name, column, "d", "biuf", "a finite number")
  with np.errstate(over="ignore"):
    result = given.astype(np.float32)
  wrong = ~np.isfinite(result)
  if wrong.any():
    raise _bad_row(name, column, int(np.argmax(wrong)), "a finite number")
  return result


def costs(column: Column) -> np.ndarray:
  """The column of step costs, finite and at least 0, as float32 [n].

  Raises:
    ValueError: a row holds something else.
  """
  result = numbers("cost", column)
  wrong = result < 0
  if wrong.any():
    raise _bad_row(
      "cost", column, int(np.argmax(wrong)), "a number of at least 0"
    )
  return result


def booleans(name: str, column: Column) -> np.ndarray:
  """A column of booleans, or of numbers 0 and 1, as bool [n].

  Raises:
    ValueError: a row holds something else.
  """
  expected = "a boolean, 0 or 1"
  given: np.ndarray
  try:
    # bytes() reads a list of booleans several times faster than np.asarray.
    if not isinstance(column, (list, tuple)):
      raise TypeError
    given = np.frombuffer(bytes(column), np.uint8)
  except (TypeError, ValueError):
    given = _vector(name, column, "d", "biuf", expected)
  wrong = (given != 0) & (given != 1)
  if wrong.any():
    raise _bad_row(name, column, int(np.argmax(wrong)), expected)
  return given.astype(bool)


def integers(name: str, column: Column) -> np.ndarray:
  """A column of integers as int64 [n]; floats pass if they are whole.

  Raises:
    ValueError: a row holds no whole number of 64 bits.
  """
  expected = "an integer"
  given = _vector(name, column, "q", "iuf", expected)
  if given.dtype == np.int64:
    return given
  # Past 2**53 a float no longer tells neighbouring integers apart.
  limit = 2**53 if given.dtype.kind == "f" else 2**63 - 1
  inside = (given >= -limit) & (given <= limit)
  wrong = ~(inside & (np.floor(given) == given))
  if wrong.any():
    raise _bad_row(name, column, int(np.argmax(wrong)), expected)
  return given.astype(np.int64)


def codes(name: str, column: Column) -> np.ndarray:
  """Numbers the distinct ids of a column 0, 1, ... as they appear.

  Args:
    name: the column's name, for messages.
    column: n hashable ids; equal neighbours cost next to nothing.

  Returns:
    int64 [n].

  Raises:
    ValueError: a row holds None, NaN or something that is no id.
  """
  if isinstance(column, np.ndarray) and column.ndim != 1:
    raise ValueError(f"column {name!r} must have one id per row")
  expected = "an id such as text or an integer"
  num_rows = len(column)
  if isinstance(column, arrow_columns.TextColumn):
    numbers_of_rows, _ = column.distinct()
    gaps = numbers_of_rows < 0
    if gaps.any():
      raise _bad_row(name, column, int(np.argmax(gaps)), expected)
    return numbers_of_rows
  if isinstance(column, np.ndarray):
    changes = column[1:] != column[:-1]
    starts = np.flatnonzero(np.concatenate([[True], changes]))
    heads = column[starts].tolist()
  else:
    try:
      differs = map(operator.ne, column, itertools.islice(column, 1, None))
      changes = np.fromiter(differs, bool, num_rows - 1)
    except ValueError:
      # Arrays do not compare to one boolean; the dict below names the row.
      changes = np.ones(num_rows - 1, bool)
    starts = np.flatnonzero(np.concatenate([[True], changes]))
    heads = [column[start] for start in starts.tolist()]
  lengths = np.diff(np.append(starts, num_rows))
  if set(map(type, heads)) == {str}:
    # The common case, without a look at each one.
    place = dict(zip(dict.fromkeys(heads), itertools.count(), strict=False))
    return np.repeat(
      np.fromiter(map(place.__getitem__, heads), np.int64, len(heads)), lengths
    )
  known: dict[Any, int] = {}
  numbered = []
  for start, head in zip(starts.tolist(), heads, strict=True):
    try:
      missing = head is None or head != head
      numbered.append(known.setdefault(head, len(known)))
    except (TypeError, ValueError):
      missing = True
    if missing:
      raise _bad_row(name, column, start, expected)
  return np.repeat(np.asarray(numbered, np.int64), lengths)


def take(column: Column, order: np.ndarray | None) -> Column:
  """Rows of a column in another order; the column itself without one."""
  if order is None:
    return column
  if isinstance(column, np.ndarray):
    return column[order]
  if isinstance(column, arrow_columns.TextColumn):
    return column.take(order)
  if len(order) == 1:
    return [column[int(order[0])]]
  return (
    list(operator.itemgetter(*order.tolist())(column)) if len(order) else []
  )


def _vector(
  name: str, column: Column, typecode: str, kinds: str, expected: str
) -> np.ndarray:
  """A column as a one-dimensional array of one of the dtype `kinds`."""
  if isinstance(column, np.ndarray):
    if column.ndim != 1 or column.dtype.kind not in kinds:
      raise _first_bad_row(name, column, kinds, expected)
    return column
  try:
    # Unlike NumPy, array.array does not read text as a number.
    return np.frombuffer(array.array(typecode, column), typecode)
  except (TypeError, OverflowError):
    pass
  try:
    given = np.asarray(column)
  except ValueError:
    raise _first_bad_row(name, column, kinds, expected) from None
  if given.ndim != 1 or given.dtype.kind not in kinds:
    raise _first_bad_row(name, column, kinds, expected)
  return given


def _first_bad_row(
  name: str, column: Column, kinds: str, expected: str
) -> ValueError:
  for row, value in enumerate(column):
    given = np.asarray(value, object if isinstance(value, list) else None)
    if given.ndim or given.dtype.kind not in kinds:
      return _bad_row(name, column, row, expected)
  return ValueError(f"column {name!r}: expected {expected} in each row")


def _bad_row(name: str, column: Column, row: int, expected: str) -> BadRowError:
  value = column[row]
  shown = repr(value.item() if isinstance(value, np.generic) else value)
  if len(shown) > 60:
    shown = shown[:57] + "..."
  return BadRowError(name, row, f"expected {expected}, got {shown}")
