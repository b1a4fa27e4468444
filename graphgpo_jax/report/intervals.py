"""Estimates with their intervals as a picture: worlds across, rules down."""

import math
import os
from collections.abc import Mapping

from graphgpo_jax.report import curves
from graphgpo_jax.training import aggregate

_COLUMNS_IN_A_ROW = 5


def draw_intervals(
  columns: Mapping[str, Mapping[str, aggregate.Estimate]],
  path: str | os.PathLike,
  *,
  title: str,
  reference: str,
) -> None:
  """Draws a plot a column, an estimator a line: a point on its interval.

  A vertical line marks the reference's point. Each plot has a scale of its
  own. Estimators stand in the order of the first column, best first; those
  that it lacks below.

  Args:
    columns: by world, then by estimator; a world may lack estimators.
    path: PNG or SVG file to write.
    title: of the picture.
    reference: estimator whose point is marked.

  Raises:
    ImportError: matplotlib is missing.
    ValueError: there is nothing to draw.
  """
  if not any(columns.values()):
    raise ValueError("there are no estimates to draw")
  first = next(iter(columns.values()))
  ordered = sorted(first, key=lambda name: first[name].value, reverse=True)
  names = list(
    dict.fromkeys(
      ordered + [name for column in columns.values() for name in column]
    )
  )
  across = min(len(columns), _COLUMNS_IN_A_ROW)
  down = math.ceil(len(columns) / across)
  picture = curves.require_matplotlib().Figure(
    figsize=(1.6 + 2.0 * across, 0.9 + down * (0.8 + 0.22 * len(names))),
    dpi=120,
    layout="constrained",
  )
  panels = picture.subplots(down, across, sharey=True, squeeze=False)
  for (world, column), axes in zip(columns.items(), panels.flat, strict=False):
    if reference in column:
      axes.axvline(column[reference].value, color="0.7", linewidth=1)
    for name, number in column.items():
      height = len(names) - 1 - names.index(name)
      colour = "0.35" if name == reference else "#0072B2"
      if number.low is not None:
        axes.plot(
          [number.low, number.high],
          [height, height],
          color=colour,
          linewidth=5,
          alpha=0.35,
          solid_capstyle="butt",
        )
      axes.plot(number.value, height, "o", color=colour, markersize=4)
    axes.set_title(world, fontsize=9)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_yticks(range(len(names)), reversed(names))
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="both", alpha=0.25)
  for axes in list(panels.flat)[len(columns) :]:
    axes.set_visible(False)
  picture.suptitle(title, fontsize=10)
  picture.savefig(path)
