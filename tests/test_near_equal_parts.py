"""Shingles, signatures and closure: what near_equal's guarantees stand on."""

import difflib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import sparse, stats
from scipy.sparse import csgraph

from experiments import near_equal_texts
from graphgpo_jax.tables import (
  arrow_columns,
  closure,
  near_equal,
  shingles,
  state_keys,
  text_similarity,
)
from tests import near_equal_oracle as oracle

WORDS = st.text("abcde ", max_size=20)


@pytest.mark.slow
@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(st.lists(st.text(max_size=9), max_size=6), st.integers(1, 9))
def test_shingles_are_counted(texts, length):
  elements = shingles.profile_texts(texts, length=length).elements
  assert elements.shape[0] == len(texts)
  for row, one in enumerate(texts):
    assert np.diff(elements.indptr)[row] == len(one) + 1
    for column, other in enumerate(texts):
      common = np.intersect1d(
        elements[[row]].indices, elements[[column]].indices
      )
      expected = oracle.shingle_counts(one, length) & oracle.shingle_counts(
        other, length
      )
      assert len(common) == expected.total()


def test_profiles_do_not_depend_on_blocks(monkeypatch):
  texts = near_equal_texts.near_equal_texts(40, seed=0)
  whole = shingles.profile_texts(texts, length=3)
  chosen = np.arange(40)[::-1]
  signed = shingles.sign_texts(whole, chosen, threshold=0.8, bands=5, rows=4)
  monkeypatch.setattr(shingles, "_BLOCK_POINTS", 500)
  cut = shingles.profile_texts(texts, length=3)
  np.testing.assert_array_equal(whole.elements.indices, cut.elements.indices)
  np.testing.assert_array_equal(whole.elements.indptr, cut.elements.indptr)
  np.testing.assert_array_equal(whole.fingerprint, cut.fingerprint)
  again = shingles.sign_texts(cut, chosen, threshold=0.8, bands=5, rows=4)
  np.testing.assert_array_equal(signed.keys, again.keys)
  np.testing.assert_array_equal(signed.sketch, again.sketch)


@pytest.mark.parametrize("similarity", np.linspace(0.05, 1, 39))
def test_bands_keep_their_bound(similarity):
  bands, rows = shingles.choose_bands(similarity)
  assert bands * rows <= shingles.MAX_HASHES
  missed = (1 - similarity**rows) ** bands
  assert missed <= shingles.MISS_PROBABILITY / 2


def test_bands_that_cannot_keep_it():
  assert shingles.choose_bands(0.01) is None
  assert shingles.choose_bands(0.0) is None
  assert shingles.choose_bands(-0.5) is None


@pytest.mark.slow
@pytest.mark.parametrize("similarity", [0.6, 0.8, 0.9])
def test_signatures_meet_as_often_as_they_should(similarity):
  """Pairs of texts, each pair of other letters, all with the same J."""
  rng = np.random.default_rng(1)
  num_pairs, size, bands, rows = 1500, 200, 12, 6
  shared = round(2 * size * similarity / (1 + similarity))
  # With shingles of one code point, a text's elements are its letters. The
  # end mark is in all of them.
  texts = []
  for _ in range(num_pairs):
    points = rng.choice(np.arange(0x10000, 0x100000), 2 * size, replace=False)
    letters = list(map(chr, points.tolist()))
    texts.append("".join(letters[: size - 1]))
    texts.append("".join(letters[size - shared : 2 * size - shared - 1]))
  profiles = shingles.profile_texts(texts, length=1)
  exact = oracle.jaccard(texts[0], texts[1], 1)
  assert abs(exact - similarity) < 0.02
  signed = shingles.sign_texts(
    profiles,
    np.arange(len(texts)),
    threshold=exact,
    bands=bands,
    rows=rows,
  )
  one, other = signed.keys[::2], signed.keys[1::2]
  expected = exact**rows
  spread = np.sqrt(expected * (1 - expected) / one.size)
  assert abs((one == other).mean() - expected) < 4 * spread
  missed = ~(one == other).any(axis=1)
  expected = (1 - exact**rows) ** bands
  spread = np.sqrt(expected * (1 - expected) / num_pairs)
  assert abs(missed.mean() - expected) < 4 * spread + 1 / num_pairs
  different = np.bitwise_count(signed.sketch[::2] ^ signed.sketch[1::2])
  different = different.sum(axis=1, dtype=np.int64)
  expected = (1 - exact) / 2 * bands * rows
  assert abs(different.mean() / expected - 1) < 0.05
  assert (different > signed.most_different).mean() < 0.005
  bits = stats.binom(bands * rows, (1 - exact) / 2)
  most = signed.most_different
  assert bits.sf(most) <= shingles.MISS_PROBABILITY / 2 < bits.sf(most - 1)


@pytest.mark.parametrize("compare_all", [0, 8, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_closure_is_exact_whatever_meets(monkeypatch, seed, compare_all):
  """Random keys and a random symmetric relation: no structure to lean on."""
  monkeypatch.setattr(closure, "COMPARE_ALL", compare_all)
  monkeypatch.setattr(closure, "_CHUNK_PAIRS", 37)
  rng = np.random.default_rng(seed)
  count = 120
  tasks = rng.integers(0, 3, count)
  keys = rng.integers(0, 6, (count, 3)).astype(np.uint64)
  share = [0.01, 0.05, 0.3, 0.9][seed]
  related = np.triu(rng.random((count, count)) < share, 1)
  related |= related.T
  verified = []

  def sign(items):
    return shingles.Signatures(
      keys=keys[items],
      sketch=np.zeros((len(items), 1), np.uint64),
      most_different=0,
    )

  def verify(one, other):
    verified.append(np.stack([one, other], 1))
    return related[one, other]

  found = closure.classes(tasks, sign, verify)
  same_task = tasks[:, None] == tasks
  meet = (keys[:, None] == keys).any(axis=2)
  everyone = (np.bincount(tasks) <= compare_all)[tasks]
  meet |= everyone[:, None]
  links = sparse.csr_array(same_task & meet & related)
  expected = csgraph.connected_components(links, directed=False)[1]
  assert oracle.same_classes(found, expected)
  pairs = np.concatenate(verified)
  assert same_task[pairs[:, 0], pairs[:, 1]].all()
  assert meet[pairs[:, 0], pairs[:, 1]].all()


def test_a_large_class_costs_little(monkeypatch):
  """Five thousand pages that differ in a counter: one bucket after another."""
  texts = [
    "You are in the middle of a room. Looking quickly around you, you see a "
    f"cabinet 1, a fridge 1, a drawer 2 and a shelf 4. Step {number}."
    for number in range(5000)
  ]
  reaches = text_similarity.jaccard_reaches
  verified = []

  def counting(profiles, threshold):
    verify = reaches(profiles, threshold)

    def counted(one, other):
      verified.append(len(one))
      return verify(one, other)

    return counted

  monkeypatch.setattr(text_similarity, "jaccard_reaches", counting)
  keys = near_equal.merge_near_equal(texts, threshold=0.85)
  assert len(np.unique(keys, axis=0)) == 1
  # All pairs are 12 million.
  assert sum(verified) < 10 * len(texts)


def test_equal_counts_are_one_item(monkeypatch):
  """Reordered lists have equal shingles: nothing is left to compare."""
  monkeypatch.setattr(
    text_similarity,
    "jaccard_reaches",
    lambda profiles, threshold: (
      lambda one, other: (
        np.zeros(len(one), bool) if not len(one) else pytest.fail("compared")
      )
    ),
  )
  rng = np.random.default_rng(0)
  texts = [
    "a " + "".join(f"{item} " for item in rng.permutation(list("bcdefgh")))
    for _ in range(200)
  ]
  keys = near_equal.merge_near_equal(texts, threshold=0.9, shingle_length=2)
  assert len(np.unique(keys, axis=0)) == 1


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(WORDS, WORDS, st.integers(1, 5))
def test_ratio_bounds_jaccard(one, other, length):
  exact = oracle.ratio(one, other)
  bound = text_similarity.ratio_bound(exact, length)
  assert oracle.jaccard(one, other, length) >= bound - 1e-12


@pytest.mark.extra("text")
@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.lists(WORDS, min_size=2, max_size=5, unique=True))
def test_ratio_is_exact_and_above_difflib(texts):
  one, other = np.triu_indices(len(texts), 1)
  for pair in zip(one, other, strict=True):
    first, second = (texts[number] for number in pair)
    exact = oracle.ratio(first, second)
    for matcher in (
      difflib.SequenceMatcher(None, first, second),
      difflib.SequenceMatcher(None, second, first),
    ):
      assert matcher.ratio() <= exact + 1e-12
    above = min(1.0, np.nextafter(exact, 2)) if exact < 1 else None
    for threshold in filter(None, (exact, above)):
      verify = text_similarity.ratio_reaches(texts, threshold)
      reached = verify(np.asarray(pair[:1]), np.asarray(pair[1:]))
      assert reached[0] == (exact >= threshold)


def test_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "rapidfuzz", None)
  with pytest.raises(ImportError, match=r"pip install .*graphgpo-jax\[text\]"):
    near_equal.merge_near_equal(["a", "b"], similarity="ratio")


def table_of_two():
  """Texts of the rows of two rollouts; the first one fails."""
  pages = [f"A long page that hardly changes, at {clock}." for clock in "12345"]
  observation = [pages[0], "somewhere else", pages[1], "the end of it"]
  following = ["somewhere else", pages[2], "the end of it", "not looked at"]
  final = [following[1]]
  return observation, following, np.asarray([1]), final


def words_of(texts):
  return state_keys.pack_lanes(state_keys.fingerprint_observations(texts))


def arrow_column(texts):
  import pyarrow

  return arrow_columns.TextColumn(pyarrow.array(texts))


@pytest.mark.parametrize(
  "column_type",
  [list, pytest.param(arrow_column, marks=pytest.mark.extra("logs"))],
)
def test_states_of_a_table(column_type):
  observation, following, ends, final = table_of_two()
  source, final = near_equal.merge_states(
    words_of(observation),
    words_of(final),
    column_type(observation),
    column_type(following),
    ends,
    np.zeros(4, np.int64),
    threshold=0.8,
  )
  assert source[0] == source[2] == final[0]
  assert len(np.unique(source)) == 3
  np.testing.assert_array_equal(source[1::2], words_of(observation[1::2]))


def test_states_of_other_tasks_stay_apart():
  observation, following, ends, final = table_of_two()
  source, final = near_equal.merge_states(
    words_of(observation),
    words_of(final),
    observation,
    following,
    ends,
    np.asarray([0, 0, 1, 1]),
    threshold=0.8,
  )
  assert source[0] == final[0] != source[2]


@pytest.mark.parametrize(
  ("column", "row"), [("observation", 3), ("next_observation", 1)]
)
def test_rows_without_text_are_named(column, row):
  observation, following, ends, final = table_of_two()
  if column == "observation":
    observation[row] = 5
  else:
    following[row] = final[0] = 5
  with pytest.raises(near_equal.NotTextError, match="got int") as caught:
    near_equal.merge_states(
      words_of(observation),
      words_of(final),
      observation,
      following,
      ends,
      np.zeros(4, np.int64),
    )
  assert (caught.value.column, caught.value.row) == (column, row)
