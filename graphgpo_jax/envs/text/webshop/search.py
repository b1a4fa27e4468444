"""Search by BM25, as the shop's search engine ranks.

Scores are Lucene's (k1 = 0.9, b = 0.4, as Pyserini sets them), stop words too.
Two things differ: Lucene stems by Porter and rounds a text's length to eight
bits; here plurals alone are stemmed and lengths are exact. So ranks of near
equals differ now and then.
"""

import array
import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from graphgpo_jax.envs.text.webshop import word_lists

_K1 = 0.9
_B = 0.4
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def terms(text: str) -> list[str]:
  """Words of a text as they are searched: lower case, singular, no stop words.

  Args:
    text: any.

  Returns:
    Terms in the order of the text.
  """
  words = _WORD.findall(text.lower())
  return [
    _singular(word) for word in words if word not in word_lists.STOP_WORDS
  ]


def _singular(word: str) -> str:
  """A plural's singular, by the three endings that are seldom anything else."""
  for possessive in ("'s", "’s"):
    word = word.removesuffix(possessive)
  if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us")):
    return word
  if word.endswith("ies") and not word.endswith(("aies", "eies")):
    return word[:-3] + "y"
  return word[:-1]


class SearchIndex:
  """Texts by the terms in them."""

  def __init__(self, texts: Sequence[str]):
    """Counts terms.

    Args:
      texts: documents; a search names them by their places.
    """
    postings: dict[str, tuple[array.array, array.array]] = {}
    lengths = array.array("i")
    for document, text in enumerate(texts):
      found = terms(text)
      lengths.append(len(found))
      for term, count in Counter(found).items():
        documents, counts = postings.setdefault(
          term, (array.array("i"), array.array("i"))
        )
        documents.append(document)
        counts.append(count)
    self._postings = postings
    sizes = np.asarray(lengths, np.float64)
    mean = max(sizes.mean(), 1.0) if len(sizes) else 1.0
    self._norms = _K1 * (1 - _B + _B * sizes / mean)

  def search(self, query: str, *, most: int) -> list[int]:
    """Documents that have a term of the query, best first.

    Args:
      query: words; one that comes twice counts twice.
      most: documents to return.

    Returns:
      Places of documents; among equals the first ones come first.
    """
    total = len(self._norms)
    scores = np.zeros(total)
    for term, weight in sorted(Counter(terms(query)).items()):
      if term not in self._postings:
        continue
      documents, counts = map(np.asarray, self._postings[term])
      rarity = math.log(
        1 + (total - len(documents) + 0.5) / (len(documents) + 0.5)
      )
      scores[documents] += (
        weight * rarity * counts / (counts + self._norms[documents])
      )
    order = np.argsort(-scores, kind="stable")[:most]
    return order[scores[order] > 0].tolist()
