"""Near-equal text observations as one state of a task's graph.

Pages that differ in a clock, a counter or the order of a list are different
texts, and a graph with a node for each of them has no way to tell that two
rollouts stood in the same place. Here, observations of one task whose
similarity reaches a threshold are one state, and so are those that a chain of
such pairs links: the classes are the transitive closure. Unlike the outcome of
a greedy merge, it does not depend on the order of the rows.

A class is named by the least fingerprint of its members, in place of their
own. So it reaches everything that is computed from fingerprints: the nodes of
the graph and the groups within which advantages are compared. Merging the
nodes alone would take distances from the merged graph and then compare each
step with the few that saw the very same text, or with none.

Not all pairs are compared. Texts meet where they share a MinHash key and their
sketches agree (`shingles`); each pair that meets is then verified by its exact
similarity, unless a chain links it already. What is guaranteed:

  - two texts that are one state are linked by pairs verified to reach the
    threshold (none is merged by chance);
  - a pair at the threshold does not meet with probability of at most
    `shingles.MISS_PROBABILITY`, a more similar one more rarely; it may still
    be linked through others. Up to `closure.COMPARE_ALL` texts of a task, and
    where no layout of keys keeps that bound, all pairs meet;
  - classes depend on the task's texts alone: not on the order or number of
    rows, other tasks, the process or the platform.

Time is linear in the distinct texts, but for pairs that are similar enough to
meet and yet in different classes: each of those is compared, so many versions
of one page just below the threshold cost as much as all pairs of them. Memory
is linear whatever they are.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from graphgpo_jax.tables import (
  closure,
  shingles,
  state_keys,
  table_columns,
  text_similarity,
)

DEFAULT_SHINGLE_LENGTH = text_similarity.DEFAULT_SHINGLE_LENGTH


class NotTextError(ValueError):
  """A row's observation is no text, so no similarity is defined for it."""

  def __init__(self, row: int, value: Any):
    self.row = row
    self.column = "observation"
    self.reason = f"expected text to compare by, got {type(value).__name__}"
    super().__init__(f"observation {row}: {self.reason}")


def merge_near_equal(
  observations: Any,
  tasks: Any = None,
  *,
  threshold: float = 0.9,
  similarity: str = "jaccard",
  shingle_length: int | None = None,
) -> np.ndarray:
  """Fingerprints of texts, equal where the texts are near-equal.

  Two observations of a task are one state where a chain of observations of
  the task leads from one to the other, each pair of neighbours in it with a
  similarity of at least `threshold`. Similarities, for texts a and b:

    jaccard  sum_s min(a_s, b_s) / sum_s max(a_s, b_s) over their shingles s,
             runs of `shingle_length` code points, a_s = count of s in a (see
             `shingles`). Lists in another order stay similar.
    ratio    2 * L / (|a| + |b|), L = code points of the longest common
             subsequence. `difflib.SequenceMatcher.ratio` is a lower bound of
             it that depends on which text comes first. Needs rapidfuzz.

  Jaccard is the default: MinHash keys are laid out for its threshold itself,
  while a ratio only bounds the Jaccard index from below (see
  `text_similarity.ratio_bound`), so that more pairs have to meet: at
  thresholds under about 0.9 most do, and time grows with their number.

  Example:
    >>> pages = [
    ...   "Page 1. Results for red shoes: [B07], [B09], [B11]. Time 09:14.",
    ...   "Page 1. Results for red shoes: [B07], [B11], [B09]. Time 09:15.",
    ...   "You open the fridge 1. In it, you see a tomato 2 and a mug 1.",
    ... ]
    >>> keys = merge_near_equal(pages, threshold=0.7)
    >>> bool((keys[0] == keys[1]).all()), bool((keys[0] == keys[2]).all())
    (True, False)
    >>> own = state_keys.fingerprint_observations(pages)
    >>> bool((keys[2] == own[2]).all())  # A text alone keeps its fingerprint.
    True

  Args:
    observations: n texts.
    tasks: n ids; only observations of one task are compared. None: all are.
    threshold: the least similarity of two texts that are one state, in (0, 1].
    similarity: "jaccard" or "ratio".
    shingle_length: code points of a shingle, 1 to 64. None: 3 for jaccard;
      for ratio, where it decides only which pairs meet, a length for which the
      bound above holds.

  Returns:
    uint32 [n, 2], the lanes of the least fingerprint of each one's class, as
    `fingerprint_observations` gives them.

  Raises:
    ValueError: threshold, similarity or shingle_length is none of these, or
      there are not n tasks.
    NotTextError: an observation is no text; a ValueError with its row.
    ImportError: the similarity is "ratio" and rapidfuzz is not installed.
  """
  if isinstance(observations, (str, bytes)) or not isinstance(
    observations, Iterable
  ):
    raise ValueError(
      "observations must be a sequence of texts, got "
      f"{type(observations).__name__}"
    )
  if isinstance(observations, np.ndarray):
    observations = observations.tolist()
  texts = _texts(observations)
  words = np.zeros(0, np.uint64)
  if texts:
    words = state_keys.pack_lanes(state_keys.fingerprint_observations(texts))
  codes = np.zeros(len(texts), np.int64)
  if tasks is not None and not isinstance(tasks, np.ndarray):
    tasks = list(tasks)
  if tasks is not None and len(tasks) != len(texts):
    raise ValueError(
      f"tasks has {len(tasks)} entries: expected one for each of the "
      f"{len(texts)} observations"
    )
  if tasks is not None and texts:
    codes = table_columns.codes("tasks", tasks)
  words = merge_words(
    words,
    lambda rows: table_columns.take(texts, rows),
    codes,
    threshold=threshold,
    similarity=similarity,
    shingle_length=shingle_length,
  )
  high = (words >> np.uint64(32)).astype(np.uint32)
  return np.stack([high, words.astype(np.uint32)], axis=-1)


def merge_words(
  words: np.ndarray,
  texts_of: Callable[[np.ndarray], Iterable[Any]],
  tasks: np.ndarray,
  *,
  threshold: float = 0.9,
  similarity: str = "jaccard",
  shingle_length: int | None = None,
) -> np.ndarray:
  """`merge_near_equal` where fingerprints are known and texts are looked up.

  Only one text of each fingerprint is asked for.

  Args:
    words: uint64 [n], fingerprints with both lanes in one word.
    texts_of: from rows, int64 [k] ascending, to the k texts.
    tasks: int [n], number of each one's task, at least 0.
    threshold: as for `merge_near_equal`.
    similarity: as for `merge_near_equal`.
    shingle_length: as for `merge_near_equal`.

  Returns:
    uint64 [n], the least of `words` in each one's class.

  Raises:
    ValueError: as `merge_near_equal`.
    NotTextError: as `merge_near_equal`.
    ImportError: as `merge_near_equal`.
  """
  length = text_similarity.check_options(threshold, similarity, shingle_length)
  threshold = float(threshold)
  if not len(words):
    return words.copy()
  distinct, first, text_of = np.unique(
    words, return_index=True, return_inverse=True
  )
  by_row = np.argsort(first)
  looked_up = _texts(texts_of(first[by_row]), first[by_row])
  known = [looked_up[place] for place in np.argsort(by_row).tolist()]
  profiles = shingles.profile_texts(known, length=length)
  # What the similarity cannot tell apart is one item from the start.
  item_words = profiles.fingerprint if similarity == "jaccard" else distinct
  profile_of = np.unique(item_words, return_inverse=True)[1]
  key = tasks.astype(np.int64) * len(known) + profile_of[text_of]
  item_key, item_row, item_of = np.unique(
    key, return_index=True, return_inverse=True
  )
  text = text_of[item_row]
  if similarity == "jaccard":
    bound = threshold
    verify = text_similarity.jaccard_reaches(profiles, threshold)
  else:
    bound = text_similarity.ratio_bound(threshold, length)
    verify = text_similarity.ratio_reaches(known, threshold)
  item_class = closure.classes(
    item_key // len(known),
    _signer(profiles, text, bound),
    lambda one, other: verify(text[one], text[other]),
  )
  row_class = item_class[item_of]
  least = np.full(len(item_class), np.iinfo(np.uint64).max)
  np.minimum.at(least, row_class, words)
  return least[row_class]


def merge_states(
  source: np.ndarray,
  final: np.ndarray,
  observation: table_columns.Column,
  following: table_columns.Column,
  ends: np.ndarray,
  tasks: np.ndarray,
  **options,
) -> tuple[np.ndarray, np.ndarray]:
  """Merges the states of a step table, those that rollouts end in included.

  Args:
    source: uint64 [n], fingerprint of each row's observation.
    final: uint64 [k], of the next_observation of the rows `ends`.
    observation: the column, n texts.
    following: the column next_observation, of which `ends` are read.
    ends: int64 [k], last rows of the rollouts that did not succeed.
    tasks: int [n], number of each row's task, at least 0.
    **options: threshold, similarity and shingle_length of `merge_near_equal`.

  Returns:
    source and final, merged.

  Raises:
    ValueError: as `merge_near_equal`.
    NotTextError: as `merge_near_equal`, with the column and the row of the
      table in its `column` and `row`.
    ImportError: as `merge_near_equal`.
  """
  num_rows = len(source)

  def texts_of(rows):
    inner = rows < num_rows
    last = ends[rows[~inner] - num_rows]
    return itertools.chain(
      table_columns.take(observation, rows[inner]),
      table_columns.take(following, last),
    )

  try:
    words = merge_words(
      np.concatenate([source, final]),
      texts_of,
      np.concatenate([tasks, tasks[ends]]),
      **options,
    )
  except NotTextError as error:
    if error.row < num_rows:
      error.column = "observation"
    else:
      error.column = "next_observation"
      error.row = int(ends[error.row - num_rows])
    raise
  return words[:num_rows], words[num_rows:]


def _signer(
  profiles: shingles.Profiles, text: np.ndarray, bound: float
) -> Callable[[np.ndarray], shingles.Signatures] | None:
  """Signs items by their texts, for pairs of a Jaccard index of `bound`."""
  layout = shingles.choose_bands(bound)
  if layout is None:
    return None
  bands, rows = layout
  return lambda items: shingles.sign_texts(
    profiles, text[items], threshold=bound, bands=bands, rows=rows
  )


def _texts(values: Iterable[Any], rows: np.ndarray | None = None) -> list[str]:
  """Texts as a list; errors name the rows that they are of."""
  texts = list(values)
  if set(map(type, texts)) <= {str}:
    return texts
  for place, value in enumerate(texts):
    if not isinstance(value, str):
      raise NotTextError(place if rows is None else int(rows[place]), value)
  return list(map(str, texts))
