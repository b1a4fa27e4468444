"""pyarrow arrays as columns of a table: text stays in Arrow's buffers.

A column of 200-character texts costs several times as much as Python strings
as it does in one buffer, and making those strings costs more than hashing
them. pyarrow is an extra, `[logs]`, imported where it is used.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np


def require_pyarrow() -> Any:
  """The module pyarrow.

  Raises:
    ImportError: it is not installed; the message says how to install it.
  """
  try:
    import pyarrow
    import pyarrow.compute  # noqa: F401
  except ImportError as error:
    raise ImportError(
      "Parquet files and Arrow columns need pyarrow: "
      "pip install graphgpo-jax[logs]"
    ) from error
  return pyarrow


def is_arrow(values: Any) -> bool:
  """Whether values are a pyarrow Array or ChunkedArray."""
  # By name first: whoever holds an Arrow array has imported pyarrow.
  if not type(values).__module__.startswith("pyarrow"):
    return False
  pyarrow = require_pyarrow()
  return isinstance(values, (pyarrow.Array, pyarrow.ChunkedArray))


def from_arrow(values: Any) -> "TextColumn | np.ndarray | list[Any]":
  """A pyarrow array as the table code takes columns.

  Args:
    values: pyarrow Array or ChunkedArray of n entries.

  Returns:
    TextColumn for text, a NumPy array for numbers and booleans without gaps,
    else a list of Python values, with None for each null.
  """
  pyarrow = require_pyarrow()
  kinds = pyarrow.types
  if kinds.is_dictionary(values.type):
    values = values.cast(values.type.value_type)
  kind = values.type
  if kinds.is_string(kind) or kinds.is_large_string(kind):
    return TextColumn(values)
  # By name, for only newer versions of pyarrow have the type.
  if str(kind) == "string_view":
    return TextColumn(values.cast(pyarrow.large_string()))
  plain = (
    kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)
  )
  if not plain or values.null_count:
    return values.to_pylist()
  if isinstance(values, pyarrow.ChunkedArray):
    return values.to_numpy()
  return values.to_numpy(zero_copy_only=False)


class TextColumn:
  """n texts, some of them perhaps missing; reads like a list of them."""

  def __init__(self, values: Any):
    """Wraps an array.

    Args:
      values: pyarrow Array or ChunkedArray of string or large_string.
    """
    pyarrow = require_pyarrow()
    if isinstance(values, pyarrow.ChunkedArray):
      if values.num_chunks == 1:
        values = values.chunk(0)
      else:
        # Offsets of 32 bits end at 2 GiB of text.
        values = values.cast(pyarrow.large_string()).combine_chunks()
    self.array = values

  def __len__(self) -> int:
    return len(self.array)

  def __iter__(self) -> Iterator[str | None]:
    return iter(self.array.to_pylist())

  def __getitem__(self, rows: Any) -> Any:
    if isinstance(rows, slice):
      return TextColumn(self.array[rows])
    return self.array[int(rows)].as_py()

  def take(self, order: np.ndarray) -> "TextColumn":
    """Rows of the column in another order."""
    pyarrow = require_pyarrow()
    array = self.array
    if pyarrow.types.is_string(array.type):
      # Rows may be taken repeatedly, past what 32-bit offsets can hold.
      mean = array.nbytes / max(len(array), 1)
      if mean * len(order) > 2**30:
        array = array.cast(pyarrow.large_string())
    return TextColumn(array.take(pyarrow.array(order)))

  def distinct(self) -> tuple[np.ndarray, "TextColumn"]:
    """Numbers the distinct texts 0, 1, ... as they appear.

    Returns:
      int64 [n], -1 where the text is missing, and the k distinct texts.
    """
    encoded = self.array.dictionary_encode()
    codes = encoded.indices
    if codes.null_count:
      codes = codes.fill_null(-1)
    return (
      codes.to_numpy(zero_copy_only=False).astype(np.int64),
      TextColumn(encoded.dictionary),
    )

  def differs(self, other: "TextColumn") -> np.ndarray:
    """Where two columns differ, bool [n]; missing equals missing."""
    pyarrow = require_pyarrow()
    one, two = self.array, other.array
    if one.type != two.type:
      one, two = (side.cast(pyarrow.large_string()) for side in (one, two))
    unequal = pyarrow.compute.not_equal(one, two)
    if unequal.null_count:
      # Null exactly where one side is missing, or both.
      unequal = unequal.fill_null(True)
      both = pyarrow.compute.and_(one.is_null(), two.is_null())
      unequal = pyarrow.compute.and_not(unequal, both)
    return unequal.to_numpy(zero_copy_only=False)

  def utf8(self) -> Iterator[memoryview]:
    """The texts' UTF-8 bytes, none of them copied; none may be missing."""
    if not len(self):
      return iter(())
    pyarrow = require_pyarrow()
    large = pyarrow.types.is_large_string(self.array.type)
    _, offsets, data = self.array.buffers()
    width = np.dtype(np.int64 if large else np.int32)
    start = self.array.offset
    ends = np.frombuffer(
      offsets, width, len(self) + 1, offset=start * width.itemsize
    ).tolist()
    view = memoryview(data) if data is not None else memoryview(b"")
    return map(view.__getitem__, map(slice, ends, ends[1:]))
