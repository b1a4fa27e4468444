"""A handful of runs summed up robustly, after arXiv 2108.13264.

Scores come as strata: a sequence of worlds, each the scores of its seeds, one
number a run. Higher is better; for a number that should be low, pass its
negative.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

Strata = Sequence[Sequence[float]]

# A share cut off at either end leaves the quarters in the middle.
_QUARTER = 0.25
# Ways to share out the runs up to which the rank test goes through all.
_MOST_PARTITIONS = 9999


class Estimate(NamedTuple):
  """A number and its interval.

  Attributes:
    value: the statistic of the runs there are.
    low: lower end of the interval, None where it has none.
    high: upper end of the interval, None where it has none.
  """

  value: float
  low: float | None
  high: float | None


def interquartile_mean(
  strata: Strata,
  *,
  resamples: int = 2000,
  confidence: float = 0.95,
  seed: int = 0,
) -> Estimate:
  """Mean of the middle half of all runs, with a stratified bootstrap interval.

  Of n runs, worlds pooled, floor(n / 4) are cut off at either end: with three
  runs none, so that it is their mean; with five, one at either end. Worlds
  with more seeds than others weigh more.

  The interval is the percentile bootstrap's: seeds are drawn anew with
  replacement within each world. It is too narrow for few seeds: of one world
  with normal scores it held the true value in 75 % of 1,000 trials with three
  seeds, 89 % with five and 94 % with ten.

  Args:
    strata: scores by world and seed, finite.
    resamples: bootstrap draws.
    confidence: share of the draws that the interval holds.
    seed: of the draws.

  Returns:
    The mean; without an interval where no world has two seeds.

  Raises:
    ValueError: there is no score, or one is not finite.

  Reference: arXiv 2108.13264.
  """
  samples = _samples("scores", strata)
  if not all(np.isfinite(sample).all() for sample in samples):
    raise ValueError(f"scores must be finite, got {list(map(list, strata))}")

  def statistic(drawn: Sequence[np.ndarray]) -> np.ndarray:
    pooled = np.concatenate(drawn, axis=-1)
    return np.asarray(stats.trim_mean(pooled, _QUARTER, axis=-1))

  return _bootstrap(
    statistic, samples, resamples=resamples, confidence=confidence, seed=seed
  )


def probability_of_improvement(
  strata: Strata,
  reference: Strata,
  *,
  resamples: int = 2000,
  confidence: float = 0.95,
  seed: int = 0,
) -> Estimate:
  """Chance that a run beats one of the reference in the same world.

  P = mean over worlds of mean over pairs of 1{x > y} + 1{x = y} / 2

  An interval that is a point, [1, 1], says that every run beat every run of
  the reference, and no more: the bootstrap cannot draw what it has not seen.

  Args:
    strata: scores by world and seed; may be infinite.
    reference: the reference's scores in the same worlds, in the same order;
      its seeds are drawn independently, and may be more or fewer.
    resamples: bootstrap draws.
    confidence: share of the draws that the interval holds.
    seed: of the draws.

  Returns:
    The probability; without an interval where no world has two seeds.

  Raises:
    ValueError: there is no score, or one is NaN, or the worlds differ in
      number.

  Reference: arXiv 2108.13264.
  """
  ours = _samples("scores", strata)
  theirs = _samples("reference", reference)
  if len(ours) != len(theirs):
    raise ValueError(
      f"scores are of {len(ours)} worlds and reference of {len(theirs)}"
    )

  def statistic(drawn: Sequence[np.ndarray]) -> np.ndarray:
    worlds = [
      _pairwise(x, y)
      for x, y in zip(drawn[: len(ours)], drawn[len(ours) :], strict=True)
    ]
    return np.mean(worlds, axis=0)

  return _bootstrap(
    statistic,
    ours + theirs,
    resamples=resamples,
    confidence=confidence,
    seed=seed,
  )


def rank_test(scores: Sequence[float], reference: Sequence[float]) -> float:
  """Two-sided p-value of Mann and Whitney's rank test in one world.

  All ways to share out the runs are gone through where they are few (up to
  seven runs against seven), so that ties and few runs are treated exactly:
  three against three never give less than 0.1. Otherwise the normal
  approximation with its correction for ties.

  Args:
    scores: one number a run.
    reference: the same of the reference.

  Returns:
    p, from 0 to 1; 1 where all scores are equal.

  Raises:
    ValueError: there is no score, or one is NaN.
  """
  (ours,) = _samples("scores", [scores])
  (theirs,) = _samples("reference", [reference])
  pooled = np.concatenate([ours, theirs])
  if np.unique(pooled).size == 1:
    return 1.0
  if math.comb(pooled.size, ours.size) > _MOST_PARTITIONS:
    found = stats.mannwhitneyu(ours, theirs, method="asymptotic")
    return float(found.pvalue)
  # Twice the rank, so that sums of tied ranks are exact integers.
  ranks = np.rint(2 * stats.rankdata(pooled)).astype(int)
  ways = itertools.combinations(range(pooled.size), ours.size)
  sums = ranks[np.asarray(list(ways))].sum(axis=1)
  observed = ranks[: ours.size].sum()
  tail = min(np.mean(sums <= observed), np.mean(sums >= observed))
  return min(1.0, 2 * float(tail))


def _samples(name: str, strata: Strata) -> list[np.ndarray]:
  samples = [np.asarray(stratum, float) for stratum in strata]
  if not samples or any(sample.size == 0 for sample in samples):
    raise ValueError(f"{name} must hold at least one run of every world")
  if any(np.isnan(sample).any() for sample in samples):
    raise ValueError(f"{name} must be numbers, got NaN")
  return samples


def _pairwise(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Share of pairs of [..., n] and [..., m] that x wins, ties half: [...]."""
  won = x[..., :, None] > y[..., None, :]
  tied = x[..., :, None] == y[..., None, :]
  return np.mean(won + 0.5 * tied, axis=(-2, -1))


def _bootstrap(
  statistic: Callable[[Sequence[np.ndarray]], np.ndarray],
  samples: Sequence[np.ndarray],
  *,
  resamples: int,
  confidence: float,
  seed: int,
) -> Estimate:
  value = float(statistic(samples))
  if all(sample.size < 2 for sample in samples):
    return Estimate(value, None, None)
  generator = np.random.default_rng(seed)
  drawn = [
    sample[generator.integers(sample.size, size=(resamples, sample.size))]
    for sample in samples
  ]
  tail = (1 - confidence) / 2
  low, high = np.quantile(statistic(drawn), [tail, 1 - tail])
  return Estimate(value, float(low), float(high))
