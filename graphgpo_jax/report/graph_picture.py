"""A task's graph as PNG and SVG, for papers: the page's, without the page."""

import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgpo_jax.report import curves

# Orange, grey, blue, as on the page.
_COLOURS = ("#C44E00", "#B0B4BA", "#0062A8")
_ROW_TO_COLUMN = 0.42
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def require_matplotlib() -> Any:
  """The matplotlib.figure module.

  Raises:
    ImportError: it is missing; the message names the command that brings it.
  """
  return curves.require_matplotlib()


def write_pictures(
  data: Mapping[str, Any],
  folder: str | os.PathLike,
  estimators: Sequence[str],
) -> list[pathlib.Path]:
  """Draws the last shown update of every run, the first task with both ends.

  Args:
    data: as `page_data.gather` gives it.
    folder: takes `<run>-update-<number>-<estimator>.png` and `.svg`; made if it
      is missing.
    estimators: a picture of each.

  Returns:
    The files.

  Raises:
    ImportError: matplotlib is missing.
    ValueError: there is no graph.
  """
  if not data["graphs"]:
    raise ValueError("no steps were kept: there is no graph to draw")
  place = pathlib.Path(folder)
  place.mkdir(parents=True, exist_ok=True)
  written = []
  for run in sorted({graph["run"] for graph in data["graphs"]}):
    mine = [graph for graph in data["graphs"] if graph["run"] == run]
    newest = max(graph["update"] for graph in mine)
    tasks = [graph for graph in mine if graph["update"] == newest]
    mixed = [one for one in tasks if len(set(one["rollouts"]["success"])) > 1]
    graph = (mixed or tasks)[0]
    name = _UNSAFE.sub("_", data["runs"][run]["name"])
    for estimator in estimators:
      for kind in ("png", "svg"):
        path = place / f"{name}-update-{newest}-{estimator}.{kind}"
        draw(graph, estimator, path)
        written.append(path)
  return written


def draw(
  graph: Mapping[str, Any], estimator: str, path: str | os.PathLike
) -> None:
  """Draws one graph.

  Args:
    graph: as `graph_payload.graph_payload` gives it.
    estimator: whose advantages colour the edges.
    path: PNG or SVG file to write.

  Raises:
    ImportError: matplotlib is missing.
  """
  figure = require_matplotlib().Figure
  from matplotlib import cm, colors

  x = np.asarray(graph["nodes"]["x"], float)
  y = -np.asarray(graph["nodes"]["y"], float) * _ROW_TO_COLUMN
  size = (
    float(np.clip(1.5 + 0.8 * np.ptp(x), 5, 40)),
    float(np.clip(1.6 + 0.9 * np.ptp(y), 3, 30)),
  )
  picture = figure(figsize=size, dpi=150, layout="constrained")
  axes = picture.subplots()
  value, count = _edge_values(graph, estimator)
  limit = float(np.abs(value).max(initial=0.0)) or 1.0
  shades = colors.LinearSegmentedColormap.from_list("advantage", _COLOURS)
  scale = cm.ScalarMappable(colors.Normalize(-limit, limit), shades)
  _draw_edges(axes, graph, x, y, scale.to_rgba(value), value, count)
  _draw_nodes(axes, graph, x, y)
  for place, (middle, _, distance, time) in enumerate(graph["columns"]):
    last = place == len(graph["columns"]) - 1
    label = f"t {time}" if distance is None else f"{distance:g}"
    axes.annotate(
      "success" if last else label,
      (middle, 0),
      xycoords=("data", "axes fraction"),
      xytext=(0, -4),
      textcoords="offset points",
      ha="center",
      va="top",
      fontsize=7,
    )
  axes.margins(0.04, 0.12)
  axes.set_xticks([])
  axes.set_yticks([])
  axes.spines[:].set_visible(False)
  axes.set_xlabel("distance to success", labelpad=14, fontsize=8)
  bar = picture.colorbar(scale, ax=axes, shrink=0.7, aspect=30)
  bar.set_label(f"advantage by {estimator}", fontsize=8)
  bar.ax.tick_params(labelsize=7)
  picture.savefig(path)


def _edge_values(
  graph: Mapping[str, Any], estimator: str
) -> tuple[np.ndarray, np.ndarray]:
  """Mean advantage and number of steps of each edge."""
  edge = np.asarray(graph["steps"]["edge"])
  number = len(graph["edges"]["source"])
  given = np.asarray(graph["advantage"][estimator], float)
  count = np.bincount(edge, minlength=number)
  return np.bincount(edge, weights=given, minlength=number) / count, count


def _draw_edges(axes, graph, x, y, colours, value, count):
  from matplotlib import patches

  source, target = graph["edges"]["source"], graph["edges"]["target"]
  pairs = set(zip(source, target, strict=True))
  seen: dict[tuple[int, int], int] = {}
  # The strongest last, so that none hides them.
  for edge in np.argsort(np.abs(value), kind="stable").tolist():
    ends = source[edge], target[edge]
    place = seen[ends] = seen.get(ends, -1) + 1
    start, stop = ((x[node], y[node]) for node in ends)
    style = {
      "color": colours[edge],
      "linewidth": min(0.7 + 0.4 * np.log2(count[edge]), 3),
      "linestyle": "-" if value[edge] >= 0 else (0, (3, 1.5)),
      "arrowstyle": "-|>",
      "mutation_scale": 6,
    }
    if ends[0] == ends[1]:
      wide, high = 0.09 + 0.05 * place, 0.32 + 0.16 * place
      loop = (
        (start[0] - 0.03, start[1] + 0.05),
        (start[0] - wide, start[1] + high),
        (start[0] + wide, start[1] + high),
        (start[0] + 0.03, start[1] + 0.06),
      )
      from matplotlib import path as paths

      axes.add_patch(
        patches.FancyArrowPatch(
          path=paths.Path(loop, [1, 4, 4, 4]), fill=False, **style
        )
      )
      axes.update_datalim([(start[0], start[1] + high)])
      continue
    far = not 0.5 <= abs(stop[0] - start[0]) <= 1.5
    bow = 0.22 if (ends[1], ends[0]) in pairs else 0.12 if far else 0.0
    axes.add_patch(
      patches.FancyArrowPatch(
        start,
        stop,
        connectionstyle=f"arc3,rad={bow + 0.18 * place}",
        shrinkA=3.5,
        shrinkB=4,
        **style,
      )
    )


def _draw_nodes(axes, graph, x, y):
  reachable = np.asarray(
    [one is not None for one in graph["nodes"]["distance"]]
  )
  fill = np.where(reachable, "#FFFFFF", "#DADDE1")
  fill[0] = "#00795A"
  axes.scatter(
    x, y, s=34, c=fill.tolist(), edgecolors="#3C434C", linewidths=0.8, zorder=3
  )
