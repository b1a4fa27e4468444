"""Canonical bytes of an observation: equal exactly for equal observations.

Each value is tagged with its kind and led by its length, so that no two
nestings run together. `state_keys` says what counts as equal.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_ARRAY_KINDS = "biufSU"
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def canonical_bytes(observation: Any) -> bytes:
  """Encodes an observation: equal bytes exactly for equal observations.

  Args:
    observation: as for `fingerprint_observations`.

  Returns:
    The encoding.

  Raises:
    TypeError: something inside is of an unsupported type.
  """
  parts: list[bytes] = []
  _encode(observation, parts.append)
  return b"".join(parts)


def has_plain_bytes(dtype: np.dtype) -> bool:
  """Whether equal values of an array's dtype are equal bytes."""
  # Floats of more than 64 bits are stored with undefined padding.
  too_wide = dtype.kind == "f" and dtype.itemsize > 8
  return dtype.kind in _ARRAY_KINDS and not too_wide


def text_bytes(text: str) -> bytes:
  """UTF-8 of a text, lone surrogates included."""
  # Logs cut off inside a surrogate pair have no UTF-8 form of their own.
  return str.encode(text, "utf-8", "surrogatepass")


def is_wide(number: int) -> bool:
  """Whether an integer needs more than 64 bits."""
  return not _INT64_MIN <= number <= _INT64_MAX


def canonical_floats(numbers: np.ndarray) -> np.ndarray:
  """Floats with one zero and one NaN, in their own dtype."""
  # Adding 0.0 turns -0.0 into 0.0.
  one_nan = np.where(np.isnan(numbers), numbers.dtype.type(np.nan), numbers)
  return one_nan + numbers.dtype.type(0)


def canonical_array(
  array: np.ndarray, shape: tuple[int, ...]
) -> tuple[bytes, np.ndarray]:
  """Header of arrays of a shape, and their values in one memory layout.

  Args:
    array: of a dtype that `has_plain_bytes`.
    shape: the shape that the header states.

  Returns:
    The header, and the values: contiguous, little-endian.
  """
  if array.dtype.kind == "f":
    array = canonical_floats(array)
  array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
  kind = array.dtype.str.encode()
  header = struct.pack(
    f"<cBB{len(shape)}q", b"a", len(kind), len(shape), *shape
  )
  return header + kind, array


def _encode(value: Any, put: Callable[[bytes], object]) -> None:
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, str):
    data = text_bytes(value)
    put(struct.pack("<cq", b"s", len(data)))
    put(data)
  elif value is None:
    put(b"n")
  elif isinstance(value, bool):
    put(b"t" if value else b"f")
  elif isinstance(value, int):
    if is_wide(value):
      data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
      put(struct.pack("<cq", b"I", len(data)))
      put(data)
    else:
      put(struct.pack("<cq", b"i", value))
  elif isinstance(value, float):
    number = np.nan if value != value else value + 0.0
    put(struct.pack("<cd", b"d", number))
  elif isinstance(value, (list, tuple)):
    put(struct.pack("<cq", b"l", len(value)))
    for item in value:
      _encode(item, put)
  elif isinstance(value, Mapping):
    put(struct.pack("<cq", b"m", len(value)))
    items = [
      (canonical_bytes(key), canonical_bytes(item))
      for key, item in value.items()
    ]
    for key, item in sorted(items):
      put(key)
      put(item)
  elif isinstance(value, (bytes, bytearray, memoryview)):
    data = bytes(value)
    put(struct.pack("<cq", b"b", len(data)))
    put(data)
  elif hasattr(value, "__array__"):
    _encode_array(np.asarray(value), put)
  else:
    raise TypeError(
      f"an observation cannot hold an object of type {type(value).__name__}: "
      "expected text, bytes, a number, a boolean, None, an array, or a dict, "
      "list or tuple of these"
    )


def _encode_array(array: np.ndarray, put: Callable[[bytes], object]) -> None:
  if array.dtype.kind == "O":
    put(b"o")
    _encode(array.shape, put)
    _encode(array.tolist(), put)
    return
  if not has_plain_bytes(array.dtype):
    raise TypeError(f"an observation cannot hold an array of {array.dtype}")
  header, values = canonical_array(array, array.shape)
  put(header)
  put(values.tobytes())
