"""Similarity of texts and its closure, by definition and from all pairs."""

import collections

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from graphgpo_jax.tables import state_keys


def shingle_counts(text, length):
  marked = ["begin"] * (length - 1) + list(text) + ["end"]
  return collections.Counter(
    tuple(marked[start : start + length])
    for start in range(len(marked) - length + 1)
  )


def jaccard(one, other, length=3):
  """By plain counters: what `jaccard` is defined to be."""
  one, other = shingle_counts(one, length), shingle_counts(other, length)
  return (one & other).total() / (one | other).total()


def ratio(one, other):
  """By the textbook's table of longest common subsequences."""
  row = [0] * (len(other) + 1)
  for letter in one:
    before = row
    row = [0]
    for column, match in enumerate(other):
      longest = max(row[-1], before[column + 1])
      row.append(before[column] + 1 if letter == match else longest)
  return 2 * row[-1] / (len(one) + len(other)) if one or other else 1.0


def all_jaccards(texts, length=3):
  """`jaccard` of all pairs at once, float64 [n, n]."""
  known, cells = {}, []
  for row, text in enumerate(texts):
    for shingle, count in shingle_counts(text, length).items():
      cells += [
        (row, known.setdefault((shingle, number), len(known)))
        for number in range(count)
      ]
  rows, columns = np.transpose(cells)
  table = sparse.csr_array((np.ones(len(rows)), (rows, columns)))
  common = (table @ table.T).toarray()
  sizes = common.diagonal()
  return common / (sizes[:, None] + sizes - common)


def closure_of(similar):
  links = sparse.csr_array(similar)
  return csgraph.connected_components(links, directed=False)[1]


def numbered(keys):
  """Class number of each row of fingerprints."""
  return np.unique(state_keys.pack_lanes(keys), return_inverse=True)[1]


def pairs_within(classes):
  sizes = np.bincount(classes)
  return int((sizes * (sizes - 1) // 2).sum())


def precision_and_recall(found, expected):
  """Of the pairs that are in one class."""
  both = np.unique(found * (expected.max() + 1) + expected, return_inverse=True)
  shared = pairs_within(both[1])
  return shared / pairs_within(found), shared / pairs_within(expected)


def same_classes(found, expected):
  count = len(np.unique(expected))
  pairs = np.unique(found * (expected.max() + 1) + expected)
  return len(np.unique(found)) == count == len(pairs)
