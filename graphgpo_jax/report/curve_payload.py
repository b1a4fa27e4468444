"""Metrics of runs in the form that the page holds."""

import math
from collections.abc import Sequence
from typing import Any

from graphgpo_jax.report import runs, selection

# Of a curve; more are not to be told apart on a page.
MOST_POINTS = 400
# Not of training, or always the same.
_LEFT_OUT = ("checkpoint/",)


def runs_payload(found: Sequence[runs.Run]) -> list[dict[str, Any]]:
  """What the page's script draws curves from.

  Args:
    found: the runs.

  Returns:
    A dict for each: name, group, estimator, world, and `metrics`, by name a
    list of steps and a list of values, those that are not finite left out. Of
    a metric with more than MOST_POINTS steps all runs keep the same ones and
    the last one of their own, so that runs of unequal length can be compared.
  """
  curves = [_curves(run) for run in found]
  steps: dict[str, set[int]] = {}
  for of_run in curves:
    for name, curve in of_run.items():
      steps.setdefault(name, set()).update(curve)
  kept = {
    name: set(selection.spread(sorted(every), MOST_POINTS))
    for name, every in steps.items()
  }
  return [
    {
      "name": run.name,
      "group": run.group,
      "estimator": run.estimator,
      "world": run.world,
      "metrics": {
        name: _points(curve, kept[name])
        for name, curve in sorted(of_run.items())
      },
    }
    for run, of_run in zip(found, curves, strict=True)
  ]


def _points(curve: dict[int, float], kept: set[int]) -> list[list[float]]:
  last = max(curve)
  places = [step for step in sorted(curve) if step in kept or step == last]
  return [
    [float(step) for step in places],
    [float(f"{curve[step]:.5g}") for step in places],
  ]


def _curves(run: runs.Run) -> dict[str, dict[int, float]]:
  """Finite values of each metric by step."""
  points: dict[str, dict[int, float]] = {}
  for line in run.metrics:
    for name, value in line.items():
      if name == "step" or name.startswith(_LEFT_OUT):
        continue
      if math.isfinite(value):
        points.setdefault(name, {})[int(line["step"])] = value
  return points
