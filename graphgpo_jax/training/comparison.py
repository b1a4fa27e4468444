"""Many runs against each other: curves in, what they say out.

The tables that show it are in report/comparison_tables.py.
"""

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from graphgpo_jax.training import aggregate, metrics

# Success by update, as metrics.jsonl has it: {updates done: success}.
Curve = Mapping[int, float]
# Curves of a world: by estimator, then by seed.
Curves = Mapping[str, Mapping[int, Curve]]

LEVELS = (50, 90)


def read_curve(path: str | os.PathLike, *, num_updates: int) -> Curve | None:
  """Reads success by update of a run that came to its end.

  Args:
    path: its `metrics.jsonl`.
    num_updates: updates of a whole run.

  Returns:
    The curve; None if the file is missing, was cut off, or ends earlier.
  """
  try:
    lines = metrics.read_metrics(path)
  except (FileNotFoundError, ValueError):
    # A killed run may leave half a line.
    return None
  curve = {
    int(line["step"]): line["eval/success"]
    for line in lines
    if "eval/success" in line
  }
  return curve if num_updates in curve else None


def updates_to(curve: Curve, level: float) -> int | None:
  """Updates done when success on the panel first reached `level`, or None."""
  for step in sorted(curve):
    if curve[step] >= level:
      return step
  return None


def area_under(curve: Curve) -> float:
  """Mean height of the curve, by trapezoids over the updates: 0 to 1."""
  steps = np.asarray(sorted(curve), float)
  values = np.asarray([curve[step] for step in sorted(curve)])
  if len(steps) < 2:
    return float(values.mean())
  return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def mean_and_interval(values: Sequence[float]) -> tuple[float, float | None]:
  """Mean and half the width of its 95 % interval, by Student's t.

  Args:
    values: one number per seed.

  Returns:
    The mean, and the half-width: None for a single value.
  """
  numbers = np.asarray(values, float)
  if len(numbers) < 2:
    return float(numbers.mean()), None
  error = numbers.std(ddof=1) / np.sqrt(len(numbers))
  quantile = stats.t.ppf(0.975, len(numbers) - 1)
  return float(numbers.mean()), float(quantile * error)


def summarise(
  curves: Curves,
  *,
  checkpoints: Sequence[int],
  reference: str | None = None,
  seed: int = 0,
) -> dict[str, dict]:
  """What the curves of each estimator say.

  A run that never reaches a level counts in means as the number of updates it
  had, so these are lower bounds; `reached_*` tells how many did reach it. In
  the probability of improvement it comes after every run that did.

  Args:
    curves: by estimator, then by seed.
    checkpoints: updates at which success is read off.
    reference: estimator that the others are compared with; None for none.
    seed: of the bootstrap.

  Returns:
    By estimator: `success` (by checkpoint), `updates_to_50`, `updates_to_90`,
    `area` (each mean and half-width of the 95 % interval over seeds);
    `iqm_final`, `iqm_area`, `iqm_updates_to_50`, `iqm_updates_to_90` (each an
    aggregate.Estimate); `reached_50`, `reached_90`, `seeds`; per seed
    `each_area`, `each_final`, `each_updates_to_50` and `each_updates_to_90`
    (None where never); and `against`, see `compare`, which is None for the
    reference itself and without one.

  Raises:
    ValueError: an estimator has no run, or the reference is not among them.
  """
  if reference is not None and reference not in curves:
    raise ValueError(
      f"the reference {reference!r} is none of {', '.join(curves)}"
    )
  summary = {
    name: _of_runs(name, runs, checkpoints, seed)
    for name, runs in curves.items()
  }
  for name, entry in summary.items():
    entry["against"] = None
    if reference is not None and name != reference:
      entry["against"] = compare(entry, summary[reference], seed=seed)
  return summary


def compare(entry: Mapping, reference: Mapping, *, seed: int = 0) -> dict:
  """An estimator's entry of `summarise` against the reference's.

  Args:
    entry: `each_area` and `each_updates_to_90` are read.
    reference: the reference's.
    seed: of the bootstrap.

  Returns:
    `area` and `updates_to_90`: probability of improvement of a run over one of
    the reference, an aggregate.Estimate; `p_area`: p-value of the rank test;
    `ratio_updates_to_90`: mean updates to 90 % divided by the reference's, None
    where the reference needs none.
  """
  name = "each_updates_to_90"
  return {
    "area": aggregate.probability_of_improvement(
      [entry["each_area"]], [reference["each_area"]], seed=seed
    ),
    "updates_to_90": aggregate.probability_of_improvement(
      [_speeds(entry[name])], [_speeds(reference[name])], seed=seed
    ),
    "p_area": aggregate.rank_test(entry["each_area"], reference["each_area"]),
    "ratio_updates_to_90": (
      # Where success starts over 90 % there is nothing to be faster than.
      entry["updates_to_90"][0] / reference["updates_to_90"][0]
      if reference["updates_to_90"][0] > 0
      else None
    ),
  }


def over_worlds(
  worlds: Mapping[str, Curves], *, reference: str, seed: int = 0
) -> dict[str, dict]:
  """What the curves of each estimator say over worlds.

  An estimator is compared with the reference over the worlds where both have
  runs, whatever worlds other estimators have.

  Args:
    worlds: by world, then by estimator, then by seed.
    reference: estimator that the others are compared with.
    seed: of the bootstrap.

  Returns:
    By estimator, from the largest `area` to the least: `worlds` (names),
    `runs`, `reached_90` (of these runs), `area` and `final` (interquartile
    means over worlds and seeds), `reference_area` (the reference's over the
    same worlds), `improvement` (probability of a larger area than the
    reference in the same world; None for the reference itself).
  """
  names = dict.fromkeys(name for curves in worlds.values() for name in curves)
  found: dict[str, dict] = {}
  for name in names:
    shared = [
      world
      for world, curves in worlds.items()
      if curves.get(name) and curves.get(reference)
    ]
    if not shared:
      continue
    runs = [list(worlds[world][name].values()) for world in shared]
    areas = [[area_under(curve) for curve in world] for world in runs]
    base = [
      [area_under(curve) for curve in worlds[world][reference].values()]
      for world in shared
    ]
    found[name] = {
      "worlds": shared,
      "runs": sum(map(len, runs)),
      "reached_90": sum(
        updates_to(curve, 0.9) is not None for world in runs for curve in world
      ),
      "area": aggregate.interquartile_mean(areas, seed=seed),
      "final": aggregate.interquartile_mean(
        [[curve[max(curve)] for curve in world] for world in runs], seed=seed
      ),
      "reference_area": aggregate.interquartile_mean(base, seed=seed),
      "improvement": (
        None
        if name == reference
        else aggregate.probability_of_improvement(areas, base, seed=seed)
      ),
    }
  return dict(
    sorted(found.items(), key=lambda item: item[1]["area"].value, reverse=True)
  )


def _of_runs(
  name: str,
  runs: Mapping[int, Curve],
  checkpoints: Sequence[int],
  seed: int,
) -> dict:
  """An estimator's entry of `summarise`, but for `against`."""
  if not runs:
    raise ValueError(f"no run of {name}")
  entry: dict = {"seeds": sorted(runs)}
  ordered = [runs[number] for number in entry["seeds"]]
  entry["success"] = {
    step: mean_and_interval([curve[step] for curve in ordered])
    for step in checkpoints
    if all(step in curve for curve in ordered)
  }
  for percent in LEVELS:
    hits = [updates_to(curve, percent / 100) for curve in ordered]
    bounded = [
      max(curve) if hit is None else hit
      for hit, curve in zip(hits, ordered, strict=True)
    ]
    entry[f"each_updates_to_{percent}"] = hits
    entry[f"reached_{percent}"] = sum(hit is not None for hit in hits)
    entry[f"updates_to_{percent}"] = mean_and_interval(bounded)
    entry[f"iqm_updates_to_{percent}"] = aggregate.interquartile_mean(
      [bounded], seed=seed
    )
  entry["each_area"] = [area_under(curve) for curve in ordered]
  entry["each_final"] = [curve[max(curve)] for curve in ordered]
  entry["area"] = mean_and_interval(entry["each_area"])
  for measure in ("area", "final"):
    entry[f"iqm_{measure}"] = aggregate.interquartile_mean(
      [entry[f"each_{measure}"]], seed=seed
    )
  return entry


def _speeds(hits: Sequence[int | None]) -> list[float]:
  """Updates as scores where higher is better, never being the worst."""
  return [-math.inf if hit is None else -float(hit) for hit in hits]
