"""The tables of a comparison: means by update, and robust numbers."""

from collections.abc import Mapping

from graphgpo_jax.report import markdown
from graphgpo_jax.training import comparison

LEGEND = (
  "The first table has means and half their 95 % t interval over seeds, the "
  "second interquartile means (of n runs floor(n/4) cut off at either end) "
  "with 95 % bootstrap intervals, which are too narrow for few seeds. A run "
  "that never reaches a level counts as the last update: such means are lower "
  'bounds, marked ">=", and the number of these runs stands in brackets.'
)
LEGEND_AGAINST = (
  " P is the chance that a run beats one of the reference, ties half, never "
  "being later than any update; p is the two-sided p-value of the rank test on "
  "the areas."
)


def tables(summary: Mapping[str, Mapping], *, reference: str | None) -> str:
  """Both tables and what their columns mean, as Markdown."""
  legend = LEGEND + ("" if reference is None else LEGEND_AGAINST)
  second = robust(summary, reference=reference)
  return f"{means(summary)}\n\n{second}\n\n{legend}"


def means(summary: Mapping[str, Mapping]) -> str:
  """Means over seeds as a Markdown table, an estimator a row.

  Args:
    summary: of `comparison.summarise`.
  """
  # An estimator that lacks a checkpoint leaves its cell empty.
  checkpoints = sorted(
    {s for entry in summary.values() for s in entry["success"]}
  )
  rows = [
    ["estimator", "seeds"]
    + [f"success at {step}" for step in checkpoints]
    + ["updates to 50 %", "updates to 90 %", "area under curve"]
  ]
  for name, entry in summary.items():
    success = entry["success"]
    rows.append(
      [name, str(len(entry["seeds"]))]
      + [
        markdown.spread(success[step], 2) if step in success else ""
        for step in checkpoints
      ]
      + [
        _censored(
          markdown.spread(entry[f"updates_to_{percent}"], 1),
          missed=missed(entry, percent),
        )
        for percent in comparison.LEVELS
      ]
      + [markdown.spread(entry["area"], 3)]
    )
  return markdown.table(rows)


def robust(summary: Mapping[str, Mapping], *, reference: str | None) -> str:
  """Interquartile means and improvement as a table, an estimator a row.

  Args:
    summary: of `comparison.summarise`, with the same reference.
    reference: estimator that the others are compared with; None leaves the
      columns of the comparison out.
  """
  header = ["estimator", "final success", "area under curve"]
  header += [f"updates to {percent} %" for percent in comparison.LEVELS]
  if reference is not None:
    header += [
      f"times {reference}'s mean updates to 90 %",
      f"P(area > {reference}'s)",
      f"P(90 % before {reference})",
      "p",
    ]
  rows = [header]
  for name, entry in summary.items():
    row = [
      name,
      markdown.estimate(entry["iqm_final"], 2),
      markdown.estimate(entry["iqm_area"], 3),
    ]
    row += [
      _censored(
        markdown.estimate(entry[f"iqm_updates_to_{percent}"], 1),
        missed=missed(entry, percent),
      )
      for percent in comparison.LEVELS
    ]
    if reference is not None:
      against = entry["against"]
      row += (
        ["-"] * 4
        if against is None
        else [
          _ratio(entry, summary[reference]),
          markdown.estimate(against["area"], 2),
          markdown.estimate(against["updates_to_90"], 2),
          f"{against['p_area']:.3f}",
        ]
      )
    rows.append(row)
  return markdown.table(rows)


def missed(entry: Mapping, percent: int) -> int:
  """Runs of an entry of `comparison.summarise` that never reached a level."""
  return len(entry["seeds"]) - entry[f"reached_{percent}"]


def _censored(text: str, *, missed: int) -> str:
  return f">= {text} ({missed} never)" if missed else text


def _ratio(entry: Mapping, reference: Mapping) -> str:
  """Mean updates to 90 % over the reference's, as far as runs tell."""
  ratio = entry["against"]["ratio_updates_to_90"]
  ours, theirs = missed(entry, 90), missed(reference, 90)
  if ratio is None or (ours and theirs):
    return "unknown"
  bound = ">= " if ours else "<= " if theirs else ""
  return f"{bound}{ratio:.2f}"
