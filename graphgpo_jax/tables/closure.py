"""Classes of items that chains of similar pairs link, without all pairs.

Items meet in buckets: those of one task with one key. Of the items that meet,
each pair is either linked by a chain already, or it is verified; so the classes
are the connected components of the graph of all pairs that meet and verify,
exactly, whatever the order in which they are verified. Large classes cost
little: links between neighbours merge most of a bucket in a few rounds, and
only pairs across what is left are gone through.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from graphgpo_jax.tables import shingles

# Up to so many items, verifying each pair costs less than hashing the items.
COMPARE_ALL = 64
_CHUNK_PAIRS = 2**16
# Of the pairs of neighbours, at least this share has to verify for another
# round of them to be worth it.
_WORTH_A_ROUND = 0.125

Verify = Callable[[np.ndarray, np.ndarray], np.ndarray]


def classes(
  tasks: np.ndarray,
  sign: Callable[[np.ndarray], shingles.Signatures] | None,
  verify: Verify,
) -> np.ndarray:
  """Numbers the classes of n items of several tasks.

  Args:
    tasks: int [n]; only items of one task are in one class.
    sign: from item numbers int [k] to their signatures: two items meet where
      one of their keys is the same and enough bits of their sketches are.
      None, and in tasks of at most COMPARE_ALL items: all meet.
    verify: from two arrays of item numbers, int [p] each, to bool [p]: whether
      a pair is similar. It must be symmetric.

  Returns:
    int64 [n], equal for items of one class.
  """
  items = np.arange(len(tasks))
  _, task_of, sizes = np.unique(tasks, return_inverse=True, return_counts=True)
  few = (sizes <= COMPARE_ALL)[task_of]
  if sign is None:
    few[:] = True
  labels = items.copy()
  for chosen in (items[few], items[~few]):
    if not len(chosen):
      continue
    if sign is None or few[chosen[0]]:
      signatures = shingles.Signatures(
        keys=np.zeros((len(chosen), 1), np.uint64),
        sketch=np.zeros((len(chosen), 0), np.uint64),
        most_different=0,
      )
    else:
      signatures = sign(chosen)
    found = _close(tasks[chosen], signatures, _renumbered(verify, chosen))
    labels[chosen] = chosen[found]
  return labels


def _renumbered(verify: Verify, chosen: np.ndarray) -> Verify:
  return lambda one, other: verify(chosen[one], chosen[other])


def _close(
  tasks: np.ndarray, signatures: shingles.Signatures, verify: Verify
) -> np.ndarray:
  """Label of each item, after every band."""
  labels = np.arange(len(tasks))
  for band, keys in enumerate(signatures.keys.T):
    order = np.lexsort((keys, tasks))
    new = np.ones(len(order), bool)
    new[1:] = (tasks[order][1:] != tasks[order][:-1]) | (
      keys[order][1:] != keys[order][:-1]
    )
    buckets = np.empty(len(order), np.int64)
    buckets[order] = np.cumsum(new) - 1
    labels = _link_neighbours(labels, buckets, signatures, verify)
    labels = _link_rest(labels, buckets, signatures, band, verify)
  return labels


def _link_neighbours(
  labels: np.ndarray,
  buckets: np.ndarray,
  signatures: shingles.Signatures,
  verify: Verify,
) -> np.ndarray:
  """Merges along each bucket, as long as that gets on."""
  members = np.arange(len(labels))
  while True:
    members = _undecided(members, labels, buckets)
    one, other = members[:-1], members[1:]
    apart = (buckets[one] == buckets[other]) & (labels[one] != labels[other])
    one, other = one[apart], other[apart]
    tried = len(one)
    one, other = _agreeing(one, other, signatures)
    similar = verify(one, other)
    labels = _unite(labels, one[similar], other[similar])
    if similar.sum() <= _WORTH_A_ROUND * tried:
      return labels


def _link_rest(
  labels: np.ndarray,
  buckets: np.ndarray,
  signatures: shingles.Signatures,
  band: int,
  verify: Verify,
) -> np.ndarray:
  """Merges by every pair of a bucket that is not in one class yet."""
  members = _undecided(np.arange(len(labels)), labels, buckets)
  earlier = signatures.keys[:, :band]
  for one, other in _pairs_across(members, labels, buckets):
    one, other = _agreeing(one, other, signatures)
    # Who met in an earlier band and is still apart was found too different.
    new = (labels[one] != labels[other]) & ~(
      (earlier[one] == earlier[other]).any(axis=1)
    )
    one, other = one[new], other[new]
    similar = verify(one, other)
    labels = _unite(labels, one[similar], other[similar])
  return labels


def _agreeing(
  one: np.ndarray, other: np.ndarray, signatures: shingles.Signatures
) -> tuple[np.ndarray, np.ndarray]:
  """Pairs whose sketches agree in enough bits to be worth comparing."""
  different = signatures.sketch[one] ^ signatures.sketch[other]
  bits = np.bitwise_count(different).sum(axis=1, dtype=np.int64)
  enough = bits <= signatures.most_different
  return one[enough], other[enough]


def _undecided(
  members: np.ndarray, labels: np.ndarray, buckets: np.ndarray
) -> np.ndarray:
  """Members of buckets with several classes, by bucket and class."""
  order = members[np.lexsort((labels[members], buckets[members]))]
  bucket, label = buckets[order], labels[order]
  same_bucket = bucket[1:] == bucket[:-1]
  several = np.zeros(len(labels), bool)
  several[bucket[1:][same_bucket & (label[1:] != label[:-1])]] = True
  return order[several[bucket]]


def _pairs_across(
  members: np.ndarray, labels: np.ndarray, buckets: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Pairs of different classes in one bucket, some at a time."""
  if not len(members):
    return
  bucket, label = buckets[members], labels[members]
  new_bucket = bucket[1:] != bucket[:-1]
  new_class = new_bucket | (label[1:] != label[:-1])
  bucket_end = _run_ends(new_bucket)
  class_end = _run_ends(new_class)
  ends = np.cumsum(bucket_end - class_end)
  for start in range(0, int(ends[-1]), _CHUNK_PAIRS):
    pair = np.arange(start, min(start + _CHUNK_PAIRS, int(ends[-1])))
    one = np.searchsorted(ends, pair, side="right")
    # Counted back from the bucket's end, which the pairs of `one` run up to.
    other = bucket_end[one] - (ends[one] - pair)
    yield members[one], members[other]


def _run_ends(new: np.ndarray) -> np.ndarray:
  """One past the last position of the run that each position is in."""
  last = np.append(np.flatnonzero(new), len(new))
  return np.repeat(last + 1, np.diff(last, prepend=-1))


def _unite(
  labels: np.ndarray, one: np.ndarray, other: np.ndarray
) -> np.ndarray:
  """Labels after linking pairs of items."""
  if not len(one):
    return labels
  links = sparse.coo_array(
    (np.ones(len(one), np.int8), (labels[one], labels[other])),
    shape=(len(labels), len(labels)),
  )
  return csgraph.connected_components(links, directed=False)[1][labels]
