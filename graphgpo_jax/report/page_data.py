"""Everything that a page shows, gathered within its size."""

from collections.abc import Mapping, Sequence
from typing import Any

from graphgpo_jax.credit import estimators
from graphgpo_jax.report import (
  advantages,
  curve_payload,
  graph_layout,
  graph_payload,
  kept_steps,
  page,
  runs,
  selection,
  task_graph,
)


def gather(
  found: Sequence[runs.Run],
  *,
  num_updates: int,
  num_tasks: int,
  max_bytes: int,
  names: Sequence[str] | None = None,
) -> dict[str, Any]:
  """Gathers a page's data.

  Args:
    found: the runs.
    num_updates: of each run at most, of which there are graphs.
    num_tasks: of each update at most.
    max_bytes: of the data; graphs beyond it are left out.
    names: estimators to compute; all by default.

  Returns:
    JSON values; `notes` says what was left out.

  Raises:
    ValueError: kept steps are not sound.
    OSError: a file cannot be read.
  """
  names = list(estimators.ESTIMATORS) if names is None else list(names)
  kept = [kept_steps.find_steps(run.folder) for run in found]
  choices = selection.choose(kept, num_updates=num_updates, num_tasks=num_tasks)
  tables = {
    choice: kept_steps.read_steps(
      kept[choice.run].places[choice.update][choice.task]
    )
    for choice in choices
  }
  graphs = {
    choice: _graph_of(found[choice.run], choice, table)
    for choice, table in tables.items()
  }
  data: dict[str, Any] = {
    "estimators": names,
    "runs": curve_payload.runs_payload(found),
    "graphs": [],
    "progress": [],
    "texts": [],
    "notes": [],
  }
  pool = graph_payload.TextPool()
  left = max_bytes - _bytes(data)
  shown: list[dict[str, Any]] = []
  size = max(
    (
      advantages.padded_size(len(one.source), len(one.trajectory))
      for one in graphs.values()
    ),
    default=0,
  )
  for choice, graph in graphs.items():
    before = len(pool.texts)
    entry = {
      "run": choice.run,
      "update": choice.update,
      "task": choice.task,
      **graph_payload.graph_payload(
        graph,
        graph_layout.place_nodes(graph),
        advantages.all_advantages(
          graph, _options(found, found[choice.run], names), size=size
        ),
        pool,
      ),
    }
    left -= _bytes(entry) + _bytes(pool.texts[before:])
    if left < 0:
      del pool.texts[before:]
      break
    shown.append(entry)
  shown.sort(key=lambda one: (one["run"], one["update"]))
  data["graphs"], data["texts"] = shown, pool.texts
  data["progress"] = _progress(tables)
  data["notes"] = _notes(found, kept, len(choices), len(shown))
  return data


def _graph_of(run, choice, table):
  try:
    return task_graph.build_graph(table)
  except ValueError as error:
    raise ValueError(
      f"{run.folder}/rollouts, update {choice.update}, task {choice.task!r}: "
      f"{error}"
    ) from error


def _options(
  found: Sequence[runs.Run], run: runs.Run, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
  """Options by estimator: the run's own, else another run's, else defaults."""
  wanted = {}
  for name in names:
    given = [one.options(name) for one in (run, *found)]
    known = [one for one in given if one is not None]
    wanted[name] = known[0] if known else advantages.default_options(name)
  return wanted


def _progress(
  tables: Mapping[selection.Choice, Mapping[str, Sequence[Any]]],
) -> list[dict[str, Any]]:
  """The paper's statistic of every update that has graphs."""
  updates = sorted({(choice.run, choice.update) for choice in tables})
  rows = []
  for run, update in updates:
    graphs = [
      task_graph.build_graph(table)
      for choice, table in tables.items()
      if (choice.run, choice.update) == (run, update)
    ]
    failed = sum(int((~one.success).sum()) for one in graphs)
    failed_progress = sum(
      int((one.progress & ~one.success).sum()) for one in graphs
    )
    succeeded = sum(int(one.success.sum()) for one in graphs)
    idle = sum(int((~one.progress & one.success).sum()) for one in graphs)
    rows.append(
      {
        "run": run,
        "update": update,
        "tasks": len(graphs),
        "failed_steps": failed,
        "failed_progress": failed_progress / failed if failed else None,
        "successful_steps": succeeded,
        "successful_idle": idle / succeeded if succeeded else None,
      }
    )
  return rows


def _notes(
  found: Sequence[runs.Run],
  kept: Sequence[kept_steps.KeptSteps],
  chosen: int,
  shown: int,
) -> list[str]:
  """What a reader does not see, in words."""
  whole = sum(len(tasks) for one in kept for tasks in one.places.values())
  notes = []
  if shown < whole:
    why = "--updates and --tasks" if shown == chosen else "--megabytes"
    notes.append(
      f"{shown} of {whole} kept graphs (a task of an update each) are shown; "
      f"{why} set the limit."
    )
  without = [
    run.name for run, one in zip(found, kept, strict=True) if not one.places
  ]
  if without:
    notes.append(
      f"No kept steps, and so no graph: {', '.join(without)} (see config.keep "
      "and config.text.rollout_megabytes)."
    )
  skipped = sum(one.skipped for one in kept)
  if skipped:
    notes.append(f"{skipped} lines of kept steps are none and were left out.")
  longest = max(len(run.metrics) for run in found)
  if longest > curve_payload.MOST_POINTS:
    notes.append(
      f"Curves of more than {curve_payload.MOST_POINTS} points are thinned to "
      "that many."
    )
  return notes


def _bytes(value: Any) -> int:
  return len(page.escaped_json(value))
