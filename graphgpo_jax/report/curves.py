"""Learning curves as a picture."""

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgpo_jax.training import comparison

# Okabe and Ito's palette: told apart by colour-blind readers, too.
_COLOURS = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
)
_LINES = ("-", "--", "-.", ":")
# More bands than this in one plot hide one another.
_MOST_TOGETHER = 4
_PANELS_IN_A_ROW = 4
_REFERENCE_COLOUR = "0.35"


def require_matplotlib() -> Any:
  """The matplotlib.figure module.

  Raises:
    ImportError: it is missing; the message names the command that brings it.
  """
  try:
    from matplotlib import figure
  except ImportError as error:
    raise ImportError(
      "pictures need matplotlib: pip install 'graphgpo-jax[viz]'"
    ) from error
  return figure


def draw_curves(
  curves: comparison.Curves,
  path: str | os.PathLike,
  *,
  title: str,
  reference: str | None = None,
) -> None:
  """Draws success by update.

  Up to four estimators share one plot: mean over seeds, and a band from least
  to most. More get a plot each, from the largest area under the curve to the
  least: every seed thin, their mean thick, and the reference's mean behind.

  Args:
    curves: by estimator, then by seed; the seeds of an estimator share their
      steps.
    path: PNG or SVG file to write.
    title: of the picture.
    reference: estimator to draw behind every other one; the first without it.

  Raises:
    ImportError: matplotlib is missing.
    ValueError: there are no curves, or none of the reference.
  """
  if not curves:
    raise ValueError("there are no curves to draw")
  if reference is None:
    reference = next(iter(curves))
  if reference not in curves:
    raise ValueError(
      f"the reference {reference!r} is none of {', '.join(curves)}"
    )
  figure = require_matplotlib().Figure
  if len(curves) <= _MOST_TOGETHER:
    picture = _draw_together(figure, curves, title)
  else:
    picture = _draw_apart(figure, curves, title, reference)
  picture.savefig(path)


def _draw_together(figure: Any, curves: comparison.Curves, title: str) -> Any:
  picture = figure(figsize=(7.2, 4.2), dpi=120, layout="constrained")
  axes = picture.subplots()
  for index, (name, runs) in enumerate(curves.items()):
    steps, values = _stack(runs)
    colour = _COLOURS[index]
    count = len(runs)
    label = f"{name} ({count} seed{'s' if count > 1 else ''})"
    axes.plot(
      steps,
      values.mean(axis=0),
      _LINES[index % len(_LINES)],
      color=colour,
      linewidth=2,
      label=label,
    )
    axes.fill_between(
      steps,
      values.min(axis=0),
      values.max(axis=0),
      color=colour,
      alpha=0.15,
      linewidth=0,
    )
  _furnish(axes)
  axes.set(
    xlabel="updates", ylabel="success on the evaluation panel", title=title
  )
  axes.legend(frameon=False, loc="lower right")
  return picture


def _draw_apart(
  figure: Any, curves: comparison.Curves, title: str, reference: str
) -> Any:
  areas = {
    name: float(np.mean([comparison.area_under(run) for run in runs.values()]))
    for name, runs in curves.items()
  }
  names = sorted(curves, key=lambda name: areas[name], reverse=True)
  rows = math.ceil(len(names) / _PANELS_IN_A_ROW)
  picture = figure(
    figsize=(2.6 * _PANELS_IN_A_ROW, 2.0 * rows + 0.9),
    dpi=120,
    layout="constrained",
  )
  panels = picture.subplots(
    rows, _PANELS_IN_A_ROW, sharex=True, sharey=True, squeeze=False
  )
  steps_of_reference, values = _stack(curves[reference])
  behind = values.mean(axis=0)
  for name, axes in zip(names, panels.flat, strict=False):
    steps, values = _stack(curves[name])
    own = name == reference
    colour = _REFERENCE_COLOUR if own else _COLOURS[0]
    if not own:
      axes.plot(
        steps_of_reference,
        behind,
        "--",
        color=_REFERENCE_COLOUR,
        linewidth=1.4,
      )
    axes.plot(steps, values.T, color=colour, linewidth=0.7, alpha=0.45)
    axes.plot(steps, values.mean(axis=0), color=colour, linewidth=2)
    _furnish(axes)
    reached = sum(
      comparison.updates_to(run, 0.9) is not None
      for run in curves[name].values()
    )
    axes.set_title(
      f"{name}\narea {areas[name]:.3f}, 90 % in {reached}/{len(values)}",
      fontsize=9,
      fontweight="bold" if own else "normal",
    )
  for axes in list(panels.flat)[len(names) :]:
    axes.set_visible(False)
  # The last panel of a column names the updates, wherever it stands.
  for index in range(max(0, len(names) - _PANELS_IN_A_ROW), len(names)):
    panels.flat[index].tick_params(labelbottom=True)
  picture.suptitle(f"{title} (thin: seeds; thick: mean; dashed: {reference})")
  picture.supxlabel("updates")
  picture.supylabel("success on the evaluation panel")
  return picture


def _stack(
  runs: Mapping[int, comparison.Curve],
) -> tuple[list[int], np.ndarray]:
  """Updates [K] and success [seeds, K]."""
  steps = sorted(next(iter(runs.values())))
  return steps, np.asarray(
    [[run[step] for step in steps] for run in runs.values()]
  )


def _furnish(axes: Any) -> None:
  axes.axhline(0.9, color="0.6", linewidth=0.8)
  axes.set_ylim(0, 1.02)
  axes.set_xlim(left=0)
  axes.grid(alpha=0.25)
