"""Exact similarities of pairs of texts, and what they imply for each other.

  jaccard  sum_s min(a_s, b_s) / sum_s max(a_s, b_s) over the shingles s of
           both (see `shingles`), a_s = count of s in a.
  ratio    2 * L / (|a| + |b|), L = code points of the longest common
           subsequence.

Both are symmetric, 1 for equal texts, quotients of integers, and compared with
a threshold as float64.
"""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphgpo_jax.tables import shingles

# From numbers of texts, int [p] twice, to bool [p]: similar enough or not.
Verify = Callable[[np.ndarray, np.ndarray], np.ndarray]

SIMILARITIES = ("jaccard", "ratio")
DEFAULT_SHINGLE_LENGTH = 3
_RATIO_LENGTHS = (8, 7, 6, 5, 4, 3, 2)
# Below this Jaccard index, so many texts meet that shorter shingles are better.
_RATIO_BOUND = 0.5
# A chunk of pairs and what is computed from it stay in the cache.
_CHUNK_ELEMENTS = 2**19
_CHUNK_PAIRS = 2**14


def check_options(
  threshold: Any, similarity: Any, shingle_length: Any = None
) -> int:
  """Checks the options of `merge_near_equal`, before anything is read.

  Args:
    threshold: as for `merge_near_equal`.
    similarity: as for `merge_near_equal`.
    shingle_length: as for `merge_near_equal`.

  Returns:
    The length of a shingle.

  Raises:
    ValueError: an option is out of its range.
  """
  is_number = isinstance(threshold, (numbers.Real, np.number))
  is_number &= not isinstance(threshold, (bool, np.bool_))
  if not is_number or not 0 < threshold <= 1:
    raise ValueError(
      f"threshold must be a similarity in (0, 1], got {threshold!r}"
    )
  if similarity not in SIMILARITIES:
    raise ValueError(
      f"unknown similarity {similarity!r}: expected one of "
      f"{', '.join(SIMILARITIES)}"
    )
  if shingle_length is None:
    if similarity == "jaccard":
      return DEFAULT_SHINGLE_LENGTH
    lengths = (
      length
      for length in _RATIO_LENGTHS
      if ratio_bound(float(threshold), length) >= _RATIO_BOUND
    )
    return next(lengths, 1)
  is_integer = isinstance(shingle_length, (numbers.Integral, np.integer))
  is_integer &= not isinstance(shingle_length, (bool, np.bool_))
  if not is_integer or not 1 <= shingle_length <= 64:
    raise ValueError(
      f"shingle_length must be an integer from 1 to 64, got {shingle_length!r}"
    )
  return int(shingle_length)


def jaccard_reaches(profiles: shingles.Profiles, threshold: float) -> Verify:
  """A function that says whether texts' Jaccard index reaches a threshold.

  Args:
    profiles: of n texts.
    threshold: the least index, in (0, 1].

  Returns:
    Function from numbers of texts, int [p] twice, to bool [p].
  """
  elements = profiles.elements
  sizes = np.diff(elements.indptr)

  def verify(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    smaller = np.minimum(sizes[one], sizes[other])
    larger = np.maximum(sizes[one], sizes[other])
    result = smaller / larger >= threshold
    left = np.flatnonzero(result)
    both = smaller[left] + larger[left]
    for chunk in np.split(left, _cuts(both)):
      shared = elements[one[chunk]].multiply(elements[other[chunk]])
      common = np.diff(shared.indptr)
      union = smaller[chunk] + larger[chunk] - common
      result[chunk] = common / union >= threshold
    return result

  return verify


def ratio_reaches(texts: Sequence[str], threshold: float) -> Verify:
  """A function that says whether texts' ratio reaches a threshold.

  Args:
    texts: n distinct texts.
    threshold: the least ratio, in (0, 1].

  Returns:
    Function from numbers of texts, int [p] twice, to bool [p].

  Raises:
    ImportError: rapidfuzz is not installed.
  """
  try:
    from rapidfuzz import process
    from rapidfuzz.distance import Indel
  except ImportError as error:
    raise ImportError(
      'similarity="ratio" needs rapidfuzz: pip install "graphgpo-jax[text]"'
    ) from error
  sizes = np.fromiter(map(len, texts), np.int64, len(texts))

  def verify(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    both = sizes[one] + sizes[other]
    result = 2 * np.minimum(sizes[one], sizes[other]) / both >= threshold
    left = np.flatnonzero(result)
    for start in range(0, len(left), _CHUNK_PAIRS):
      chunk = left[start : start + _CHUNK_PAIRS]
      total = both[chunk]
      distance = process.cpdist(
        [texts[text] for text in one[chunk].tolist()],
        [texts[text] for text in other[chunk].tolist()],
        scorer=Indel.distance,
        # Past the cutoff it gives up, and returns the cutoff and one.
        score_cutoff=int((1 - threshold) * total.max()) + 1,
        dtype=np.int64,
      )
      result[chunk] = (total - distance) / total >= threshold
    return result

  return verify


def ratio_bound(threshold: float, length: int) -> float:
  """Least Jaccard index of two texts whose ratio reaches a threshold.

  With N = |a| + |b|, at most d = (1 - threshold) * N code points are deleted
  from a or inserted into it to get b. Deleting one removes at most `length`
  shingles of a, inserting one at most length - 1 of a, and the other way round
  for b. So of the N + 2 shingles of both, at least N + 2 - (2 * length - 1) * d
  have their equal in the other text, and

    J >= x / (2 - x),  x = 1 - (2 * length - 1) * (1 - threshold).

  Args:
    threshold: ratio in (0, 1].
    length: code points of a shingle.

  Returns:
    The bound; 0 or less where it says nothing.
  """
  common = 1 - (2 * length - 1) * (1 - threshold)
  return common / (2 - common)


def _cuts(sizes: np.ndarray) -> np.ndarray:
  """Where to cut a sequence of pairs into chunks of about equal size."""
  chunk_of = np.cumsum(sizes) // _CHUNK_ELEMENTS
  return np.flatnonzero(chunk_of[1:] != chunk_of[:-1]) + 1
