"""Near-equal texts as one state: exactness and time of the merge."""

import collections
import itertools
import time
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from experiments import bench_machine, near_equal_texts
from experiments.credit_bench.options import Options
from graphgpo_jax.tables import near_equal

THRESHOLD = 0.9
GOAL = 0.99
_BEGIN, _END = "\x00", "\x01"  # in none of the generated texts
_EXACT_TEXTS, _QUICK_EXACT_TEXTS = 2_000, 100
_TEXTS, _QUICK_TEXTS = (2_000, 8_000, 32_000), (100, 200)


def exact_classes(
  texts: list[str], *, threshold: float, length: int
) -> np.ndarray:
  """Classes by comparing every pair: what the merge is held against.

  Shingles as `tables.shingles` defines them: begin marks lead a text, an end
  mark follows it, and the k-th occurrence of a shingle is an item of its own.
  One sparse product counts the items that each two texts share.

  Args:
    texts: n texts.
    threshold: Jaccard index from which on two are one.
    length: code points of a shingle.

  Returns:
    int32 [n], the class of each. Memory grows with the square of n.
  """
  number: dict[Any, int] = collections.defaultdict(itertools.count().__next__)
  rows, items = [], []
  for row, text in enumerate(texts):
    seen: collections.Counter[str] = collections.Counter()
    marked = _BEGIN * (length - 1) + text + _END
    for start in range(len(text) + 1):
      shingle = marked[start : start + length]
      seen[shingle] += 1
      rows.append(row)
      items.append(number[shingle, seen[shingle]])
  shape = (len(texts), len(number))
  holds = sparse.csr_array((np.ones(len(rows)), (rows, items)), shape)
  size = np.bincount(rows, minlength=len(texts))
  shared = (holds @ holds.T).toarray()
  union = size[:, None] + size[None, :] - shared
  near = shared >= threshold * union - 1e-9
  return csgraph.connected_components(sparse.csr_array(near), False)[1]


def agreement(found: np.ndarray, exact: np.ndarray) -> dict[str, float]:
  """Precision and recall over the pairs of texts that are one state.

  Args:
    found: [n], equal where two texts were merged.
    exact: [n], equal where they should be.
  """

  def pairs(*labels):
    _, counts = np.unique(np.stack(labels, 1), axis=0, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())

  found = np.unique(found, return_inverse=True)[1]
  both = pairs(found, exact)
  return {
    "precision": both / max(pairs(found), 1),
    "recall": both / max(pairs(exact), 1),
    "pairs": pairs(exact),
  }


def measure(options: Options) -> dict[str, Any]:
  """Compares with the exact method, then times more and more texts.

  Args:
    options: quick.

  Returns:
    `exact` (precision, recall, pairs, texts and seconds of both) and `sizes`
    (texts and seconds of the merge; one task, all texts distinct).
  """
  number = _QUICK_EXACT_TEXTS if options.quick else _EXACT_TEXTS
  texts = near_equal_texts.near_equal_texts(number)
  # What a first call alone pays for is in no timing.
  _merge(texts)
  found, seconds = _merge(texts)
  started = time.perf_counter()
  exact = exact_classes(
    texts, threshold=THRESHOLD, length=near_equal.DEFAULT_SHINGLE_LENGTH
  )
  record = agreement(found, exact) | {
    "texts": number,
    "seconds": seconds,
    "exact_seconds": time.perf_counter() - started,
  }
  sizes = []
  for number in _QUICK_TEXTS if options.quick else _TEXTS:
    _, seconds = _merge(near_equal_texts.near_equal_texts(number, seed=1))
    sizes.append({"texts": number, "seconds": seconds})
  return {"threshold": THRESHOLD, "exact": record, "sizes": sizes}


def _merge(texts):
  started = time.perf_counter()
  words = near_equal.merge_near_equal(texts, threshold=THRESHOLD)
  seconds = time.perf_counter() - started
  if words.ndim > 1:
    words = np.unique(words, axis=0, return_inverse=True)[1].ravel()
  return words, seconds


def table(found: dict[str, Any]) -> str:
  """Precision and recall, and seconds by the number of texts."""
  exact = found["exact"]
  rows = [["near-equal texts", "ms", "us per text"]]
  for each in found["sizes"]:
    rows.append(
      [
        f"{each['texts']:,}",
        f"{1000 * each['seconds']:.0f}",
        f"{1e6 * each['seconds'] / each['texts']:.0f}",
      ]
    )
  return (
    f"{exact['texts']:,} texts, threshold {found['threshold']:g}: precision "
    f"{exact['precision']:.4f}, recall {exact['recall']:.4f} of "
    f"{exact['pairs']:,} pairs (goal {GOAL:g}); {exact['seconds']:.2f} s, "
    f"all pairs {exact['exact_seconds']:.2f} s\n" + bench_machine.table(rows)
  )
