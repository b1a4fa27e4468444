"""Shingles of texts, and MinHash keys under which similar texts meet.

A shingle is a run of `length` code points of a text; begin marks lead the text
and an end mark follows it, so that a text of L code points has L + 1 shingles
of any length. They are counted: the i-th occurrence of a shingle is an element
of its own, and the similarity of two texts is the Jaccard index of their sets
of elements,

  J(a, b) = sum_s min(a_s, b_s) / sum_s max(a_s, b_s),  a_s = count of s in a.

MinHash, not SimHash: a MinHash of two texts agrees with probability J itself,
so that bands of them can be laid out for a threshold on J. SimHash agrees by
the angle between count vectors, which bounds J only loosely.

Elements are told apart by 63 bits of a hash of their code points, sets of them
by 64. Hashes depend on the text alone, so two texts meet or miss each other
whatever others there are.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse, special

from graphgpo_jax.tables import words as words_lib

# Half of it for the keys and half for the sketches.
MISS_PROBABILITY = 2e-4
# More of them than a text has shingles, and hashing costs more than it saves.
MAX_HASHES = 384
_BLOCK_POINTS = 2**20
# Not code points: Unicode ends before them.
_BEGIN, _END = 0x110000, 0x110001
_POINT_BITS, _POINTS_PER_WORD = 21, 3
_OCCURRENCE = np.uint64(0x9E3779B97F4A7C15)
_NUM_COLUMNS = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Profiles:
  """Counted shingles of n texts."""

  elements: sparse.csr_array  # int8 [n, 2**63 - 1], 1 where a text has it
  fingerprint: np.ndarray  # uint64 [n], of the whole set of elements


def profile_texts(texts: Sequence[str], *, length: int) -> Profiles:
  """Counted shingles of each text.

  Args:
    texts: n texts.
    length: code points of a shingle, at least 1.

  Returns:
    Profiles, about 9 bytes for each code point.
  """
  columns, fingerprints = [], []
  sizes = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
  for start, stop in _blocks(sizes):
    row_ends = np.concatenate([[0], np.cumsum(sizes[start:stop])])
    words = _shingle_words(texts[start:stop], sizes[start:stop], length)
    words = _sorted_rows(words, row_ends)
    words = _sorted_rows(_number_occurrences(words, row_ends), row_ends)
    columns.append(words)
    fingerprints.append(
      np.add.reduceat(words_lib.mix(words.astype(np.uint64)), row_ends[:-1])
    )
  indices = np.concatenate(columns) if columns else np.zeros(0, np.int64)
  elements = _rows_of(indices, np.concatenate([[0], np.cumsum(sizes)]))
  elements.has_canonical_format = True
  return Profiles(
    elements=elements,
    fingerprint=np.concatenate(fingerprints or [np.zeros(0, np.uint64)]),
  )


@dataclasses.dataclass(frozen=True)
class Signatures:
  """What decides which of k texts are compared."""

  keys: np.ndarray  # uint64 [k, bands], equal with probability J**rows
  sketch: np.ndarray  # uint64 [k, S], a bit of each MinHash; each of them
  #   differs with probability (1 - J) / 2
  most_different: int  # bits that differ in the sketches of a similar pair


def sign_texts(
  profiles: Profiles,
  chosen: np.ndarray,
  *,
  threshold: float,
  bands: int,
  rows: int,
) -> Signatures:
  """MinHash signatures, from seeds that never change.

  Args:
    profiles: of n texts.
    chosen: int [k], numbers of the texts that are wanted.
    threshold: J of a pair that differs in more than `most_different` bits with
      probability of at most MISS_PROBABILITY / 2.
    bands: how many keys each text gets.
    rows: MinHashes that make up one key.

  Returns:
    Signatures.
  """
  num_hashes = bands * rows
  keys = np.zeros((len(chosen), bands), np.uint64)
  sketch = np.zeros((len(chosen), -(-num_hashes // 64)), np.uint64)
  seeds = words_lib.mix(np.arange(1, num_hashes + 1, dtype=np.uint64))
  factors = (seeds >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
  for start, stop in _blocks(np.diff(profiles.elements.indptr)[chosen]):
    elements = profiles.elements[chosen[start:stop]]
    words = (elements.indices >> 31).astype(np.uint32)
    row_starts = elements.indptr[:-1]
    for number, factor in enumerate(factors):
      least = np.minimum.reduceat(words * factor, row_starts)
      band = keys[start:stop, number // rows]
      band[:] = words_lib.mix(band + least)
      bits = words_lib.mix(least.astype(np.uint64)) >> np.uint64(63)
      sketch[start:stop, number // 64] |= bits << np.uint64(number % 64)
  more = special.bdtrc(
    np.arange(num_hashes + 1), num_hashes, (1 - threshold) / 2
  )
  return Signatures(
    keys=keys,
    sketch=sketch,
    most_different=int(np.argmax(more <= MISS_PROBABILITY / 2)),
  )


def choose_bands(similarity: float) -> tuple[int, int] | None:
  """Bands and rows that miss a pair of a given similarity hardly ever.

  Of all layouts of at most MAX_HASHES hashes in which a pair with J equal to
  `similarity` shares no key with probability at most half of MISS_PROBABILITY,

    (1 - J**rows) ** bands <= MISS_PROBABILITY / 2,

  the one with the most rows, which lets the fewest other pairs meet. More
  similar pairs are missed more rarely.

  Args:
    similarity: the least J that counts, at most 1.

  Returns:
    bands and rows; None where no layout will do.
  """
  best = None
  miss = MISS_PROBABILITY / 2
  for rows in range(1, MAX_HASHES + 1):
    meet = max(similarity, 0.0) ** rows
    if meet >= 1 - miss:
      bands = 1
    elif meet > 1e-6:
      bands = math.ceil(math.log(miss) / math.log1p(-meet))
    else:
      break
    if bands * rows > MAX_HASHES:
      break
    # Keys of near-certain texts gain nothing from more rows than this.
    if rows > 32:
      break
    best = bands, rows
  return best


def _blocks(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
  """Runs of texts that fit into memory together."""
  ends = np.cumsum(sizes)
  start = 0
  while start < len(sizes):
    before = ends[start - 1] if start else 0
    stop = int(np.searchsorted(ends, before + _BLOCK_POINTS, side="right"))
    stop = max(stop, start + 1)
    yield start, stop
    start = stop


def _shingle_words(
  texts: Sequence[str], sizes: np.ndarray, length: int
) -> np.ndarray:
  """Word of every shingle, int64 [sum of sizes], text after text."""
  points = "".join(texts).encode("utf-32-le", "surrogatepass")
  text_of = np.repeat(np.arange(len(texts)), sizes)
  # Each text stands after its begin marks, and its end mark follows it.
  place = np.arange(len(text_of)) + (text_of + 1) * (length - 1)
  padded = np.full(len(text_of) + len(texts) * (length - 1), _BEGIN, np.uint64)
  is_end = np.zeros(len(text_of), bool)
  is_end[np.cumsum(sizes) - 1] = True
  padded[place[is_end]] = _END
  padded[place[~is_end]] = np.frombuffer(points, "<u4")
  words = np.zeros(len(place), np.uint64)
  # Up to three code points go through a bijection, more through a hash.
  for first in range(0, length, _POINTS_PER_WORD):
    packed = np.zeros(len(place), np.uint64)
    for offset in range(first, min(first + _POINTS_PER_WORD, length)):
      packed <<= np.uint64(_POINT_BITS)
      packed |= padded[place - (length - 1) + offset]
    words = words_lib.mix(words + packed)
  return _as_columns(words)


def _number_occurrences(words: np.ndarray, row_ends: np.ndarray) -> np.ndarray:
  """Element of each shingle: a repeated one's depends on its number too."""
  new = np.ones(len(words), bool)
  new[1:] = words[1:] != words[:-1]
  new[row_ends[:-1]] = True
  starts = np.flatnonzero(new)
  lengths = np.diff(np.append(starts, len(words)))
  number = np.arange(len(words)) - np.repeat(starts, lengths)
  again = np.flatnonzero(number)
  elements = words.copy()
  elements[again] = _as_columns(
    words_lib.mix(
      words[again].astype(np.uint64)
      + number[again].astype(np.uint64) * _OCCURRENCE
    )
  )
  return elements


def _as_columns(words: np.ndarray) -> np.ndarray:
  """Words as column numbers, which have a sign and so 63 bits."""
  return (words >> np.uint64(1)).astype(np.int64)


def _sorted_rows(words: np.ndarray, row_ends: np.ndarray) -> np.ndarray:
  rows = _rows_of(words, row_ends)
  rows.sort_indices()
  return rows.indices


def _rows_of(columns: np.ndarray, row_ends: np.ndarray) -> sparse.csr_array:
  return sparse.csr_array(
    (np.ones(len(columns), np.int8), columns, row_ends),
    shape=(len(row_ends) - 1, _NUM_COLUMNS),
  )
