"""Fingerprints of observations on the host: any nested value to 64 bits.

Two observations are one state of a graph exactly where their fingerprints are
equal. What counts as equal:

  - text, bytes, None, booleans, integers, floats, arrays and containers are
    different kinds: "1", b"1", 1, 1.0 and True are five states;
  - NumPy scalars equal the Python value they hold, whatever their width;
  - a list equals a tuple of the same items, since JSON turns one into the
    other; a dict equals one with the same items in another order;
  - -0.0 equals 0.0, and every NaN equals every other NaN;
  - arrays are equal with equal dtype, shape and values; byte order and memory
    layout do not matter. An array of no dimension is an array, no scalar.

Integers of at most 64 bits and floats go through a bijection of 64 bits, so
two of the same kind never collide; everything else goes through the 128-bit
XXH3 hash, folded to 64. Python's `hash` takes no part: it is salted.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import xxhash

from graphgpo_jax.tables import arrow_columns, state_encoding
from graphgpo_jax.tables import words as words_lib

# XXH3 seeds keep kinds apart without copying each text behind a tag.
_TEXT_SEED, _BYTES_SEED, _NESTED_SEED = 0, 1, 2
# Arbitrary odd words: which one is added tells the two number kinds apart.
_INTEGER_WORD = 0x9E3779B97F4A7C15
_FLOAT_WORD = 0xD1B54A32D192ED03


class FingerprintCollisionError(ValueError):
  """Two different observations have one fingerprint."""


class ObservationTypeError(TypeError):
  """A row's observation holds a value of an unsupported type."""

  def __init__(self, row: int, reason: str):
    super().__init__(f"row {row}: {reason}")
    self.row = row
    self.reason = reason


def fingerprint_observations(observations: Any) -> np.ndarray:
  """64-bit fingerprint of each observation of a column.

  Depends on the value alone: not on the process, the platform, the other rows
  or whether the column is a list or an array.

  Args:
    observations: sequence of n observations, or an array whose first axis is
      n: text, bytes, numbers, booleans, None, arrays, and dicts, lists and
      tuples of these; or a pyarrow array, whose texts are hashed where they
      lie, each distinct one once.

  Returns:
    uint32 [n, 2], the two lanes.

  Raises:
    ObservationTypeError: an observation, or something inside it, is of
      another type; the message names the row and the type.
  """
  if arrow_columns.is_arrow(observations):
    observations = arrow_columns.from_arrow(observations)
  if isinstance(observations, arrow_columns.TextColumn):
    return _fingerprint_texts(observations)
  if isinstance(observations, np.ndarray):
    return _fingerprint_array(observations)
  column = list(observations)
  texts = text_words(column)
  if texts is not None:
    return _lanes_of_words(texts)
  kinds = set(map(type, column))
  if kinds == {bytes}:
    digest = functools.partial(xxhash.xxh3_128_digest, seed=_BYTES_SEED)
    return _lanes_of_digests(b"".join(map(digest, column)))
  if kinds == {float}:
    return _lanes_of_words(_float_words(np.asarray(column, np.float64)))
  if kinds == {int} and not any(map(state_encoding.is_wide, column)):
    return _lanes_of_words(_integer_words(np.asarray(column, np.int64)))
  return _fingerprint_mixed(column)


def text_words(column: Sequence[Any]) -> np.ndarray | None:
  """Fingerprints of a column of texts, both lanes in one word.

  Args:
    column: n observations.

  Returns:
    uint64 [n], as `pack_lanes` of `fingerprint_observations`; None if there is
    none, or if one is no text.
  """
  if not len(column) or not isinstance(column[0], str):
    return None
  digest = xxhash.xxh3_128_digest
  try:
    # Lazy maps: each encoded copy is hashed while it is in the cache. What is
    # no text has no str.encode, so no pass of its own has to look for it.
    digests = b"".join(map(digest, map(str.encode, column)))
  except UnicodeEncodeError:
    if not all(isinstance(value, str) for value in column):
      return None
    digests = b"".join(map(digest, map(state_encoding.text_bytes, column)))
  except TypeError:
    return None
  halves = np.frombuffer(digests, ">u8").reshape(-1, 2)
  return (halves[:, 0] ^ halves[:, 1]).astype(np.uint64)


def audit_fingerprints(observations: Any, fingerprints: np.ndarray) -> None:
  """Checks that different observations have different fingerprints.

  Compares each row with the first row of the same fingerprint by its
  canonical form, not by the hash.

  Args:
    observations: n observations, as `fingerprint_observations` takes them.
    fingerprints: uint32 [n, 2].

  Raises:
    FingerprintCollisionError: two rows differ and share a fingerprint; the
      message names both.
    ValueError: `fingerprints` are not uint32 [n, 2].
    ObservationTypeError: an observation is of an unsupported type.
  """
  column = list(observations)
  fingerprints = np.asarray(fingerprints)
  if fingerprints.dtype != np.uint32 or fingerprints.shape != (len(column), 2):
    raise ValueError(
      f"fingerprints must be uint32 [{len(column)}, 2], one per observation, "
      f"got {fingerprints.dtype} {list(fingerprints.shape)}"
    )
  _, first, inverse = np.unique(
    pack_lanes(fingerprints), return_index=True, return_inverse=True
  )
  for row, earlier in enumerate(first[inverse].tolist()):
    if earlier == row or _same(column[earlier], column[row], row):
      continue
    high, low = fingerprints[row].tolist()
    raise FingerprintCollisionError(
      f"rows {earlier} and {row} hold different observations but one "
      f"fingerprint ({high:08x}{low:08x}): {_shorten(column[earlier])} and "
      f"{_shorten(column[row])}"
    )


def pack_lanes(fingerprints: np.ndarray) -> np.ndarray:
  """Both lanes in one word: uint32 [..., 2] to uint64 [...]."""
  lanes = fingerprints.astype(np.uint64)
  return (lanes[..., 0] << np.uint64(32)) | lanes[..., 1]


def _lanes_of_words(words: np.ndarray) -> np.ndarray:
  high = (words >> np.uint64(32)).astype(np.uint32)
  return np.stack([high, words.astype(np.uint32)], axis=-1)


def _lanes_of_digests(digests: bytes) -> np.ndarray:
  quarters = np.frombuffer(digests, ">u4").reshape(-1, 4)
  return (quarters[:, :2] ^ quarters[:, 2:]).astype(np.uint32)


def _fingerprint_texts(column: arrow_columns.TextColumn) -> np.ndarray:
  codes, texts = column.distinct()
  digests = b"".join(map(xxhash.xxh3_128_digest, texts.utf8()))
  # The last entry is where code -1, a missing text, leads.
  lanes = [_lanes_of_digests(digests), fingerprint_observations([None])]
  return np.concatenate(lanes)[codes]


def _integer_words(numbers: np.ndarray) -> np.ndarray:
  words = numbers.astype(np.int64).view(np.uint64)
  return words_lib.mix(words_lib.mix(words + np.uint64(_INTEGER_WORD)))


def _float_words(numbers: np.ndarray) -> np.ndarray:
  words = state_encoding.canonical_floats(numbers.astype(np.float64)).view(
    np.uint64
  )
  return words_lib.mix(words_lib.mix(words + np.uint64(_FLOAT_WORD)))


def _fingerprint_array(column: np.ndarray) -> np.ndarray:
  kind = column.dtype.kind
  if column.ndim == 0:
    raise TypeError("observations must be a column, got an array of no axis")
  if column.ndim == 1:
    if kind == "i" or (kind == "u" and column.dtype.itemsize < 8):
      return _lanes_of_words(_integer_words(column))
    if kind == "f" and column.dtype.itemsize <= 8:
      return _lanes_of_words(_float_words(column))
    if kind == "b":
      both = fingerprint_observations([False, True])
      return both[column.astype(np.intp)]
    return fingerprint_observations(column.tolist())
  if not state_encoding.has_plain_bytes(column.dtype):
    return fingerprint_observations(list(column))
  header, rows = state_encoding.canonical_array(column, column.shape[1:])
  size = rows.nbytes // max(len(rows), 1)
  data = rows.tobytes()
  return _lanes_of_digests(
    b"".join(
      _nested_digest(header + data[row * size : (row + 1) * size])
      for row in range(len(rows))
    )
  )


def _nested_digest(encoded: bytes) -> bytes:
  return xxhash.xxh3_128_digest(encoded, seed=_NESTED_SEED)


def _fingerprint_mixed(column: Sequence[Any]) -> np.ndarray:
  """One row at a time; numbers are collected for their vectorised form."""
  digests: list[bytes] = []
  numbers: dict[type, tuple[list[int], list[Any]]] = {
    int: ([], []),
    float: ([], []),
  }
  for row, given in enumerate(column):
    value = given.item() if isinstance(given, np.generic) else given
    if isinstance(value, str):
      digests.append(xxhash.xxh3_128_digest(state_encoding.text_bytes(value)))
      continue
    if isinstance(value, (bytes, bytearray, memoryview)):
      digests.append(xxhash.xxh3_128_digest(bytes(value), seed=_BYTES_SEED))
      continue
    narrow = isinstance(value, int) and not state_encoding.is_wide(value)
    if isinstance(value, float) or (narrow and not isinstance(value, bool)):
      rows, values = numbers[float if isinstance(value, float) else int]
      rows.append(row)
      values.append(value)
      digests.append(bytes(16))
      continue
    try:
      digests.append(_nested_digest(state_encoding.canonical_bytes(value)))
    except TypeError as error:
      raise ObservationTypeError(row, str(error)) from None
    except RecursionError:
      raise ObservationTypeError(row, "nested too deeply") from None
  lanes = _lanes_of_digests(b"".join(digests))
  rows, values = numbers[int]
  lanes[rows] = _lanes_of_words(_integer_words(np.asarray(values, np.int64)))
  rows, values = numbers[float]
  lanes[rows] = _lanes_of_words(_float_words(np.asarray(values, np.float64)))
  return lanes


def _same(one: Any, other: Any, row: int) -> bool:
  if type(one) is str and type(other) is str:
    return operator.eq(one, other)
  try:
    return state_encoding.canonical_bytes(
      one
    ) == state_encoding.canonical_bytes(other)
  except TypeError as error:
    raise ObservationTypeError(row, str(error)) from None


def _shorten(observation: Any, limit: int = 60) -> str:
  text = repr(observation)
  return text if len(text) <= limit else text[: limit - 3] + "..."
