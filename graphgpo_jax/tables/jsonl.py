"""Step tables as JSON lines: one object per step, read and written whole."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from graphgpo_jax.tables import table_columns


def read_steps(path: str) -> dict[str, list[Any]]:
  """Reads a file of one JSON object per step into columns.

  Args:
    path: the file; keys that are no column of a step table are left out.

  Returns:
    dict of column name to list, in the order of the lines.

  Raises:
    ValueError: a line is no complete JSON object, or lacks a column that is
      required or that the first line has; the message names line (from 1) and
      column. Blank lines may stand at the end only.
    OSError: the file cannot be read.
  """
  columns: dict[str, list[Any]] = {}
  blank = None
  with open(path, "rb") as lines:
    for number, line in enumerate(lines, start=1):
      if not line.strip():
        blank = blank or number
        continue
      if blank:
        raise ValueError(
          f"{path}, line {blank}: expected one JSON object per line, got a "
          "blank line"
        )
      step = _parse(path, number, line)
      if not columns:
        columns = {
          name: []
          for name in table_columns.REQUIRED + table_columns.OPTIONAL
          if name in step or name in table_columns.REQUIRED
        }
      for name, column in columns.items():
        if name not in step:
          raise ValueError(
            f"{path}, line {number}: lacks the column {name!r}: expected "
            f"{', '.join(columns)} in each line"
          )
        column.append(step[name])
      for name in table_columns.OPTIONAL:
        if name in step and name not in columns:
          raise ValueError(
            f"{path}, line {number}: has the column {name!r}, which line 1 "
            "lacks: expected it in each line or in none"
          )
  if not columns:
    raise ValueError(f"{path}: the table is empty: expected at least one line")
  return columns


def _parse(path: str, number: int, line: bytes) -> dict[str, Any]:
  try:
    step = json.loads(line)
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f"{path}, line {number}: expected a complete JSON object, got "
      f"invalid JSON ({error})"
    ) from None
  if not isinstance(step, dict):
    raise ValueError(
      f"{path}, line {number}: expected a JSON object, got "
      f"{type(step).__name__}"
    )
  return step


def write_steps(
  path: str, columns: Mapping[str, Sequence[Any] | np.ndarray]
) -> None:
  """Writes columns as one JSON object per row, all of them or nothing.

  Args:
    path: the file; an older one is replaced once everything is written.
    columns: mapping of name to n entries; float32 arrays are written with as
      many digits as float32 has.

  Raises:
    ValueError: an entry is not finite or has no JSON form.
    OSError: the file cannot be written.
  """
  names = list(columns)
  entries = [_json_entries(column) for column in columns.values()]
  with open_atomically(path) as file:
    for row in zip(*entries, strict=True):
      line = json.dumps(
        dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False
      )
      file.write(line + "\n")


def _json_entries(column: Sequence[Any] | np.ndarray) -> Sequence[Any]:
  if not isinstance(column, np.ndarray):
    return column
  if column.dtype == np.float32:
    # Through text: 0.1 stays 0.1 and does not become 0.10000000149011612.
    return column.astype(str).astype(np.float64).tolist()
  return column.tolist()


@contextlib.contextmanager
def open_atomically(path: str) -> Iterator[TextIO]:
  """Opens a text file that replaces `path` when the block ends well.

  Args:
    path: the file to write.

  Yields:
    A text file in the same folder, removed if the block raises.

  Raises:
    OSError: the folder cannot be written to, or `path` is a folder.
  """
  folder, name = os.path.split(path)
  partial = os.path.join(folder, f".{name}.{os.getpid()}.partial")
  try:
    with open(partial, "x", encoding="utf-8") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(partial, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.remove(partial)
    raise
