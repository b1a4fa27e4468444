"""One page of what runs in many worlds say about estimators."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from graphgpo_jax.report import comparison_tables, markdown
from graphgpo_jax.training import comparison

# Under it two estimators count as told apart.
SIGNIFICANCE = 0.05


@dataclasses.dataclass(frozen=True)
class WorldRuns:
  """What there is of a world.

  Attributes:
    name: of the world.
    description: its config and what differs from it.
    command: what runs, or ran, its comparison.
    num_updates: updates of a whole run; 0 where none was begun.
    eval_every: updates between two plays of the panel.
    curves: of the finished runs, by estimator, then by seed.
    wanted: estimators and seeds of all runs that should be there.
    options: of the estimators, by name.
    failure: what the comparison's last attempt ended with; None if well.
    picture: file of its curves, from the page; None if there is none.
  """

  name: str
  description: str
  command: str
  num_updates: int
  eval_every: int
  curves: comparison.Curves
  wanted: Sequence[tuple[str, int]]
  options: Mapping[str, Mapping[str, Any]]
  failure: str | None
  picture: str | None


def measure(worlds: Sequence[WorldRuns], *, reference: str) -> dict[str, Any]:
  """All numbers of the page.

  Args:
    worlds: what there is.
    reference: estimator that the others are compared with.

  Returns:
    `worlds`, by name what `comparison.summarise` says, and `over_worlds`, what
    `comparison.over_worlds` says. Worlds without runs are left out.
  """
  begun = [world for world in worlds if world.curves]
  summaries = {}
  for world in begun:
    total = world.num_updates
    first = next(iter(next(iter(world.curves.values())).values()))
    checkpoints = {max(1, total * part // 4) for part in range(1, 5)}
    summaries[world.name] = comparison.summarise(
      world.curves,
      checkpoints=sorted(checkpoints & set(first)),
      reference=reference if reference in world.curves else None,
    )
  return {
    "worlds": summaries,
    "over_worlds": comparison.over_worlds(
      {world.name: world.curves for world in begun}, reference=reference
    ),
  }


def page(
  worlds: Sequence[WorldRuns],
  numbers: Mapping[str, Any],
  *,
  reference: str,
  command: str,
  picture: str | None,
) -> str:
  """The page as Markdown.

  Args:
    worlds: what there is.
    numbers: of `measure`.
    reference: estimator that the others are compared with.
    command: what runs all that is missing and writes the page.
    picture: file of the intervals, from the page; None if there is none.

  Returns:
    Its text.
  """
  parts = [
    "# Evidence: estimators over worlds",
    f"Runs what is missing and writes this page; with `--report_only`, from "
    f"what is there:\n\n{_code(command)}",
    _over_worlds(numbers, reference),
  ]
  if picture is not None:
    parts.append(f"![area under the curve by world]({picture})")
  parts += ["## What is missing, failed or ended in a tie", _gaps(worlds)]
  parts.append(_ties(numbers["worlds"], reference))
  for world in worlds:
    if world.curves:
      parts.append(_world(world, numbers["worlds"][world.name], reference))
  parts += ["## Options of the estimators", _options(worlds)]
  return "\n\n".join(parts) + "\n"


def verdicts(
  summary: Mapping[str, Mapping], *, reference: str
) -> dict[str, list[str]]:
  """Estimators of a world by how their area compares with the reference's.

  Args:
    summary: of `comparison.summarise`.
    reference: estimator that the others were compared with.

  Returns:
    Names under `larger`, `smaller` and `tied`, the last where the rank test
    gives p >= 0.05.
  """
  found: dict[str, list[str]] = {"larger": [], "smaller": [], "tied": []}
  for name, entry in summary.items():
    against = entry["against"]
    if name == reference or against is None:
      continue
    if against["p_area"] >= SIGNIFICANCE:
      found["tied"].append(name)
    elif against["area"].value > 0.5:
      found["larger"].append(name)
    else:
      found["smaller"].append(name)
  return found


def _over_worlds(numbers: Mapping[str, Any], reference: str) -> str:
  found = numbers["over_worlds"]
  title = "## Over the worlds"
  if not found:
    return (
      f"{title}\n\nNothing to compare: no world has a finished run of "
      f"{reference}."
    )
  rows = [
    [
      "estimator",
      "worlds",
      "runs",
      "over 90 %",
      "final success",
      "area under curve",
      f"{reference}'s area there",
      f"P(area > {reference}'s)",
    ]
  ]
  for name, entry in found.items():
    rows.append(
      [
        name,
        str(len(entry["worlds"])),
        str(entry["runs"]),
        str(entry["reached_90"]),
        markdown.estimate(entry["final"], 2),
        markdown.estimate(entry["area"], 3),
        markdown.estimate(entry["reference_area"], 3),
        "-"
        if entry["improvement"] is None
        else markdown.estimate(entry["improvement"], 2),
      ]
    )
  most = max(len(entry["worlds"]) for entry in found.values())
  partial = [n for n, entry in found.items() if len(entry["worlds"]) < most]
  text = (
    f"{title}\n\n{markdown.table(rows)}\n\n"
    "Interquartile means over all runs of all worlds, with 95 % stratified "
    "bootstrap intervals (seeds drawn anew within each world; arXiv "
    "2108.13264). The area under the curve is mean success on the panel over "
    "the updates, 0 to 1 in every world, and is scaled no further. P is the "
    f"chance that a run has a larger area than one of {reference} in the same "
    f"world, averaged over worlds. Every row is over the worlds that its "
    f"estimator and {reference} both have: compare it with {reference}'s area "
    "there, and rows of different worlds not with each other."
  )
  if partial:
    text += f" Not in every world: {', '.join(partial)}."
  return text


def _world(
  world: WorldRuns, summary: Mapping[str, Mapping], reference: str
) -> str:
  seeds = sorted({seed for runs in world.curves.values() for seed in runs})
  against = reference if reference in summary else None
  parts = [
    f"## {world.name}",
    f"{world.description}; {world.num_updates} updates, the panel played every "
    f"{world.eval_every}; seeds {', '.join(map(str, seeds))}.",
    _code(world.command),
    comparison_tables.tables(summary, reference=against),
  ]
  never = _never(summary)
  if never:
    parts.append(f"Never 90 %: {never}.")
  if world.picture is not None:
    parts.append(f"![success by update]({world.picture})")
  return "\n\n".join(parts)


def _never(summary: Mapping[str, Mapping]) -> str:
  """Estimators and the seeds of theirs that never reached 90 %."""
  found = []
  for name, entry in summary.items():
    hits = zip(entry["seeds"], entry["each_updates_to_90"], strict=True)
    seeds = [str(seed) for seed, hit in hits if hit is None]
    if seeds:
      found.append(
        f"{name} ({len(seeds)} of {len(entry['seeds'])}: {', '.join(seeds)})"
      )
  return "; ".join(found)


def _ties(summaries: Mapping[str, Mapping], reference: str) -> str:
  """How each estimator compares with the reference in each world."""
  rows = [["world", f"larger area than {reference}", "smaller", "tied"]]
  tests, hopeless = 0, []
  for world, summary in summaries.items():
    if reference not in summary:
      continue
    found = verdicts(summary, reference=reference)
    rows.append([world] + [", ".join(names) or "-" for names in found.values()])
    tests += sum(map(len, found.values()))
    base = len(summary[reference]["seeds"])
    most = max(len(entry["seeds"]) for entry in summary.values())
    if 2 / math.comb(base + most, base) >= SIGNIFICANCE:
      hopeless.append(world)
  if not tests:
    return f"Nothing was compared with {reference}."
  text = (
    f"{markdown.table(rows)}\n\nTied: the two-sided rank test on the areas "
    f"gives p >= {SIGNIFICANCE} (ties and losses are listed like gains). "
    f"{tests} tests were made and none corrected for it: by chance alone about "
    f"{tests * SIGNIFICANCE:.1f} would come out as a difference."
  )
  if hopeless:
    text += f" Too few seeds for any difference to pass: {', '.join(hopeless)}."
  return text


def _gaps(worlds: Sequence[WorldRuns]) -> str:
  """Worlds that failed and runs that are not there, a line each."""
  lines = []
  for world in worlds:
    if world.failure is not None:
      lines.append(f"- {world.name} failed: {world.failure}")
    missing: dict[str, list[int]] = {}
    for name, seed in world.wanted:
      if seed not in world.curves.get(name, {}):
        missing.setdefault(name, []).append(seed)
    if not world.curves:
      lines.append(f"- {world.name}: no finished run")
      continue
    for name, seeds in missing.items():
      lines.append(
        f"- {world.name}: {name} lacks seeds {', '.join(map(str, seeds))}"
      )
  return "\n".join(lines) or "No run is missing, and none failed."


def _options(worlds: Sequence[WorldRuns]) -> str:
  """Options by estimator, and the worlds that they were used in."""
  used: dict[str, dict[str, list[str]]] = {}
  for world in worlds:
    for name in world.curves:
      options = world.options.get(name, {})
      text = ", ".join(
        f"{key}={json.dumps(value)}" for key, value in sorted(options.items())
      )
      used.setdefault(name, {}).setdefault(text or "none", []).append(
        world.name
      )
  lines = []
  for name, by_text in used.items():
    parts = [
      f"{text} ({', '.join(where)})" if len(by_text) > 1 else text
      for text, where in by_text.items()
    ]
    lines.append(f"- {name}: {'; '.join(parts)}")
  return "\n".join(lines) or "No run is finished."


def _code(command: str) -> str:
  return f"    {command}"
