"""A task's graph in the form that the page holds."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgpo_jax.report import graph_layout, task_graph

# An advantage on the page: as many digits as one reads off a picture.
_DIGITS = 4


class TextPool:
  """Texts of the page, each once; others name them by their number.

  Attributes:
    texts: all of them.
  """

  def __init__(self) -> None:
    """Starts empty."""
    self.texts: list[str] = []
    self._numbers: dict[str, int] = {}

  def number(self, text: str) -> int:
    """Number of a text."""
    place = self._numbers.setdefault(text, len(self.texts))
    if place == len(self.texts):
      self.texts.append(text)
    return place


def graph_payload(
  graph: task_graph.TaskGraph,
  layout: graph_layout.Layout,
  advantage: Mapping[str, np.ndarray],
  pool: TextPool,
) -> dict[str, Any]:
  """What the page's script draws a task from.

  Args:
    graph: of the task.
    layout: where its nodes stand.
    advantage: float32 [n] by estimator.
    pool: takes the texts.

  Returns:
    JSON values: `nodes`, `edges`, `steps` and `rollouts` as columns, `columns`
    of the layout, `advantage` by estimator.
  """
  first_step = np.unique(graph.edge, return_index=True)[1]
  return {
    "nodes": {
      "x": _numbers(layout.x, 3),
      "y": _numbers(layout.y, 2),
      # JSON has no infinity: null is "no way to success was seen".
      "distance": _numbers(graph.distance, 4),
      "text": [pool.number(text) for text in graph.node_text],
    },
    "edges": {
      "source": graph.edge_source.tolist(),
      "target": graph.edge_target.tolist(),
      "action": [pool.number(graph.action_text[step]) for step in first_step],
    },
    "steps": {
      "edge": graph.edge.tolist(),
      "rollout": graph.rollout.tolist(),
      "cost": _numbers(graph.cost, 4),
      "valid": graph.action_valid.astype(int).tolist(),
      "said": [pool.number(text) for text in graph.said],
    },
    "rollouts": {
      "name": graph.trajectory,
      "success": graph.success[graph.last].astype(int).tolist(),
    },
    "columns": [
      [
        round(one.x, 3),
        round(one.width, 3),
        None if math.isinf(one.distance) else one.distance,
        one.time,
      ]
      for one in layout.columns
    ],
    "advantage": {
      name: _numbers(values, _DIGITS) for name, values in advantage.items()
    },
  }


def _numbers(values: np.ndarray, digits: int) -> list[float | int | None]:
  """Rounded, whole ones without a point, None where they are not finite."""
  rounded = np.round(np.asarray(values, np.float64), digits)
  return [
    None if not math.isfinite(one) else int(one) if one == int(one) else one
    for one in rounded.tolist()
  ]
