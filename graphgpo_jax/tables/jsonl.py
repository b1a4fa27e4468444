"""Step tables as JSON lines: one object per step, read and written whole.

`logs` reads and writes the same lines for files that do not fit in memory.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from graphgpo_jax.tables.logs import jsonl_source
from graphgpo_jax.tables.logs.batch import Position


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
  for batch in jsonl_source.JsonlSource(path).batches(Position()):
    if batch.faults:
      place, reason = min(batch.faults.items())
      raise ValueError(f"{path}, line {batch.first_row + place + 1}: {reason}")
    for name, column in batch.columns.items():
      columns.setdefault(name, []).extend(column)
  return columns


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
  with open_atomically(path) as file:
    file.write(row_lines(columns))


def row_lines(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> bytes:
  """Columns as lines of one JSON object per row, UTF-8.

  Args:
    columns: as for `write_steps`.

  Returns:
    The lines, each with its end.

  Raises:
    ValueError: an entry is not finite or has no JSON form.
  """
  names = [json.dumps(name).replace("%", "%%") for name in columns]
  line = "{" + ", ".join(f"{name}: %s" for name in names) + "}\n"
  entries = map(_texts, columns.values())
  text = "".join(map(line.__mod__, zip(*entries, strict=True)))
  try:
    return text.encode()
  except UnicodeEncodeError:
    # Half of a surrogate pair has no UTF-8 form, but an escape, as in JSON.
    return text.encode(errors="backslashreplace")


def _texts(column: Sequence[Any] | np.ndarray) -> Sequence[str]:
  """JSON of each entry."""
  if isinstance(column, np.ndarray) and column.dtype == np.float32:
    if not np.isfinite(column).all():
      raise ValueError("expected finite numbers, for JSON has no others")
    # Few values are many rows' own; by their bits, for -0.0 equals 0.0.
    bits, places = np.unique(column.view(np.int32), return_inverse=True)
    # Through text: 0.1 stays 0.1 and does not become 0.10000000149011612.
    texts = [repr(float(str(value))) for value in bits.view(np.float32)]
    return np.asarray(texts, object)[places].tolist()
  encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
  if isinstance(column, np.ndarray):
    column = column.tolist()
  if set(map(type, column)) == {int}:
    return list(map(str, column))
  try:
    return list(map(encode, column))
  except TypeError as error:
    raise ValueError(str(error)) from None


@contextlib.contextmanager
def open_atomically(path: str) -> Iterator[BinaryIO]:
  """Opens a file that replaces `path` when the block ends well.

  Args:
    path: the file to write.

  Yields:
    A file of bytes in the same folder, removed if the block raises.

  Raises:
    OSError: the folder cannot be written to, or `path` is a folder.
  """
  folder, name = os.path.split(path)
  partial = os.path.join(folder, f".{name}.{os.getpid()}.partial")
  try:
    with open(partial, "xb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(partial, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.remove(partial)
    raise
