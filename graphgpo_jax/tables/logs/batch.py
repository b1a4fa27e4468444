"""A few thousand rows of a log as they pass, and what is wrong with a row."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from graphgpo_jax.tables import arrow_columns, table_columns

# What a row of the output has of its row of the input, as it was given.
KEYS = ("task", "trajectory", "t")

# KEYS to list or pyarrow ChunkedArray, all of one length.
Keys = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Position:
  """Where in a log to read on."""

  row: int = 0  # from 0
  byte: int = 0  # where the row begins, in a file of lines; else 0


@dataclasses.dataclass(frozen=True)
class Batch:
  """Rows of a log that follow one another."""

  first_row: int
  columns: Mapping[str, table_columns.Column]  # [n] each
  keys: Keys
  faults: dict[int, str]  # reason by place in the batch; values are None there
  line_starts: np.ndarray | None = None  # int64 [n + 1] bytes, in a file of
  #   lines

  @property
  def num_rows(self) -> int:
    """Rows of the batch."""
    return len(self.columns["task"])

  def position(self, row: int) -> Position:
    """Position of a row of the batch, or of the one after its last."""
    if self.line_starts is None:
      return Position(row)
    return Position(row, int(self.line_starts[row - self.first_row]))


@dataclasses.dataclass(frozen=True)
class Fault:
  """Why a row has no credit."""

  row: int
  reason: str
  column: str | None = None


class FaultError(ValueError):
  """A row is at fault, and the run is to stop there."""

  def __init__(self, fault: Fault):
    super().__init__(fault.reason)
    self.fault = fault


class Source(Protocol):
  """A log, read in batches from any position on."""

  path: str
  optional: tuple[str, ...]  # optional columns that it has and that are read
  lines: bool  # whether it is a file of lines
  total: int  # length, in what `done` counts

  def batches(self, position: Position) -> Iterator[Batch]:
    """All columns, in batches."""
    ...

  def keys(self, position: Position) -> Iterator[tuple[Keys, Position]]:
    """The columns KEYS, in batches, each with the position behind it."""
    ...

  def done(self, position: Position) -> int:
    """How much of `total` lies before a position."""
    ...

  def num_rows(self, position: Position) -> int:
    """Rows of the whole log, estimated from a part if it does not say."""
    ...

  def no_keys(self) -> Keys:
    """KEYS of no rows, of the types that the log has."""
    ...


def read_row(source: Source, row: int, start: Position) -> dict[str, Any]:
  """The values of one row, for a message.

  Args:
    source: the log.
    row: the row.
    start: of the row or of one before it; a file of lines is read from there.

  Returns:
    dict of column name to value.
  """
  for batch in source.batches(start if source.lines else Position(row)):
    place = row - batch.first_row
    if place < batch.num_rows:
      return {name: column[place] for name, column in batch.columns.items()}
  raise IndexError(f"{source.path} has no row {row}")


def slice_keys(keys: Keys, start: int, stop: int) -> Keys:
  """Rows start..stop of key columns."""
  return {name: column[start:stop] for name, column in keys.items()}


def join_keys(parts: Sequence[Keys]) -> Keys:
  """Key columns one after the other; at least one part."""
  return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _join(columns: Sequence[Any]) -> Any:
  if isinstance(columns[0], list):
    return list(itertools.chain.from_iterable(columns))
  chunks = itertools.chain.from_iterable(column.chunks for column in columns)
  pyarrow = arrow_columns.require_pyarrow()
  return pyarrow.chunked_array(list(chunks), columns[0].type)


def pick_keys(keys: Keys, mask: np.ndarray) -> Keys:
  """Rows of key columns where the mask is True."""
  if mask.all():
    return keys
  return {
    name: list(itertools.compress(column, mask.tolist()))
    if isinstance(column, list)
    else column.filter(arrow_columns.require_pyarrow().array(mask))
    for name, column in keys.items()
  }


def fault_record(fault: Fault, *, lines: bool) -> Mapping[str, Any]:
  """A fault as it stands in the side file."""
  where = {"row": fault.row}
  if lines:
    where["line"] = fault.row + 1
  column = "" if fault.column is None else f"column {fault.column!r}: "
  return where | {"reason": column + fault.reason}
