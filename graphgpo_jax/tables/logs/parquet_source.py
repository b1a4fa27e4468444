"""A log in a Parquet file, read in batches of bounded size."""

import bisect
import concurrent.futures
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from graphgpo_jax.tables import arrow_columns, table_columns
from graphgpo_jax.tables.logs import batch as batch_lib
from graphgpo_jax.tables.logs.batch import Batch, Keys, Position

# Two batches are in memory: one that is worked on, one that is read ahead.
_BATCH_BYTES = 32 * 2**20
_BATCH_ROWS = 2**16
# The first batch shows how long rows are.
_FIRST_ROWS = 2**10
# Pages are read through a buffer of this size, not whole column chunks.
_BUFFER_BYTES = 2**20


class ParquetSource:
  """Batches of a Parquet file's rows."""

  lines = False

  def __init__(self, path: str, *, with_actions: bool = False):
    """Opens the file and looks at its columns.

    Args:
      path: the file.
      with_actions: read the column `action`, if there is one.

    Raises:
      ValueError: it is no complete Parquet file, lacks a required column or
        has no rows.
      ImportError: pyarrow is not installed.
      OSError: the file cannot be read.
    """
    self._pyarrow = arrow_columns.require_pyarrow()
    from pyarrow import parquet

    self.path = path
    with self._errors():
      self._file = parquet.ParquetFile(
        path, buffer_size=_BUFFER_BYTES, pre_buffer=False
      )
      self._schema = self._file.schema_arrow
    present = self._schema.names
    for name in table_columns.REQUIRED:
      if name not in present:
        raise ValueError(
          f"{path}: lacks the column {name!r}: expected "
          f"{', '.join(table_columns.REQUIRED)}, and if present "
          f"{', '.join(table_columns.OPTIONAL)}"
        )
    metadata = self._file.metadata
    sizes = [
      metadata.row_group(group).num_rows
      for group in range(metadata.num_row_groups)
    ]
    self._ends = list(itertools.accumulate(sizes))
    self.total = metadata.num_rows
    if not self.total:
      raise ValueError(f"{path}: the table is empty: expected at least one row")
    # Few estimators look at the action, and it may be long.
    self.optional = tuple(
      name
      for name in table_columns.OPTIONAL
      if name in present and (with_actions or name != "action")
    )

  def batches(self, position: Position) -> Iterator[Batch]:
    """Batches of rows from a position on, the next one read ahead.

    Args:
      position: the first row.

    Yields:
      Batch, `keys` as pyarrow ChunkedArrays.
    """
    names = table_columns.REQUIRED + self.optional
    for row, arrays in _ahead(self._read(names, position.row)):
      yield Batch(
        first_row=row,
        columns={
          name: arrow_columns.from_arrow(array)
          for name, array in arrays.items()
        },
        keys={name: self._key(arrays[name]) for name in batch_lib.KEYS},
        faults={},
      )

  def keys(self, position: Position) -> Iterator[tuple[Keys, Position]]:
    """The columns KEYS alone; see `Source`."""
    for row, arrays in self._read(batch_lib.KEYS, position.row):
      yield (
        {name: self._key(array) for name, array in arrays.items()},
        Position(row + len(arrays["t"])),
      )

  def done(self, position: Position) -> int:
    """Rows before a position."""
    return position.row

  def num_rows(self, position: Position) -> int:
    """Rows of the file."""
    del position
    return self.total

  def no_keys(self) -> Keys:
    """KEYS of no rows, of the file's types."""
    empty = self._schema.empty_table()
    return {name: self._key(empty[name]) for name in batch_lib.KEYS}

  def _key(self, array: Any) -> Any:
    """A key column as a ChunkedArray of its plain type."""
    if not isinstance(array, self._pyarrow.ChunkedArray):
      array = self._pyarrow.chunked_array([array])
    if self._pyarrow.types.is_dictionary(array.type):
      array = array.cast(array.type.value_type)
    return array

  def _read(
    self, names: Sequence[str], row: int
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    """Arrays by column, and the number of their first row."""
    size = _FIRST_ROWS
    grows = True
    while row < self.total:
      group = bisect.bisect_right(self._ends, row)
      skip = row - (self._ends[group - 1] if group else 0)
      with self._errors():
        batches = self._file.iter_batches(
          batch_size=size,
          row_groups=list(range(group, len(self._ends))),
          columns=list(names),
          use_threads=False,
        )
      while True:
        with self._errors():
          batch = next(batches, None)
        if batch is None:
          raise ValueError(
            f"{self.path}: expected {self.total} rows, got {row}"
          )
        if skip >= batch.num_rows:
          skip -= batch.num_rows
          continue
        batch = batch.slice(skip)
        skip = 0
        yield row, {name: batch.column(name) for name in names}
        row += batch.num_rows
        if row == self.total:
          return
        mean = max(batch.nbytes // batch.num_rows, 1)
        fitting = min(max(_BATCH_BYTES // mean, 1), _BATCH_ROWS)
        if size > 2 * fitting or (grows and size < fitting):
          size = fitting
          grows = False
          break

  @contextlib.contextmanager
  def _errors(self) -> Iterator[None]:
    """Names the file where pyarrow does not."""
    try:
      yield
    except FileNotFoundError:
      raise
    except (self._pyarrow.ArrowException, OSError) as error:
      raise ValueError(
        f"{self.path}: expected a complete Parquet file: {error}"
      ) from error


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
  """The same items, each made in a thread while the one before is used."""
  # Arrow decodes without Python's lock.
  end = object()
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    coming = pool.submit(next, items, end)
    while (item := coming.result()) is not end:
      coming = pool.submit(next, items, end)
      yield item
