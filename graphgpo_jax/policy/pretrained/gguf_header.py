"""Whether the counts and lengths of a GGUF file fit into the file.

The library that reads these files believes them: an array that claims 2**60
numbers is read, one nothing after the other, until the memory is full. This
walk over the header stops at the first claim that the file is too short for.
"""

import mmap
import os
import struct
from typing import Any

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# Bytes of the other types of values.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# Of arrays in arrays; known models have none at all.
_MOST_LEVELS = 4
_MOST_AXES = 4


class _Walk:
  """A place in the header, and steps from there."""

  def __init__(self, data: Any, order: str):
    self._data, self._order = data, order
    self.place = 8

  def skip(self, count: int, what: str) -> int:
    """Passes over bytes; returns where they begin."""
    left = len(self._data) - self.place
    if count > left:
      raise ValueError(f"{what} takes {count} bytes, of which {left} are left")
    self.place += count
    return self.place - count

  def number(self, size: int, what: str) -> int:
    """An unsigned number of 4 or 8 bytes."""
    start = self.skip(size, what)
    kind = self._order + {4: "I", 8: "Q"}[size]
    return struct.unpack_from(kind, self._data, start)[0]

  def text(self, what: str) -> str:
    """A text behind its length."""
    count = self.number(8, what)
    start = self.skip(count, what)
    try:
      return self._data[start : self.place].decode()
    except UnicodeDecodeError as error:
      raise ValueError(f"{what} is no UTF-8: {error}") from error

  def value(self, kind: int, what: str, level: int = 0) -> None:
    """Passes over a value of metadata."""
    if kind == _STRING:
      self.text(what)
    elif kind == _ARRAY:
      if level == _MOST_LEVELS:
        raise ValueError(f"{what} has arrays in arrays beyond {level} levels")
      inner = self.number(4, what)
      count = self.number(8, what)
      if inner in _SIZES:
        self.skip(_SIZES[inner] * count, what)
        return
      # Texts and arrays begin with a length, so that a count ends at the end.
      if 8 * count > len(self._data) - self.place:
        raise ValueError(f"{what} claims {count} entries")
      for _ in range(count):
        self.value(inner, what, level + 1)
    elif kind in _SIZES:
      self.skip(_SIZES[kind], what)
    else:
      raise ValueError(f"{what} is of an unknown type {kind}")


def check(path: str | os.PathLike[str]) -> None:
  """Checks the header of a file.

  Args:
    path: the file.

  Raises:
    ValueError: it is no GGUF file of a known version, or its header claims
      more than the file has; the message names what.
    OSError: it cannot be read.
  """
  with open(path, "rb") as file:
    start = file.read(8)
    if len(start) < 8 or start[:4] != _MAGIC:
      raise ValueError("it does not begin with 'GGUF' and a version")
    # A file of the other byte order has its version in the upper half.
    order = "<" if struct.unpack("<I", start[4:])[0] & 0xFFFF else ">"
    (version,) = struct.unpack(order + "I", start[4:])
    if version not in _VERSIONS:
      raise ValueError(f"version {version} is none of {_VERSIONS}")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
      _check_entries(_Walk(data, order))


def _check_entries(walk: _Walk) -> None:
  tensors = walk.number(8, "the number of tensors")
  for index in range(walk.number(8, "the number of keys")):
    key = walk.text(f"the name of key {index}")
    kind = walk.number(4, f"the type of {key!r}")
    walk.value(kind, f"the value of {key!r}")
  for index in range(tensors):
    name = walk.text(f"the name of tensor {index}")
    what = f"tensor {name!r}"
    axes = walk.number(4, what)
    if not 1 <= axes <= _MOST_AXES:
      raise ValueError(f"{what} has {axes} axes; expected 1 to {_MOST_AXES}")
    sizes = [walk.number(8, what) for _ in range(axes)]
    if not all(sizes):
      raise ValueError(f"{what} has shape {sizes[::-1]}: it is empty")
    walk.skip(12, what)  # type and place
