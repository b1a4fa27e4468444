"""Near-equal texts as one state, against all pairs and their closure."""

import doctest
import itertools
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments import near_equal_texts
from graphgpo_jax.tables import closure, near_equal, state_keys
from tests import near_equal_oracle as oracle

merge = near_equal.merge_near_equal
generate = near_equal_texts.near_equal_texts


@pytest.fixture(scope="module")
def generated():
  texts = generate(2000, seed=0)
  return texts, oracle.all_jaccards(texts)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.85, 0.9, 0.95])
def test_agrees_with_all_pairs(generated, threshold):
  texts, similarity = generated
  expected = oracle.closure_of(similarity >= threshold)
  # Pairs on both sides of the threshold, or there was nothing to get wrong.
  near = np.abs(similarity - threshold) < 0.02
  assert near.sum() / 2 > 1000
  assert 1 < len(np.unique(expected)) < len(texts)
  found = oracle.numbered(merge(texts, threshold=threshold))
  precision, recall = oracle.precision_and_recall(found, expected)
  assert precision >= 0.99
  assert recall >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("length", [2, 5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_agrees_with_all_pairs_on_more(seed, length):
  texts = generate(2000, seed=seed, texts_per_page=4 + 20 * seed)
  similarity = oracle.all_jaccards(texts, length)
  for threshold in (0.6, 0.75, 0.85, 0.9, 0.92, 0.97):
    expected = oracle.closure_of(similarity >= threshold)
    found = oracle.numbered(
      merge(texts, threshold=threshold, shingle_length=length)
    )
    assert min(oracle.precision_and_recall(found, expected)) >= 0.99


@pytest.fixture(scope="module")
def short():
  texts = [text[:60] for text in generate(45, seed=4, texts_per_page=9)]
  ratios = np.eye(len(texts))
  for one, other in itertools.combinations(range(len(texts)), 2):
    ratios[one, other] = oracle.ratio(texts[one], texts[other])
  return texts, ratios


@pytest.mark.extra("text")
@pytest.mark.parametrize("threshold", [0.75, 0.85, 0.9, 0.95, 0.98])
def test_ratio_agrees_with_all_pairs(short, threshold, monkeypatch):
  monkeypatch.setattr(closure, "COMPARE_ALL", 0)
  texts, ratios = short
  expected = oracle.closure_of(ratios >= threshold)
  assert oracle.pairs_within(expected) > 10
  assert 1 < len(np.unique(expected)) < len(texts)
  found = oracle.numbered(merge(texts, threshold=threshold, similarity="ratio"))
  assert min(oracle.precision_and_recall(found, expected)) >= 0.99


@pytest.mark.parametrize("length", [1, 2, 3, 4, 8])
def test_few_texts_are_compared_exactly(length):
  texts = generate(25, seed=length)
  texts += ["", "a", "aa", "aaa", "ab" * 9, "ba" * 9, "日本", "cut \ud83d"]
  values = [
    [oracle.jaccard(one, other, length) for other in texts] for one in texts
  ]
  # Also at values that pairs have: reaching the threshold is enough.
  for threshold in (0.4, 0.75, *np.unique(values)[1::40]):
    expected = oracle.closure_of(np.asarray(values) >= threshold)
    found = merge(texts, threshold=threshold, shingle_length=length)
    assert oracle.same_classes(oracle.numbered(found), expected)


def test_what_is_known_by_hand():
  # Of ^a ab bc c$ and ^a ab bd d$, two of six are in both.
  keys = merge(["abc", "abd"], threshold=2 / 6, shingle_length=2)
  assert (keys[0] == keys[1]).all()
  keys = merge(["abc", "abd"], threshold=0.334, shingle_length=2)
  assert (keys[0] != keys[1]).any()
  # A chain links its ends, which have nothing in common.
  keys = merge(["abcd", "abxx", "yyxx"], threshold=0.2, shingle_length=1)
  assert len(np.unique(keys, axis=0)) == 1
  # Another order of the same shingles is no other text to Jaccard.
  keys = merge(["a, b, c, d", "a, c, b, d"], threshold=1.0)
  assert (keys[0] == keys[1]).all()


def test_class_is_named_by_its_least_fingerprint():
  texts = generate(400, seed=2)
  words = state_keys.pack_lanes(state_keys.fingerprint_observations(texts))
  keys = state_keys.pack_lanes(merge(texts, threshold=0.8))
  assert oracle.pairs_within(oracle.numbered(merge(texts, threshold=0.8))) > 100
  for key in np.unique(keys):
    assert key == words[keys == key].min()


LETTERS = st.text("ab ", max_size=12)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
  st.lists(st.tuples(st.integers(0, 2), LETTERS), min_size=1, max_size=25),
  st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]),
  st.randoms(use_true_random=False),
)
def test_any_rows_in_any_order(rows, threshold, random):
  tasks, texts = zip(*rows, strict=True)
  keys = merge(texts, tasks, threshold=threshold)
  similar = [
    [
      one[0] == other[0] and oracle.jaccard(one[1], other[1]) >= threshold
      for other in rows
    ]
    for one in rows
  ]
  words = state_keys.pack_lanes(state_keys.fingerprint_observations(texts))
  expected = oracle.closure_of(np.asarray(similar))
  least = [words[expected == label].min() for label in expected]
  np.testing.assert_array_equal(state_keys.pack_lanes(keys), least)
  order = list(range(len(rows)))
  random.shuffle(order)
  shuffled = [rows[row] for row in order]
  tasks, texts = zip(*shuffled, strict=True)
  np.testing.assert_array_equal(
    merge(texts, tasks, threshold=threshold), keys[order]
  )


@pytest.mark.parametrize("threshold", [0.7, 0.9])
def test_many_rows_in_any_order_with_other_tasks(threshold):
  rng = np.random.default_rng(0)
  texts = np.asarray(generate(600, seed=3), object)
  texts = texts[rng.integers(0, len(texts), 900)]
  tasks = rng.choice([10, 20, 30], size=900, p=[0.8, 0.15, 0.05])
  keys = merge(texts, tasks, threshold=threshold)
  order = rng.permutation(900)
  np.testing.assert_array_equal(
    merge(texts[order], tasks[order], threshold=threshold), keys[order]
  )
  for task in (10, 20, 30):
    alone = merge(texts[tasks == task].tolist(), threshold=threshold)
    np.testing.assert_array_equal(keys[tasks == task], alone)
  assert not np.array_equal(keys, merge(texts, threshold=threshold))


def test_same_in_another_process():
  code = (
    "from experiments.near_equal_texts import near_equal_texts as generate;"
    "from graphgpo_jax.tables.near_equal import merge_near_equal as merge;"
    "print(merge(generate(150, seed=1), threshold=0.8).tolist())"
  )
  found = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  expected = merge(generate(150, seed=1), threshold=0.8).tolist()
  assert found.stdout.strip() == str(expected)


def test_docstring_runs():
  result = doctest.testmod(near_equal)
  assert result.attempted >= 5
  assert not result.failed


def test_nothing_in_nothing_out():
  assert merge([]).shape == (0, 2)
  assert merge([], []).shape == (0, 2)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"threshold": 0.0}, r"threshold .* \(0, 1\], got 0.0"),
    ({"threshold": 1.01}, "threshold"),
    ({"threshold": float("nan")}, "threshold"),
    ({"threshold": "0.9"}, "threshold .* got '0.9'"),
    ({"threshold": True}, "threshold"),
    ({"similarity": "cosine"}, "unknown similarity 'cosine': .*jaccard, ratio"),
    ({"similarity": ["jaccard"]}, "unknown similarity"),
    ({"shingle_length": 0}, "shingle_length .* 1 to 64, got 0"),
    ({"shingle_length": 2.5}, "shingle_length"),
  ],
)
def test_bad_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    merge(["a", "b"], **options)


@pytest.mark.parametrize("value", [3, None, b"a", ["a"], np.zeros(2)])
def test_what_is_no_text_is_named_by_its_row(value):
  with pytest.raises(
    ValueError, match=r"observation 2: .*text.* got"
  ) as caught:
    merge(["a", "b", value, value])
  assert caught.value.row == 2


def test_bad_columns_are_named():
  with pytest.raises(ValueError, match="one for each of the 2 observations"):
    merge(["a", "b"], [1])
  with pytest.raises(ValueError, match="sequence of texts, got str"):
    merge("ab")
  with pytest.raises(ValueError, match="'tasks', row 1"):
    merge(["a", "b"], [1, None])
