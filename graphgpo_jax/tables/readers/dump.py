"""Columns of a dump by the keys that another framework gave them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from graphgpo_jax.tables import table_columns


@dataclasses.dataclass(frozen=True)
class Dump:
  """Rows of a file, a step each, in the order of the file."""

  path: str
  columns: Mapping[str, table_columns.Column]  # by key, [n] each
  num_rows: int
  lines: bool  # rows are lines of the file, counted from 1; else from 0

  def place(self, row: int) -> str:
    """How a message calls a row."""
    return f"line {row + 1}" if self.lines else f"row {row}"

  def refuse(self, key: str, row: int, reason: str) -> NoReturn:
    """Raises a ValueError that names file, row and key."""
    raise ValueError(f"{self.path}, {self.place(row)}: key {key!r}: {reason}")

  def checked(
    self, key: str, check: Callable[[str, Any], np.ndarray]
  ) -> np.ndarray:
    """Values of a column, by a function of `table_columns`.

    Args:
      key: of the column.
      check: turns a name and a column into an array or raises BadRowError.

    Returns:
      What `check` returns.

    Raises:
      ValueError: a row holds something else; the message names file, row, key
        and what was expected.
    """
    column = self.columns[key]
    if isinstance(column, np.ndarray) and column.ndim != 1:
      raise ValueError(
        f"{self.path}: key {key!r}: expected one value for each row, got "
        f"shape {list(column.shape)}"
      )
    try:
      return check(key, column)
    except table_columns.BadRowError as error:
      self.refuse(key, error.row, error.reason)
