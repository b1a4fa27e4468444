"""Where the nodes of a graph stand: a column for each distance to SUCCESS."""

import dataclasses
import math

import numpy as np

from graphgpo_jax.report import task_graph

_SWEEPS = 4
# Between what has a way to SUCCESS and what has none, in columns.
_GAP = 1.5
_LEAST_ROWS = 8


@dataclasses.dataclass(frozen=True)
class Column:
  """Nodes at one distance."""

  x: float  # its middle, in columns
  width: float  # 1 for a column that is not folded
  distance: float  # +inf for states without a way to SUCCESS
  time: int | None  # of these, the first step at which they were seen


@dataclasses.dataclass(frozen=True)
class Layout:
  """Places, SUCCESS at the right; x in columns, y in rows, downwards."""

  x: np.ndarray  # float64 [N]
  y: np.ndarray  # float64 [N]
  columns: list[Column]  # from left to right


def place_nodes(graph: task_graph.TaskGraph) -> Layout:
  """Lays a graph out.

  The nearer to SUCCESS, the further right. States without a way there stand
  apart at the left, by the first step at which they were seen. Within a column
  nodes stand near what they are joined with (the barycentre heuristic); a
  column of very many is folded into several side by side.

  Args:
    graph: of a task.

  Returns:
    Layout.

  Reference: Sugiyama, Tagawa and Toda, 1981.
  """
  count = len(graph.distance)
  reachable = np.isfinite(graph.distance)
  groups: list[tuple[float, int | None, np.ndarray]] = [
    (np.inf, int(time), np.flatnonzero(~reachable & (graph.first_time == time)))
    for time in np.unique(graph.first_time[~reachable])
  ]
  states = reachable & (np.arange(count) != task_graph.SUCCESS)
  # As texts tell them apart: costs add up to neighbours in the last digit.
  shown = np.round(np.where(reachable, graph.distance, 0.0), 4)
  groups += [
    (float(far), None, np.flatnonzero(states & (shown == far)))
    for far in np.unique(shown[states])[::-1]
  ]
  groups.append((0.0, None, np.asarray([task_graph.SUCCESS])))
  orders = _order(
    [members for *_, members in groups],
    graph.edge_source,
    graph.edge_target,
    count,
  )
  rows = max(_LEAST_ROWS, math.ceil(math.sqrt(1.5 * count)))
  x, y = np.zeros(count), np.zeros(count)
  columns, left = [], 0.0
  for place, (far, time, _) in enumerate(groups):
    members = orders[place]
    folds = math.ceil(len(members) / rows)
    height = math.ceil(len(members) / folds)
    if place and math.isinf(groups[place - 1][0]) and not math.isinf(far):
      left += _GAP
    for fold in range(folds):
      part = members[fold * height : (fold + 1) * height]
      # Half a row lower, so that ways through a folded column can be seen.
      shift = 0.5 * (fold % 2) if folds > 1 else 0.0
      x[part] = left + 0.6 * fold
      y[part] = np.arange(len(part)) - (len(part) - 1) / 2 + shift
    width = 1 + 0.6 * (folds - 1)
    columns.append(Column(left + (width - 1) / 2, width, far, time))
    left += width
  return Layout(x=x, y=y, columns=columns)


def _order(
  groups: list[np.ndarray],
  source: np.ndarray,
  target: np.ndarray,
  count: int,
) -> list[np.ndarray]:
  """Members of each column from top to bottom."""
  height = np.zeros(count)
  for members in groups:
    height[members] = np.arange(len(members)) - (len(members) - 1) / 2
  apart = source != target
  ends = np.concatenate([source[apart], target[apart]])
  others = np.concatenate([target[apart], source[apart]])
  degree = np.bincount(ends, minlength=count)
  orders = list(groups)
  for sweep in range(_SWEEPS):
    forward = sweep % 2 == 0
    for place in range(len(groups))[:: 1 if forward else -1]:
      members = orders[place]
      if len(members) < 2:
        continue
      total = np.bincount(ends, weights=height[others], minlength=count)
      wanted = np.where(degree, total / np.maximum(degree, 1), height)
      members = members[np.argsort(wanted[members], kind="stable")]
      height[members] = np.arange(len(members)) - (len(members) - 1) / 2
      orders[place] = members
  return orders
