"""From columns of Python strings to advantages: ours against the references."""

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments import bench_machine
from experiments.credit_bench import generated
from experiments.credit_bench.options import Options
from experiments.credit_references import dict_pipeline, scipy_pipeline
from graphgpo_jax import tables

OURS, REFERENCE = "graphgpo_jax", "scipy"
# The pipeline that the goal was set by: numpy.unique, csgraph, bincount.
UNIQUE = "scipy, unique"
TOLERANCE = 1e-4
_SLOW_SECONDS = 20.0
# Ours by SciPy's seconds at most, by steps: at 16 x 8 x 50, and from
# 128 x 8 x 50 up.
_SMALL_GOAL, _LARGE_GOAL = 2.0, 1.0

Pipeline = Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]


def contestants() -> dict[str, Pipeline]:
  """Everyone who takes part, by name.

  Raises:
    ImportError: rustworkx is missing.
  """
  try:
    from experiments.credit_references import rustworkx_pipeline
  except ImportError as error:
    raise ImportError(
      "this bench compares with rustworkx: pip install 'graphgpo-jax[dev]'"
    ) from error
  return {
    OURS: tables.assign_credit,
    REFERENCE: scipy_pipeline.assign_credit,
    "scipy, unseen next": functools.partial(
      scipy_pipeline.assign_credit, nodes=scipy_pipeline.looked_up_sources
    ),
    UNIQUE: functools.partial(
      scipy_pipeline.assign_credit, nodes=scipy_pipeline.unique_nodes
    ),
    "rustworkx": rustworkx_pipeline.assign_credit,
    "dict and heapq": dict_pipeline.assign_credit,
  }


def disagreement(
  found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> str | None:
  """What is wrong with a pipeline's result, or None.

  Args:
    found: columns of a contestant.
    expected: columns of the one it is held against.

  Returns:
    None where distances are equal and advantages within `TOLERANCE`.
  """
  for name in ("distance", "next_distance"):
    if not np.array_equal(found[name], expected[name]):
      rows = np.flatnonzero(found[name] != expected[name])
      return f"{name} differs in {len(rows)} rows, first in row {rows[0]}"
  apart = np.abs(found["advantage"] - expected["advantage"])
  # Written so that NaN counts as wrong.
  if not np.max(apart) <= TOLERANCE:
    return (
      f"advantage differs by up to {np.max(apart):.2g}, in row "
      f"{int(np.argmax(apart))}: more than {TOLERANCE:g}"
    )
  return None


def measure(options: Options) -> dict[str, Any]:
  """Checks and times every contestant at every size.

  Each timing starts from texts that are new objects. A size where someone
  disagrees with SciPy is not timed.

  Args:
    options: sizes and repeats.

  Returns:
    `sizes`: a record for each, with `seconds` (medians), `rounds` (seconds of
    each), `ratio` and `ratio_unique` (median over the rounds of seconds by
    those of SciPy with lookups and with np.unique), `apart` (the greatest
    difference in the advantage), or `refused`, the reason.
  """
  return {"sizes": [_measure_size(size, options) for size in options.sizes]}


def _measure_size(size, options):
  stored = generated.generate_table(size.groups, size.rollouts, size.horizon)
  record: dict[str, Any] = {"size": str(size), "steps": stored.num_steps}
  pipelines = contestants()
  expected = pipelines[REFERENCE](stored.fresh())
  record["apart"] = {}
  for name, pipeline in list(pipelines.items()):
    steps = stored.fresh()
    started = time.perf_counter()
    found = pipeline(steps)
    seconds = time.perf_counter() - started
    wrong = disagreement(found, expected)
    if wrong:
      record["refused"] = f"{name} and {REFERENCE}: {wrong}"
      return record
    record["apart"][name] = float(
      np.max(np.abs(found["advantage"] - expected["advantage"]))
    )
    # Ours compiles in its first call.
    if name != OURS and seconds > _SLOW_SECONDS:
      del pipelines[name]
  rounds = bench_machine.in_turns(
    pipelines, lambda name: stored.fresh(), options.repeats
  )
  record["rounds"] = rounds
  record["seconds"] = {
    name: statistics.median(values) for name, values in rounds.items()
  }
  record["ratio"] = {
    name: bench_machine.ratio(values, rounds[REFERENCE])
    for name, values in rounds.items()
  }
  record["ratio_unique"] = {
    name: bench_machine.ratio(values, rounds[UNIQUE])
    for name, values in rounds.items()
  }
  return record


def table(found: dict[str, Any]) -> str:
  """Milliseconds and ratios of every size, and what was refused."""
  names = list(
    dict.fromkeys(
      name for record in found["sizes"] for name in record.get("seconds", ())
    )
  )
  rows = [
    [
      "groups x rollouts x horizon",
      "steps",
      *(f"{name}, ms" for name in names),
      "ours / scipy",
      "ours / unique",
      "goal",
    ]
  ]
  notes = []
  for record in found["sizes"]:
    seconds = record.get("seconds", {})
    cells = [
      f"{1000 * seconds[name]:.1f}" if name in seconds else "-"
      for name in names
    ]
    shares = [
      f"{record[name][OURS]:.2f}" if seconds else "-"
      for name in ("ratio", "ratio_unique")
    ]
    rows.append(
      [record["size"], f"{record['steps']:,}", *cells, *shares, goal(record)]
    )
    if "refused" in record:
      notes.append(f"not timed: {record['size']}: {record['refused']}")
  return "\n".join([bench_machine.table(rows), *notes])


def goal(record: Mapping[str, Any]) -> str:
  """The most that ours may take by SciPy's seconds, where there is a goal."""
  groups, rollouts, horizon = map(int, record["size"].split(" x "))
  if (groups, rollouts, horizon) == (16, 8, 50):
    return f"<= {_SMALL_GOAL:g}"
  if groups * rollouts * horizon >= 128 * 8 * 50:
    return f"<= {_LARGE_GOAL:g}"
  return "-"
