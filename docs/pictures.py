"""Draws the guides' pictures from what the library computes for tea.py."""

import collections
import pathlib

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import tea
from matplotlib import patches

import graphgpo_jax
from graphgpo_jax.credit import signals

_SUCCESS = "SUCCESS"
# Where states stand: columns by the distance that is computed, rows by hand.
_LOWER = {"cellar", "attic"}
_APART = 2.0
# Orange and purple are told apart by those who do not tell red from green.
_COLOURS = plt.get_cmap("PuOr")
_RADIUS = 0.46


def _edges(credit):
  """Mean of the steps' advantages, and their number, by edge."""
  met = collections.defaultdict(list)
  length = collections.Counter(tea.STEPS["trajectory"])
  for row, advantage in enumerate(credit["advantage"]):
    target = tea.STEPS["next_observation"][row]
    last = tea.STEPS["t"][row] == length[tea.STEPS["trajectory"][row]] - 1
    if last and tea.STEPS["success"][row]:
      target = _SUCCESS
    met[tea.STEPS["observation"][row], target].append(float(advantage))
  return {edge: (np.mean(found), len(found)) for edge, found in met.items()}


def _places(credit):
  """Place of each state, and its distance, that of the unreachable included."""
  distance = dict(
    zip(tea.STEPS["observation"], credit["distance"].tolist(), strict=True)
  )
  farthest = max(distance.values())
  far = {**distance, _SUCCESS: 0.0}
  places = {
    state: (_APART * (farthest - steps), 0.0 if state in _LOWER else _APART)
    for state, steps in far.items()
  }
  return places, distance


def _colour(advantage):
  """Purple above 0, orange below, grey at 0; never as pale as the page."""
  if abs(advantage) < 0.005:
    return "0.6"
  depth = 0.2 + 0.3 * min(abs(advantage) / 1.6, 1.0)
  return _COLOURS(0.5 + depth if advantage > 0 else 0.5 - depth)


def _draw_edge(axes, start, end, advantage, visits, *, both):
  """An arrow and its label; `both` where one goes the other way, too."""
  style = {
    "arrowstyle": "-|>",
    "mutation_scale": 13,
    "color": _colour(advantage),
    "linewidth": 0.8 + visits,
  }
  if (start == end).all():
    below = start - (0, _RADIUS)
    arrow = patches.FancyArrowPatch(
      below - (0.2, -0.04),
      below + (0.2, 0.04),
      connectionstyle="arc3,rad=1.5",
      **style,
    )
    label = below - (0, 0.55)
  else:
    bend = 0.25 if both else 0.0
    arrow = patches.FancyArrowPatch(
      start,
      end,
      connectionstyle=f"arc3,rad={bend}",
      shrinkA=23,
      shrinkB=23,
      **style,
    )
    along = end - start
    # To the side that the arrow bends to; above a straight one.
    aside = np.array([along[1], -along[0]])
    side = aside * (bend / 2) + aside / np.hypot(*aside) * 0.2
    label = (start + end) / 2 + (side if both else (-0.1, 0.28))
  axes.add_patch(arrow)
  axes.text(
    *label,
    f"{advantage:+.2f}",
    ha="center",
    va="center",
    fontsize=8.5,
    bbox={"boxstyle": "round,pad=0.08", "fc": "white", "ec": "none"},
  )


def _draw_graph(axes, credit, title):
  places, distance = _places(credit)
  edges = _edges(credit)
  for (source, target), (advantage, visits) in edges.items():
    start, end = np.array(places[source]), np.array(places[target])
    both = (target, source) in edges
    _draw_edge(axes, start, end, advantage, visits, both=both)
  for state, (x, y) in places.items():
    axes.add_patch(
      patches.Circle((x, y), _RADIUS, fc="white", ec="0.25", lw=1.2, zorder=3)
    )
    far = distance.get(state, 0.0)
    axes.text(
      x,
      y,
      state if state == _SUCCESS else f"{state}\n{far:g}",
      ha="center",
      va="center",
      fontsize=7 if state == _SUCCESS else 8.5,
      zorder=4,
    )
  axes.set_title(title, fontsize=10, loc="left")
  axes.set_xlim(-0.7, 12.7)
  axes.set_ylim(-1.3, 2.7)
  axes.set_aspect("equal")
  axes.axis("off")


def _save(figure, path):
  figure.savefig(
    path, facecolor="white", bbox_inches="tight", metadata={"Date": None}
  )
  plt.close(figure)


def _draw_graphs(folder):
  shown = {
    "graph": {"graphgpo": {"omega": 0.5, "episode_weight": 0.0}},
    "rules": {
      "grpo": {},
      "gigpo": {"episode_weight": 0.0},
      "graphgpo": {"omega": 0.5, "episode_weight": 0.0},
    },
  }
  # Where states stand is graphgpo's in all panels.
  for name, rules in shown.items():
    figure, axes = plt.subplots(
      len(rules), 1, figsize=(9.0, 2.9 * len(rules)), squeeze=False
    )
    for axis, (rule, options) in zip(axes[:, 0], rules.items(), strict=True):
      credit = graphgpo_jax.assign_credit(tea.STEPS, rule, **options)
      _draw_graph(axis, credit, rule)
    _save(figure, folder / f"{name}.svg")


def _draw_signal(folder):
  figure, axes = plt.subplots(figsize=(5.6, 3.0))
  far = np.arange(0.0, 13.0, dtype=np.float32)
  for omega, style in ((0.8, "-"), (0.5, "--"), (0.1, ":")):
    value = signals.graph_return(far + 1, far, np.ones_like(far), omega=omega)
    axes.semilogy(far, value, style, color="0.1", label=f"omega = {omega}")
  axes.axhline(1e-6, color=_COLOURS(0.1), linewidth=1)
  axes.text(0, 1.6e-6, "epsilon", color=_COLOURS(0.1), fontsize=8.5)
  axes.set_xlabel("distance of the step's target to success")
  axes.set_ylabel("graph return")
  axes.legend(frameon=False)
  _save(figure, folder / "signal.svg")


def draw(folder: pathlib.Path) -> None:
  """Writes graph.svg, rules.svg and signal.svg.

  Args:
    folder: of the pictures; made where it is not there.
  """
  folder.mkdir(parents=True, exist_ok=True)
  # Letters as outlines, so that every browser shows the same.
  with plt.rc_context({"svg.hashsalt": "tea", "svg.fonttype": "path"}):
    _draw_graphs(folder)
    _draw_signal(folder)


if __name__ == "__main__":
  draw(pathlib.Path(__file__).parent / "_made")
