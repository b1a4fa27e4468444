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
    list of steps and a list of values, those that are not finite left out.
  """
  return [
    {
      "name": run.name,
      "group": run.group,
      "estimator": run.estimator,
      "world": run.world,
      "metrics": _metrics(run),
    }
    for run in found
  ]


def _metrics(run: runs.Run) -> dict[str, list[list[float]]]:
  points: dict[str, list[tuple[int, float]]] = {}
  for line in run.metrics:
    for name, value in line.items():
      if name == "step" or name.startswith(_LEFT_OUT):
        continue
      if math.isfinite(value):
        points.setdefault(name, []).append((int(line["step"]), value))
  curves: dict[str, list[list[float]]] = {}
  for name, curve in sorted(points.items()):
    places = selection.spread(range(len(curve)), MOST_POINTS)
    curves[name] = [
      [float(curve[place][0]) for place in places],
      [float(f"{curve[place][1]:.5g}") for place in places],
    ]
  return curves
