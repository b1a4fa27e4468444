"""Robust statistics against numbers by hand and against scipy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from graphgpo_jax.training import aggregate

WORLDS = [
  [0.31, 0.42, 0.47, 0.58, 0.66],
  [0.81, 0.83, 0.83, 0.92],
  [0.12, 0.12, 0.55],
]
REFERENCE = [
  [0.35, 0.40, 0.42, 0.44],
  [0.70, 0.83, 0.95, 0.96, 0.99],
  [0.10, 0.12],
]


@pytest.mark.parametrize(
  "strata, expected",
  [
    ([[1, 2, 3, 4, 5, 6, 7, 80]], 4.5),
    # Worlds are pooled, and the order of the runs does not count.
    ([[80, 3, 1, 5], [2, 7, 6, 4]], 4.5),
    # One of five is cut off at either end, none of three.
    ([[0, 1, 2, 6, 100]], 3.0),
    ([[0, 0, 9]], 3.0),
    ([[2.5]], 2.5),
  ],
)
def test_interquartile_mean(strata, expected):
  found = aggregate.interquartile_mean(strata)
  assert found.value == pytest.approx(expected)


def test_interval_of_the_mean_is_scipys():
  found = aggregate.interquartile_mean(WORLDS, resamples=20000)

  def pooled(*samples, axis):
    return stats.trim_mean(np.concatenate(samples, axis), 0.25, axis=axis)

  expected = stats.bootstrap(
    WORLDS, pooled, n_resamples=20000, method="percentile"
  ).confidence_interval
  # Two draws of 20,000: their quantiles differ by some thousandths.
  assert found.low == pytest.approx(expected.low, abs=0.006)
  assert found.high == pytest.approx(expected.high, abs=0.006)
  assert found.low < found.value < found.high


def rank_probability(x, y):
  return stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))


def test_probability_of_improvement_is_scipys():
  found = aggregate.probability_of_improvement(
    WORLDS, REFERENCE, resamples=20000
  )
  each = [
    rank_probability(x, y) for x, y in zip(WORLDS, REFERENCE, strict=True)
  ]
  assert found.value == pytest.approx(np.mean(each))

  def mean(*samples, axis):
    worlds = []
    for x, y in zip(samples[:3], samples[3:], strict=True):
      ranks = stats.rankdata(np.concatenate([x, y], axis), axis=axis)
      count, other = x.shape[axis], y.shape[axis]
      won = ranks[..., :count].sum(axis) - count * (count + 1) / 2
      worlds.append(won / (count * other))
    return np.mean(worlds, axis=0)

  expected = stats.bootstrap(
    (*WORLDS, *REFERENCE),
    mean,
    n_resamples=20000,
    method="percentile",
  ).confidence_interval
  assert found.low == pytest.approx(expected.low, abs=0.015)
  assert found.high == pytest.approx(expected.high, abs=0.015)


def test_ties_count_half_and_never_is_last():
  never = -math.inf
  found = aggregate.probability_of_improvement([[3, 1]], [[1, 2]])
  assert found.value == (1 + 1 + 0.5 + 0) / 4
  found = aggregate.probability_of_improvement([[-9, never]], [[never, never]])
  assert found.value == (1 + 1 + 0.5 + 0.5) / 4
  same = aggregate.probability_of_improvement(WORLDS, WORLDS)
  assert same.value == pytest.approx(0.5)


def test_worlds_weigh_alike_in_the_probability():
  found = aggregate.probability_of_improvement([[2] * 9, [0]], [[1], [1]])
  assert found.value == 0.5


def test_seeds_are_drawn_within_their_world():
  # Drawn from all worlds together, these would have an interval.
  flat = [[0.2] * 3, [0.8] * 3]
  found = aggregate.interquartile_mean(flat)
  assert found.low == pytest.approx(0.5) == found.high
  found = aggregate.probability_of_improvement(flat, [[0.1] * 2, [0.9] * 2])
  assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


def test_the_same_seed_gives_the_same_interval():
  found = [
    aggregate.interquartile_mean(WORLDS, seed=seed, resamples=200)
    for seed in (0, 0, 1)
  ]
  assert found[0] == found[1]
  assert found[0].value == found[2].value
  assert found[0][1:] != found[2][1:]
  wide = aggregate.interquartile_mean(WORLDS, confidence=0.99, resamples=200)
  assert wide.low < found[0].low and wide.high > found[0].high


def test_no_interval_without_two_seeds():
  single = [[0.2], [0.4]]
  assert aggregate.interquartile_mean(single)[1:] == (None, None)
  found = aggregate.probability_of_improvement(single, [[0.1], [0.5]])
  assert found == (0.5, None, None)
  assert aggregate.interquartile_mean([[0.2], [0.4, 0.6]]).low is not None


def test_rank_test_of_few_runs():
  # 2 of the 20 ways to share six runs out, and 2 of 252.
  assert aggregate.rank_test([4, 5, 6], [1, 2, 3]) == pytest.approx(0.1)
  found = aggregate.rank_test(range(5), range(5, 10))
  assert found == pytest.approx(2 / 252)
  x, y = [0.3, 0.9, 0.4, 0.8], [0.1, 0.2, 0.5, 0.05, 0.35]
  expected = stats.mannwhitneyu(x, y, method="exact").pvalue
  assert aggregate.rank_test(x, y) == pytest.approx(expected)


def test_rank_test_with_ties_goes_through_all_ways():
  x, y = [1.0, 1.0, 0.9, 1.0], [0.9, 0.2, 0.9]
  pooled = np.asarray(x + y)
  observed = rank_probability(x, y)
  count = below = above = 0
  for chosen in itertools.combinations(range(7), 4):
    rest = np.delete(pooled, chosen)
    found = rank_probability(pooled[list(chosen)], rest)
    count += 1
    below += found <= observed + 1e-9
    above += found >= observed - 1e-9
  expected = min(1, 2 * min(below, above) / count)
  assert 0 < expected < 1
  assert aggregate.rank_test(x, y) == pytest.approx(expected)
  scipys = stats.mannwhitneyu(x, y, method=stats.PermutationMethod()).pvalue
  assert aggregate.rank_test(x, y) == pytest.approx(scipys)


def test_rank_test_of_many_runs_and_of_equal_ones():
  generator = np.random.default_rng(3)
  x, y = generator.normal(0.5, 1, 20), generator.normal(0, 1, 15)
  expected = stats.mannwhitneyu(x, y, method="asymptotic").pvalue
  assert aggregate.rank_test(x, y) == pytest.approx(expected)
  assert aggregate.rank_test([1, 1, 1], [1, 1]) == 1.0
  assert aggregate.rank_test([1], [0]) == 1.0
  assert aggregate.rank_test([math.inf, 1], [math.inf, 1]) == 1.0


@pytest.mark.parametrize(
  "call, words",
  [
    (lambda: aggregate.interquartile_mean([]), "scores must hold"),
    (lambda: aggregate.interquartile_mean([[1], []]), "scores must hold"),
    (lambda: aggregate.interquartile_mean([[math.nan]]), "NaN"),
    (lambda: aggregate.interquartile_mean([[math.inf]]), "finite"),
    (
      lambda: aggregate.probability_of_improvement([[1]], [[1], [2]]),
      "1 worlds and reference of 2",
    ),
    (
      lambda: aggregate.probability_of_improvement([[1]], [[]]),
      "reference must hold",
    ),
    (lambda: aggregate.rank_test([1], [math.nan]), "reference .*NaN"),
  ],
)
def test_bad_scores_are_refused(call, words):
  with pytest.raises(ValueError, match=words):
    call()
