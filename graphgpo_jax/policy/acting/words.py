"""Texts as numbers, without a vocabulary that would have to be made first."""

import functools
import re

import xxhash

PADDING = 0

_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")


@functools.lru_cache(maxsize=65536)
def word_ids(text: str, vocabulary_size: int) -> tuple[int, ...]:
  """The words, numbers and signs of a text, each hashed to an id.

  Two words meet in one id about once in `vocabulary_size` pairs. The same text
  gives the same ids on every machine.

  Args:
    text: any text; upper and lower case are the same.
    vocabulary_size: V, at least 2.

  Returns:
    Ids in [1, V); 0 is left for padding.

  Raises:
    ValueError: V is too small.
  """
  if vocabulary_size < 2:
    raise ValueError(
      f"vocabulary_size must be at least 2, got {vocabulary_size}"
    )
  return tuple(
    1 + xxhash.xxh32_intdigest(word.encode()) % (vocabulary_size - 1)
    for word in _WORD.findall(text.lower())
  )
