"""Credit on its way to a file, in parts that a manifest counts."""

import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from graphgpo_jax.tables import arrow_columns, jsonl
from graphgpo_jax.tables.logs import batch as batch_lib
from graphgpo_jax.tables.logs import workspace as workspace_lib
from graphgpo_jax.tables.logs.batch import Keys

# Rows of a row group, unless a commit comes first.
_GROUP_ROWS = 2**17


class Writer(Protocol):
  """Rows in, one file out."""

  def write(self, keys: Keys, credit: Mapping[str, np.ndarray]) -> None:
    """Adds rows: k keys, and float32 [k] columns."""
    ...

  def commit(self) -> int:
    """Brings the rows to the disk; returns what `done` is for a later run."""
    ...

  def finish(self) -> str:
    """Path of the complete file, in the workspace."""
    ...


class JsonlWriter:
  """One object per row, behind the rows that are there."""

  def __init__(self, workspace: workspace_lib.Workspace, done: int):
    """Goes on behind `done` bytes."""
    self._path = workspace.path("credit.jsonl")
    self._file = workspace_lib.Appender(self._path, done)

  def write(self, keys: Keys, credit: Mapping[str, np.ndarray]) -> None:
    """See `Writer`."""
    plain = {
      name: column if isinstance(column, list) else column.to_pylist()
      for name, column in keys.items()
    }
    self._file.write(jsonl.row_lines({**plain, **credit}))

  def commit(self) -> int:
    """See `Writer`."""
    return self._file.sync()

  def finish(self) -> str:
    """See `Writer`."""
    self._file.sync()
    self._file.close()
    return self._path


class ParquetWriter:
  """A file of Arrow's own for each row group, put together in the end.

  A Parquet file ends with its table of contents, so that nothing can be added
  to one that a kill cut off.
  """

  def __init__(
    self,
    workspace: workspace_lib.Workspace,
    done: int,
    no_rows: tuple[Keys, Mapping[str, np.ndarray]],
  ):
    """Goes on behind `done` parts.

    Args:
      workspace: where the parts are.
      done: parts that are there.
      no_rows: keys and credit of no rows, for their names and types.
    """
    self._pyarrow = arrow_columns.require_pyarrow()
    self._workspace = workspace
    self._parts = done
    self._no_rows = no_rows
    self._schema: Any = None
    if done:
      with self._pyarrow.ipc.open_file(self._part(0)) as part:
        self._schema = part.schema
    self._waiting: list[Any] = []

  def _part(self, number: int) -> str:
    return self._workspace.path(f"credit-{number:06d}.arrow")

  def write(self, keys: Keys, credit: Mapping[str, np.ndarray]) -> None:
    """See `Writer`."""
    for start in range(0, len(keys["t"]), _GROUP_ROWS):
      stop = start + _GROUP_ROWS
      self._waiting.append(
        self._table(
          batch_lib.slice_keys(keys, start, stop),
          {name: column[start:stop] for name, column in credit.items()},
        )
      )
      if sum(map(len, self._waiting)) >= _GROUP_ROWS:
        self._write_part()

  def commit(self) -> int:
    """See `Writer`."""
    self._write_part()
    return self._parts

  def finish(self) -> str:
    """See `Writer`."""
    self._write_part()
    if self._schema is None:
      self._table(*self._no_rows)
    from pyarrow import parquet

    path = self._workspace.path("credit.parquet")
    with parquet.ParquetWriter(path, self._schema) as file:
      for number in range(self._parts):
        with self._pyarrow.ipc.open_file(self._part(number)) as part:
          file.write_table(part.read_all())
    _sync_path(path)
    return path

  def _write_part(self) -> None:
    if not self._waiting:
      return
    path = self._part(self._parts)
    table = self._pyarrow.concat_tables(self._waiting)
    with self._pyarrow.ipc.new_file(path, self._schema) as file:
      file.write_table(table)
    _sync_path(path)
    self._waiting = []
    self._parts += 1

  def _table(self, keys: Keys, credit: Mapping[str, np.ndarray]) -> Any:
    pyarrow = self._pyarrow
    columns = {}
    for name, column in keys.items():
      if isinstance(column, list):
        kind = self._schema.field(name).type if self._schema else None
        columns[name] = self._from_list(name, column, kind)
      else:
        columns[name] = column
    columns |= {name: pyarrow.array(column) for name, column in credit.items()}
    table = pyarrow.table(columns)
    if self._schema is None:
      self._schema = table.schema
    return table

  def _from_list(self, name: str, column: list[Any], kind: Any) -> Any:
    try:
      return self._pyarrow.array(column, kind)
    except (self._pyarrow.ArrowException, UnicodeError) as error:
      raise ValueError(
        f"column {name!r}: expected values of one type, for a Parquet file "
        f"has no others ({error}); write JSON lines instead"
      ) from None


def _sync_path(path: str) -> None:
  handle = os.open(path, os.O_RDWR)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)
