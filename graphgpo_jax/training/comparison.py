"""Many runs against each other: curves in, a table of what they say out."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

# Success by update, as metrics.jsonl has it: {updates done: success}.
Curve = Mapping[int, float]


def updates_to(curve: Curve, level: float) -> int | None:
  """Updates done when success on the panel first reached `level`, or None."""
  for step in sorted(curve):
    if curve[step] >= level:
      return step
  return None


def area_under(curve: Curve) -> float:
  """Mean height of the curve, by trapezoids over the updates."""
  steps = np.asarray(sorted(curve), float)
  values = np.asarray([curve[int(step)] for step in steps])
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
  curves: Mapping[str, Mapping[int, Curve]], *, checkpoints: Sequence[int]
) -> dict[str, dict]:
  """What the curves of each estimator say.

  A run that never reaches a level counts as the number of updates it had, so
  the mean is a lower bound; `reached_*` tells how many did reach it.

  Args:
    curves: by estimator, then by seed.
    checkpoints: updates at which success is read off.

  Returns:
    By estimator: `success` (by checkpoint), `updates_to_50`, `updates_to_90`,
    `area` (each mean and half-width of the 95 % interval over seeds),
    `reached_50`, `reached_90`, `seeds`, and per seed `each_updates_to_50`
    and `each_updates_to_90` (None where never).

  Raises:
    ValueError: an estimator has no run.
  """
  summary = {}
  for name, runs in curves.items():
    if not runs:
      raise ValueError(f"no run of {name}")
    entry: dict = {"seeds": sorted(runs)}
    ordered = [runs[seed] for seed in sorted(runs)]
    entry["success"] = {
      step: mean_and_interval([curve[step] for curve in ordered])
      for step in checkpoints
      if all(step in curve for curve in ordered)
    }
    for percent in (50, 90):
      hits = [updates_to(curve, percent / 100) for curve in ordered]
      bounded = [
        max(curve) if hit is None else hit
        for hit, curve in zip(hits, ordered, strict=True)
      ]
      entry[f"each_updates_to_{percent}"] = hits
      entry[f"reached_{percent}"] = sum(hit is not None for hit in hits)
      entry[f"updates_to_{percent}"] = mean_and_interval(bounded)
    entry["area"] = mean_and_interval([area_under(curve) for curve in ordered])
    summary[name] = entry
  return summary


def table(summary: Mapping[str, Mapping]) -> str:
  """The summary as a Markdown table, an estimator a row."""
  checkpoints = list(next(iter(summary.values()))["success"])
  header = (
    ["estimator", "seeds"]
    + [f"success at {step}" for step in checkpoints]
    + ["updates to 50 %", "updates to 90 %", "area under curve"]
  )
  rows = [header, ["---"] * len(header)]
  for name, entry in summary.items():
    count = len(entry["seeds"])
    row = [name, str(count)]
    row += [_spread(entry["success"][step], 2) for step in checkpoints]
    for percent in (50, 90):
      missed = count - entry[f"reached_{percent}"]
      text = _spread(entry[f"updates_to_{percent}"], 1)
      row.append(f">= {text} ({missed} never)" if missed else text)
    row.append(_spread(entry["area"], 3))
    rows.append(row)
  widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
  lines = []
  for row in rows:
    cells = [
      "-" * width if cell == "---" else cell.ljust(width)
      for cell, width in zip(row, widths, strict=True)
    ]
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def _spread(pair: tuple[float, float | None], digits: int) -> str:
  mean, half = pair
  if half is None:
    return f"{mean:.{digits}f}"
  return f"{mean:.{digits}f} ± {half:.{digits}f}"
