"""Arithmetic on columns of 64-bit words."""

import numpy as np


def mix(words: np.ndarray) -> np.ndarray:
  """Scrambles words by a bijection (the splitmix64 finaliser, public domain).

  Args:
    words: uint64 of any shape.

  Returns:
    uint64 of that shape: different words stay different, and each bit depends
    on all of the word's.
  """
  words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return words ^ (words >> np.uint64(31))
