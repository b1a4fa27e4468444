"""Learning curves as a picture."""

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
  "#E69F00",
  "#56B4E9",
  "#000000",
)
_LINES = ("-", "--", "-.", ":")


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
  curves: Mapping[str, Mapping[int, comparison.Curve]],
  path: str | os.PathLike,
  *,
  title: str,
) -> None:
  """Draws success by update: mean over seeds, and a band from least to most.

  Args:
    curves: by estimator, then by seed; the seeds of an estimator share their
      steps.
    path: PNG or SVG file to write.
    title: of the picture.

  Raises:
    ImportError: matplotlib is missing.
  """
  picture = require_matplotlib().Figure(
    figsize=(7.2, 4.2), dpi=120, layout="constrained"
  )
  axes = picture.subplots()
  for index, (name, runs) in enumerate(curves.items()):
    steps = sorted(next(iter(runs.values())))
    values = np.asarray(
      [[run[step] for step in steps] for run in runs.values()]
    )
    colour = _COLOURS[index % len(_COLOURS)]
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
  axes.axhline(0.9, color="0.6", linewidth=0.8)
  axes.set(
    xlabel="updates",
    ylabel="success on the evaluation panel",
    ylim=(0, 1.02),
    title=title,
  )
  axes.set_xlim(left=0)
  axes.grid(alpha=0.25)
  axes.legend(frameon=False, loc="lower right")
  picture.savefig(path)
