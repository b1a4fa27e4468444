"""Time against steps of every contestant, log-log."""

import os
from typing import Any

from experiments.credit_bench import pipelines
from graphgpo_jax.report import curves

# Okabe and Ito's palette: told apart by colour-blind readers, too.
_COLOURS = (
  "#0072B2",
  "#D55E00",
  "#E69F00",
  "#009E73",
  "#CC79A7",
  "#56B4E9",
  "#000000",
)
_MARKERS = "osD^vPX"


def points(results: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
  """Steps and median seconds by contestant, in the order of the steps.

  Args:
    results: found by the sections; pipelines and linearity are drawn.
  """
  found: dict[str, list[tuple[int, float]]] = {}
  for record in results.get("pipelines", {}).get("sizes", ()):
    for name, seconds in record.get("seconds", {}).items():
      found.setdefault(name, []).append((record["steps"], seconds))
  grown = [
    (record["steps"], record["seconds"])
    for record in results.get("linearity", {}).get("sizes", ())
  ]
  if grown:
    found[f"{pipelines.OURS}, 8 rollouts x 50"] = grown
  return {name: sorted(values) for name, values in found.items()}


def draw(results: dict[str, Any], path: str | os.PathLike) -> None:
  """Draws the picture.

  Args:
    results: as for `points`.
    path: PNG file to write.

  Raises:
    ImportError: matplotlib is missing.
  """
  picture = curves.require_matplotlib().Figure(
    figsize=(7.2, 4.8), dpi=120, layout="constrained"
  )
  axes = picture.subplots()
  for index, (name, values) in enumerate(points(results).items()):
    steps, seconds = zip(*values, strict=True)
    axes.plot(
      steps,
      seconds,
      marker=_MARKERS[index % len(_MARKERS)],
      color=_COLOURS[index % len(_COLOURS)],
      linewidth=2.5 if name.startswith(pipelines.OURS) else 1.5,
      linestyle="--" if "," in name else "-",
      label=name,
    )
  axes.set(
    xscale="log",
    yscale="log",
    xlabel="steps",
    ylabel="seconds, median",
    title="From columns of fresh strings to advantages",
  )
  axes.grid(alpha=0.25, which="both")
  if axes.lines:
    axes.legend(frameon=False)
  picture.savefig(path)
