"""Stress reports as Markdown tables and as a picture (extra [viz])."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from graphgpo_jax.report import curves, markdown

# A row of results: estimator, reference, kind, value, label, and the numbers.
Result = Mapping[str, Any]

NUMBERS = {
  "pearson": "Pearson correlation over steps",
  "spearman": "Spearman correlation over steps",
  "sign_flips": "Share of opposite signs among steps nonzero on both sides",
  "silenced": "Share of zeros among steps with a nonzero reference",
}
_AXES = {
  "hidden": "share of steps hidden",
  "aliased": "share of states aliased",
  "split": "share of states split",
  "group_size": "rollouts in a group",
}
_SHORT = {
  "pearson": "Pearson",
  "spearman": "Spearman",
  "sign_flips": "sign flips",
  "silenced": "zeros",
}


def tables(results: Sequence[Result]) -> str:
  """A Markdown table for each number and reference, an estimator a row.

  Args:
    results: dicts with estimator, reference, label and `NUMBERS`; None where a
      number is undefined.

  Returns:
    Headings and tables, without a line break at the end.
  """
  parts = []
  for number, heading in NUMBERS.items():
    for reference in _distinct(results, "reference"):
      rows = [row for row in results if row["reference"] == reference]
      labels = _distinct(rows, "label")
      cells = [["estimator", *labels]]
      for name in _distinct(rows, "estimator"):
        found = {
          row["label"]: row[number] for row in rows if row["estimator"] == name
        }
        cells.append([name, *(_cell(found.get(label)) for label in labels)])
      parts += [f"## {heading}, reference {reference}", markdown.table(cells)]
  return "\n\n".join(parts)


def draw_stress(
  results: Sequence[Result],
  path: str | os.PathLike,
  *,
  shown: Sequence[tuple[str, str]],
  group_size: int,
  title: str,
) -> None:
  """Draws agreement by the strength of each perturbation.

  A column for each kind of perturbation, a row for each number, a line per
  estimator. Every line starts at the groups as they are.

  Args:
    results: as for `tables`, with kind and value.
    path: PNG or SVG file to write.
    shown: reference and number of each row, from the top.
    group_size: rollouts of an unperturbed group.
    title: of the picture.

  Raises:
    ImportError: matplotlib is missing.
    ValueError: no result has one of the references.
  """
  for reference, _ in shown:
    if all(row["reference"] != reference for row in results):
      raise ValueError(f"no result has the reference {reference!r}")
  figure = curves.require_matplotlib()
  kinds = [kind for kind in _AXES if kind in _distinct(results, "kind")]
  kinds = kinds or ["hidden"]
  picture = figure.Figure(
    figsize=(3.2 * len(kinds) + 2.2, 3.2 * len(shown)),
    dpi=110,
    layout="constrained",
  )
  panels = picture.subplots(len(shown), len(kinds), sharey="row", squeeze=False)
  names = _distinct(results, "estimator")
  colours = _colours(len(names))
  for column, kind in enumerate(kinds):
    for line, (reference, number) in enumerate(shown):
      axes = panels[line][column]
      rows = [row for row in results if row["reference"] == reference]
      for index, name in enumerate(names):
        points = _points(rows, name, kind, number, group_size)
        axes.plot(
          [value for value, _ in points],
          [height for _, height in points],
          marker="osv^D"[index % 5],
          linestyle=("-", "--", "-.", ":")[index % 4],
          markersize=4,
          linewidth=1.4,
          color=colours[index],
          label=name,
        )
      axes.grid(alpha=0.25)
      if kind == "group_size":
        axes.set_xscale("log", base=2)
        sizes = sorted(
          {group_size, *(row["value"] for row in rows if row["kind"] == kind)}
        )
        axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
        axes.invert_xaxis()
      if line == len(shown) - 1:
        axes.set_xlabel(_AXES[kind])
  for line, (reference, number) in enumerate(shown):
    panels[line][0].set_ylabel(f"{_SHORT[number]}, {reference}")
  picture.legend(
    *panels[0][0].get_legend_handles_labels(),
    loc="outside right center",
    frameon=False,
    fontsize="small",
  )
  picture.suptitle(title)
  picture.savefig(path)


def _points(rows, name, kind, number, group_size):
  """(strength, height) of one line, ascending; undefined ones left out."""
  points = {}
  for row in rows:
    if row["estimator"] != name or row[number] is None:
      continue
    if row["kind"] == "none":
      points[group_size if kind == "group_size" else 0.0] = row[number]
    elif row["kind"] == kind:
      points[row["value"]] = row[number]
  return sorted(points.items())


def _colours(number):
  """So many colours that are told apart."""
  from matplotlib import colormaps

  palette = colormaps["tab10" if number <= 10 else "tab20"]
  return [palette(index % palette.N) for index in range(number)]


def _distinct(rows: Sequence[Result], key: str) -> list[Any]:
  return list(dict.fromkeys(row[key] for row in rows))


def _cell(value: float | None) -> str:
  return "-" if value is None else f"{value:.3f}"
